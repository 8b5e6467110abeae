/// @file
/// Pooling: one number for each position of a window that slides over an image or a signal.
///
/// What all of these functions share:
/// - Shapes. In 2-d x is (N, H, W, C), or (N, C, H, W) with Layout::kNCHW; in 1-d (N, W, C), or
///   (N, C, W) with Layout::kNCHW; N may be missing. `out` and `indices` have the shape that the
///   ...Shape function of the same name returns.
/// - Preconditions. Views are as lanewise/tensor.h has them; a wrong shape or option throws
///   std::invalid_argument and a wrong element type DTypeError, before anything is written.
/// - Aliasing. `out` and `indices` overlap neither x nor each other.
/// - Results do not depend on the strides, the number of threads, or the other images.
/// - Allocation. Scratch per thread is about L2/2, or a few windows' columns and, where windows
///   overlap, rows if these are more; it is kept for the thread's next call. x is never copied
///   whole, whatever its strides and type.
/// - Thread-safety. Any number of threads may call at the same time.
#ifndef LANEWISE_POOL_H_
#define LANEWISE_POOL_H_

#include <optional>

#include "lanewise/error.h"
#include "lanewise/tensor.h"
#include "lanewise/window.h"

namespace lanewise {

/// What a NaN is to a maximum or minimum.
enum class NanPolicy : uint8_t {
  kPropagate,  ///< It wins; of several, the first.
  kOmit,       ///< It wins only where the window holds nothing else.
};

/// The window and how it slides. In 1-d the entries [1] (the width) count, the entries [0] do not.
struct PoolOptions {
  PerAxis<int64_t> window{1, 1};           ///< Taps.
  std::optional<PerAxis<int64_t>> stride;  ///< The window unless set.
  PerAxis<int64_t> dilation{1, 1};         ///< Pixels from one tap to the next.
  Padding padding;                         ///< Any rule but kFull.
  bool ceil_mode = false;  ///< Keep a last, partial window that starts inside x or before it.
  Layout layout = Layout::kNHWC;                 ///< Of x, out and indices.
  NanPolicy nan_policy = NanPolicy::kPropagate;  ///< Maxima and minima.
  bool count_include_pad = false;                ///< Averages: divide by padding and pixels alike.
};

/// @{
/// The result's shape for x of shape `x`.
///
/// @throws std::invalid_argument for another number of axes, options out of range, and a window
///     that would hold nothing but padding.
Shape MaxPool2dShape(const Shape& x, const PoolOptions& options);
Shape MinPool2dShape(const Shape& x, const PoolOptions& options);
Shape AvgPool2dShape(const Shape& x, const PoolOptions& options);
Shape MaxPool1dShape(const Shape& x, const PoolOptions& options);
Shape MinPool1dShape(const Shape& x, const PoolOptions& options);
Shape AvgPool1dShape(const Shape& x, const PoolOptions& options);
/// @}

/// @{
/// The result's shape with the spatial axes kept as 1.
///
/// @throws std::invalid_argument where one of them is 0.
Shape GlobalMaxPool2dShape(const Shape& x, Layout layout);
Shape GlobalAvgPool2dShape(const Shape& x, Layout layout);
/// @}

/// The largest element of each window:
///
///     out[n, i, j, c] = max of x[n, h, w, c] over the window's pixels (h, w) inside the image,
///     h = i·stride - before + r·dilation, 0 <= r < window, and w likewise.
///
/// Padding never wins. Of zeros of both signs, either may be the maximum's value; where a NaN wins,
/// the value is a NaN.
///
/// @param x any element type.
/// @param out of x's element type.
/// @param indices unless null, int64: h·width + w of the maximum, the first in row-major order of
///     equal ones, and of NaNs that win.
/// @throws std::invalid_argument also for indices of elements of at most 32 bits where a window
///     spans 2^31 elements or more of a plane.
void MaxPool2d(const TensorView& x, const PoolOptions& options, const TensorView& out,
               const TensorView* indices = nullptr);

/// The same with the minimum.
void MinPool2d(const TensorView& x, const PoolOptions& options, const TensorView& out,
               const TensorView* indices = nullptr);

/// The mean of each window:
///
///     out[n, i, j, c] = (Σ x[n, h, w, c]) / count
///
/// over the pixels of MaxPool2d; count is the number of these pixels or, with count_include_pad, of
/// taps inside the padded image.
///
/// The sum runs over rows first: sums of 16 rows each, from the first one in the image, are added
/// in order; then likewise over the window's columns.
///
/// @param x any element type.
/// @param out x's element type, or float64 if that is an integer or bool. float16 and bfloat16
///     are summed in float32 and rounded once.
void AvgPool2d(const TensorView& x, const PoolOptions& options, const TensorView& out);

/// @{
/// One spatial axis instead of two; indices are w.
void MaxPool1d(const TensorView& x, const PoolOptions& options, const TensorView& out,
               const TensorView* indices = nullptr);
void MinPool1d(const TensorView& x, const PoolOptions& options, const TensorView& out,
               const TensorView* indices = nullptr);
void AvgPool1d(const TensorView& x, const PoolOptions& options, const TensorView& out);
/// @}

/// @{
/// One window over the whole image. A NaN gives NaN.
void GlobalMaxPool2d(const TensorView& x, Layout layout, const TensorView& out);
void GlobalAvgPool2d(const TensorView& x, Layout layout, const TensorView& out);
/// @}

/// The result's shape for an input of shape `x`, which it is.
///
/// @throws std::invalid_argument where the shapes do not fit each other.
Shape MaxPool2dBackwardShape(const Shape& dy, const Shape& indices, const Shape& x, Layout layout);

/// The gradient of MaxPool2d or MinPool2d by its input:
///
///     out[n, h, w, c] = Σ dy[n, i, j, c] over the windows with indices[n, i, j, c] = h·width + w,
///
/// added to 0 in row-major order of (i, j). The windows themselves need not be known.
///
/// @param dy any element type. float16 and bfloat16 are summed in float32 and rounded once;
/// integers
///     modulo 2^bits; of bool, the result says whether any is true.
/// @param indices integers of any type, as MaxPool2d returns them.
/// @param out of the input's shape and dy's element type; overlaps neither dy nor indices.
/// @param out_is_new nobody looks at `out` after an error: indices are then read once, not twice.
/// @throws std::out_of_range for an index outside the plane; unless out_is_new, nothing was
/// written.
void MaxPool2dBackward(const TensorView& dy, const TensorView& indices, Layout layout,
                       const TensorView& out, bool out_is_new = false);

/// The result's shape for an input of shape `x`, which it is.
///
/// @throws std::invalid_argument as AvgPool2dShape does, and where dy has another shape than that.
Shape AvgPool2dBackwardShape(const Shape& dy, const Shape& x, const PoolOptions& options);

/// The gradient of AvgPool2d by its input:
///
///     out[n, h, w, c] = Σ dy[n, i, j, c] / count over the windows (i, j) that cover (h, w),
///
/// count as in AvgPool2d. Quotients are summed over i first, then over j, in pairs of pairs of …
/// neighbours, so that the cost grows with the logarithm of the window / stride; nothing is
/// subtracted again. A sum begins with its first term.
///
/// @param dy any element type.
/// @param out of the input's shape and of dy's element type, or float64 if that is an integer or
///     bool; does not overlap dy. float16 and bfloat16 are summed in float32 and rounded once.
void AvgPool2dBackward(const TensorView& dy, const PoolOptions& options, const TensorView& out);

}  // namespace lanewise

#endif  // LANEWISE_POOL_H_
