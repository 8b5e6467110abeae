/// @file
/// Softmax, log-softmax, their gradients, log-sum-exp and the Jacobian, along any axes.
///
/// For every op:
/// - **Axes** are counted from the front, or from the back if negative, and come in any order;
///   several are worked along as one, flattened in the array's own order, the last axis innermost.
///   Along no axes at all every element is a row of its own.
/// - **Element types.** `out` is float16, bfloat16, float32 or float64. Results of the first three
///   are computed in float32 and rounded to nearest even once, those of float64 in float64. An
///   input may have any type that NumPy calls safe to cast to what is computed in.
/// - **Aliasing.** `out` must not overlap an input unless an op says so.
/// - **Order of sums.** Element i along the axes is summed into partial sum i mod B, B being fixed
///   per SIMD target and type computed in, and the partial sums are added up in a fixed tree: the
///   result does not depend on strides, threads, or other positions.
/// - **Allocation.** Scratch of about L2 per thread at most, kept for the thread's next call; no
///   argument is copied whole.
/// - **Threads.** Thread-safe; the work is shared among up to GetNumThreads() threads.
/// - **Errors.** std::invalid_argument for shapes and axes and DTypeError for element types, before
///   anything is written.
#ifndef LANEWISE_SOFTMAX_H_
#define LANEWISE_SOFTMAX_H_

#include <vector>

#include "lanewise/error.h"
#include "lanewise/tensor.h"

namespace lanewise {

/// Axes to work along, each at most once.
using Axes = std::vector<int>;

/// out = exp(x - max) / Σ exp(x - max).
///
/// A NaN, a +inf, or nothing but -inf along the axes gives NaN all along them.
///
/// @param mask  null, or bool in a shape that broadcasts to x's: where it is false, x is left out,
///              whatever it holds there, and `out` is 0. What is left behaves as if the rest were
///              not there; where nothing is left, `out` is 0.
/// @param out   of x's shape. It may be exactly x, element for element and of the same type: the op
///              then works in place. It must not overlap the mask.
void Softmax(const TensorView& x, const Axes& axes, const TensorView* mask, const TensorView& out);

/// out = (x - max) - log Σ exp(x - max), where the maximum's own term, 1, is left out of the sum
/// and put back by log1p, so that the largest entry keeps its digits as it approaches 0. NaN as
/// above.
///
/// @param out  of x's shape; it may be exactly x, as above.
void LogSoftmax(const TensorView& x, const Axes& axes, const TensorView& out);

/// The shape of `dy`, which must be that of `y`. Throws in the name of `op`.
Shape SoftmaxBackwardShape(const char* op, const Shape& dy, const Shape& y);

/// out = y·(dy - Σ dy·y), y being the result of Softmax.
///
/// @param out  of dy's shape; it may be exactly dy, as above.
void SoftmaxBackward(const TensorView& dy, const TensorView& y, const Axes& axes,
                     const TensorView& out);

/// out = dy - exp(y)·Σ dy, y being the result of LogSoftmax.
///
/// @param out  of dy's shape; it may be exactly dy, as above.
void LogSoftmaxBackward(const TensorView& dy, const TensorView& y, const Axes& axes,
                        const TensorView& out);

/// x's shape without the axes, or, if `keepdims`, with length 1 along them.
Shape LogSumExpShape(const Shape& x, const Axes& axes, bool keepdims);

/// out = max + log Σ exp(x - max), the logarithm taken as in LogSoftmax.
///
/// A NaN gives NaN; else a +inf gives +inf, and nothing but -inf, or nothing at all, gives -inf.
///
/// @param out  of LogSumExpShape.
void LogSumExp(const TensorView& x, const Axes& axes, bool keepdims, const TensorView& out);

/// The shape of y's other axes, then (C, C) for the C elements along `axes`. Throws also where the
/// product of sizes leaves 64 bits.
Shape SoftmaxJacobianShape(const Shape& y, const Axes& axes);

/// out[…, i, j] = y_i·(δ_ij - y_j), the derivative of softmax's result y_i by its input x_j, i and
/// j counting the elements along the axes. Exactly symmetric.
///
/// @param out  of SoftmaxJacobianShape.
void SoftmaxJacobian(const TensorView& y, const Axes& axes, const TensorView& out);

}  // namespace lanewise

#endif  // LANEWISE_SOFTMAX_H_
