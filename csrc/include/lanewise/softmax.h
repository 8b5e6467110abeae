// Softmax, log-softmax and their gradients along one axis.
#ifndef LANEWISE_SOFTMAX_H_
#define LANEWISE_SOFTMAX_H_

#include "lanewise/error.h"
#include "lanewise/tensor.h"

namespace lanewise {

// For all four ops:
//   The arrays are all float32 or all float64 and have one shape with at least one axis; `axis`
//   counts from the front, or from the back if negative. `out` must not overlap another argument,
//   except that it may be exactly x or dy, element for element: the op then works in place.
//   Element i of the axis is summed into partial sum i mod B, B being fixed per SIMD target and
//   dtype, and the partial sums are added up in a fixed tree: the result does not depend on the
//   strides, the number of threads, or the other positions.
//   Allocates scratch of about L2/2 per thread at most, kept for the thread's next call.
//   Thread-safe. Throws std::invalid_argument for shapes, axes and DTypeError for types that it
//   cannot take.

// out = exp(x - max) / Σ exp(x - max). A NaN, an infinity or nothing but -inf along the axis gives
// NaN all along it.
void Softmax(const TensorView& x, int axis, const TensorView& out);

// out = (x - max) - log Σ exp(x - max), where the maximum's own term, 1, is left out of the sum and
// put back by log1p, so that the largest entry keeps its digits as it approaches 0. NaN as above.
void LogSoftmax(const TensorView& x, int axis, const TensorView& out);

// The shape of `dy`, which must be that of `y`. Throws in the name of `op`.
Shape SoftmaxBackwardShape(const char* op, const Shape& dy, const Shape& y);

// out = y·(dy - Σ dy·y), y being the result of Softmax.
void SoftmaxBackward(const TensorView& dy, const TensorView& y, int axis, const TensorView& out);

// out = dy - exp(y)·Σ dy, y being the result of LogSoftmax.
void LogSoftmaxBackward(const TensorView& dy, const TensorView& y, int axis, const TensorView& out);

}  // namespace lanewise

#endif  // LANEWISE_SOFTMAX_H_
