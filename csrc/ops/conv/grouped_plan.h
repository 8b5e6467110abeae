// How a convolution in groups of few channels is cut into tasks, and how a task reads x.
#ifndef LANEWISE_OPS_CONV_GROUPED_PLAN_H_
#define LANEWISE_OPS_CONV_GROUPED_PLAN_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/pack.h"
#include "ops/conv/problem.h"
#include "ops/strided.h"
#include "runtime/buffer.h"

namespace lanewise {

// How x is read.
enum class GroupedAccess : uint8_t {
  kStrips,     // as strips of C vectors per position, in which lanes of one group are alike
  kLookup,     // as strips of the channels themselves, which the kernel gives to the lanes
  kInPlace,    // as vectors of channels where they are
  kBroadcast,  // element by element where they are, as a vector belongs to one group
};

// By x alone: kInPlace and kBroadcast leave the padding's products out, which changes the result
// where a tap is infinite or NaN.
template <class T>
GroupedAccess GroupedAccessOf(const ConvProblem<T>& problem, int64_t lanes);

// Output channels in units of a vector. A unit may overlap the one before, so that it is full: the
// last of all, or, for kBroadcast, of each group.
template <class T>
class ChannelUnits {
 public:
  ChannelUnits(const ConvShape& shape, int64_t lanes, GroupedAccess access);

  // Whether every output channel has the input channel of its own number.
  bool identity() const { return shape_.group_c == 1 && shape_.group_k == 1; }
  // Blocks of channels are cut into units of their own: all channels, or groups.
  int64_t block() const { return block_; }
  int64_t per_block() const { return CeilDiv(block_, lanes_); }
  int64_t count() const { return shape_.filters() / block_ * per_block(); }
  // The channels written: from FirstOut on, Out of them.
  int64_t FirstOut(int64_t unit) const {
    const int64_t last = std::max<int64_t>(0, block_ - lanes_);
    return unit / per_block() * block_ + std::min(unit % per_block() * lanes_, last);
  }
  int64_t Out() const { return std::min(lanes_, block_); }
  // The channels read.
  int64_t FirstIn(int64_t unit) const { return FirstOut(unit) / shape_.group_k * shape_.group_c; }
  int64_t In(int64_t unit) const {
    return CeilDiv(FirstOut(unit) + Out(), shape_.group_k) * shape_.group_c - FirstIn(unit);
  }
  // For kLookup and kStrips, unless identity().
  LaneMap<T> Map(int64_t unit) const {
    return {static_cast<size_t>(shape_.group_c), static_cast<size_t>(In(unit)),
            index_.get() + unit * shape_.group_c * lanes_};
  }

 private:
  using Index = typename LaneMap<T>::Index;

  const ConvShape& shape_;
  const int64_t lanes_, block_;
  Buffer<Index> index_;  // [unit][c][lane]: which of the channels read
};

// Sizes follow caches and threads; no sum's order depends on them.
struct GroupedPlan {
  GroupedPlan(GroupedAccess access_, const Phases& phases_) : access(access_), phases(phases_) {}

  GroupedAccess access;
  bool from_planes = false, to_planes = false;  // channels are not neighbours in x, in the result
  int64_t lanes = 1, strip_rows = 1;
  // Output rows oh and oh + row_step share strips: their windows are `shift` tap rows apart.
  int64_t row_step = 1, shift = 1;

  // The part of the window that is worked through at a time: all of it, unless its strips are
  // larger than the caches.
  int64_t part_rows = 1, part_taps = 1;
  bool whole = true;       // it is all of the window
  bool activates = false;  // the kernel applies bias and activation,
  bool stores = false;     // and stores results, too
  // Neighbouring taps have neighbouring positions.
  bool sliding = false;

  // Strips are [c < depth][phase][position < length][lane].
  Phases phases;  // of the columns under the taps of a part, without outputs
  int64_t depth = 1, length = 1;
  std::vector<size_t> offsets;  // of the terms (s, c) of a part's row

  Split rows, columns;  // of the output
  // Units in sets of `unit_set`; the last `overlapping` join the last set.
  int64_t unit_set = 1, overlapping = 0;
  Split unit_pieces;
  double total_ns = 0;

  bool in_place() const {
    return access == GroupedAccess::kInPlace || access == GroupedAccess::kBroadcast;
  }
  // Elements of a channel of a strip, of a strip, and of one unit's ring of strips, which holds
  // those under `strip_rows` output rows.
  int64_t plane() const { return phases.count * length * lanes; }
  int64_t strip() const { return depth * plane(); }
  int64_t slots() const { return (strip_rows - 1) * shift + part_rows; }
  int64_t ring() const { return in_place() ? 0 : slots() * strip(); }
  // Elements of the sums of one unit.
  int64_t sums() const { return strip_rows * columns.longest() * lanes; }

  int64_t UnitsBegin(int64_t piece) const { return unit_pieces.begin(piece) * unit_set; }
  int64_t UnitsEnd(int64_t piece) const {
    return unit_pieces.end(piece) * unit_set + (piece + 1 == unit_pieces.count ? overlapping : 0);
  }
  int64_t most_units() const { return unit_pieces.longest() * unit_set + overlapping; }
};

// What all of it takes one thread, roughly.
template <class T>
double GroupedNs(const ConvProblem<T>& problem);

template <class T>
GroupedPlan MakeGroupedPlan(const ConvProblem<T>& problem, const ConvKernels<T>& kernels,
                            GroupedAccess access, const ChannelUnits<T>& units);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_GROUPED_PLAN_H_
