// The axes of arrays of one shape, split in two: those that an op works along, and the positions on
// the others, each of which is worked on independently.
#ifndef LANEWISE_OPS_SOFTMAX_AXES_H_
#define LANEWISE_OPS_SOFTMAX_AXES_H_

#include <array>
#include <cstdint>

#include "lanewise/softmax.h"
#include "lanewise/tensor.h"
#include "ops/merged_axes.h"

namespace lanewise {

// Which axes of a shape an op works along.
class ReducedAxes {
 public:
  // Throws, in the name of `op`, for an axis out of bounds or given twice, and for a shape of more
  // elements than 64 bits count.
  ReducedAxes(const char* op, const Shape& shape, const Axes& axes);

  bool contains(int axis) const { return contains_[axis]; }
  int64_t length() const { return length_; }        // elements along them; 1 along no axes
  int64_t positions() const { return positions_; }  // elements along the others

 private:
  bool contains_[TensorView::kMaxRank] = {};
  int64_t length_ = 1, positions_ = 1;
};

// The arrays of an op, in the order in which Positions knows them; null where it has none.
enum : int { kOut, kA, kB, kMask };  // the result; x or dy; y, in gradients; what takes part
constexpr int kMaxArrays = 4;
using Views = std::array<const TensorView*, kMaxArrays>;

// The positions, in the order of the arrays' strides, since the order of what is independent is
// free.
using Positions = MergedAxes<kMaxArrays>;
Positions PositionsOf(const Views& views, const ReducedAxes& reduced);

// One array along the reduced axes, in their order in its shape, the last one innermost: sums run
// over them in this order, whatever the strides.
using Along = MergedAxes<1>;
Along AlongOf(const TensorView& view, const ReducedAxes& reduced);

// `out`, whose axes are the others, also those reduced if `keepdims`, as an array of x's rank, with
// one element along the reduced axes. Axes of `out` after these are not seen.
TensorView AtPositions(const TensorView& out, const TensorView& x, const ReducedAxes& reduced,
                       bool keepdims);

// Whether `out` can be computed from an input: the types' part of an op's validation.
void CheckComputable(const char* op, const TensorView& out, const char* name,
                     const TensorView& input);

}  // namespace lanewise

#endif  // LANEWISE_OPS_SOFTMAX_AXES_H_
