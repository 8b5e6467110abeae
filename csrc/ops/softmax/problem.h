// What the ops of the softmax family are asked, and how the work is cut.
#ifndef LANEWISE_OPS_SOFTMAX_PROBLEM_H_
#define LANEWISE_OPS_SOFTMAX_PROBLEM_H_

#include <cstdint>

#include "kernels/kernels.h"
#include "ops/elements.h"
#include "ops/softmax/axes.h"
#include "ops/strided.h"

namespace lanewise {

inline bool IsBackward(SoftmaxOp op) {
  return op == SoftmaxOp::kSoftmaxBackward || op == SoftmaxOp::kLogSoftmaxBackward;
}

// How the elements of one array lie.
struct Strides {
  Along along;
  int64_t axis = 0;   // between neighbours on the innermost reduced axis
  int64_t inner = 0;  // between neighbours on the innermost axis of the positions

  Strides() = default;
  Strides(const TensorView& view, const ReducedAxes& reduced, int64_t inner_stride)
      // A stride that is never taken counts as contiguous.
      : along(AlongOf(view, reduced)),
        axis(reduced.length() == 1 ? 1 : along.inner_stride(0)),
        inner(inner_stride) {}

  // Whether the elements along the axes are neighbours in memory.
  bool contiguous() const { return axis == 1 && along.single(); }
};

// Results of type T out of arrays of any type.
template <class T>
struct Problem {
  SoftmaxOp op;
  const SoftmaxKernels<T>& kernels;
  int64_t n;  // elements along the reduced axes
  Positions positions;
  Strides strides[kMaxArrays];
  Source<T> sources[kMask];  // of `out` too: what was stored there is read again
  Sink<T> out;
  const uint8_t* mask = nullptr;

  Problem(SoftmaxOp op, const Views& views, const ReducedAxes& reduced);
  bool has(int array) const { return has_[array]; }
  // Whether an array other than the mask holds T itself.
  bool native(int array) const { return sources[array].native(); }
  bool reduces() const { return op == SoftmaxOp::kLogSumExp; }  // one result per position

 private:
  bool has_[kMaxArrays];
};

// By which code a problem is computed.
enum class Path : uint8_t {
  kBlocks,  // anything
  kShortRows,
  kRowGroups,
  kColumns,  // of which the tasks are made up by blocks, not positions
};

// Tasks of so many elements (5-15 µs) level the threads at no cost.
constexpr int64_t kTaskElements = int64_t{1} << 14;

// How a problem is cut. Nothing here changes the order of a sum.
struct Plan {
  Path path;
  bool stream;     // whether results go past the caches
  int64_t group;   // rows that are converted, or go through each phase, together
  int64_t nr;      // positions side by side in a panel; 1: rows
  int64_t panels;  // of a block
  int64_t chunk;   // elements along the axes in scratch at a time: n, or a multiple of B
  Split tasks;     // of positions, in blocks
  double total_ns;

  int64_t block() const { return nr * panels; }
};

template <class T>
Plan PlanFor(const Problem<T>& problem);

}  // namespace lanewise

#endif  // LANEWISE_OPS_SOFTMAX_PROBLEM_H_
