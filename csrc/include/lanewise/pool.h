// Pooling: one number for each position of a window that slides over an image.
#ifndef LANEWISE_POOL_H_
#define LANEWISE_POOL_H_

#include <optional>

#include "lanewise/error.h"
#include "lanewise/tensor.h"
#include "lanewise/window.h"

namespace lanewise {

struct PoolOptions {
  PerAxis<int64_t> window{1, 1};
  std::optional<PerAxis<int64_t>> stride;  // the window unless set
  PerAxis<int64_t> dilation{1, 1};
  Padding padding;         // any rule but kFull
  bool ceil_mode = false;  // keep a last, partial window that starts inside the input or before it
  Layout layout = Layout::kNHWC;
};

// The result's shape for x of shape (N, H, W, C) or (N, C, H, W), or the same without N. Throws
// std::invalid_argument for another number of axes, options out of range, and a window that would
// hold nothing but padding.
Shape MaxPool2dShape(const Shape& x, const PoolOptions& options);

// out[n, i, j, c] = max of x[n, h, w, c] over the window's pixels (h, w) inside the image,
//   h = i·stride - before + r·dilation, 0 <= r < window, and w likewise.
// A NaN in the window gives NaN. indices, unless null, gets h·width + w of the maximum: the first
// in row-major order of equal ones, the first NaN where there is one. Of zeros of both signs,
// either may be the maximum's value.
//
// x and out are both float32 or both float64, indices int64; out and indices have MaxPool2dShape
// and overlap neither x nor each other. The result does not depend on the strides, the number of
// threads, or the other images. Throws std::invalid_argument for indices of a float32 window that
// spans 2^31 elements or more of a plane. Scratch per thread is about L2/2, or a few windows' rows
// and columns where these are more; it is kept for the thread's next call. Thread-safe.
void MaxPool2d(const TensorView& x, const PoolOptions& options, const TensorView& out,
               const TensorView* indices = nullptr);

}  // namespace lanewise

#endif  // LANEWISE_POOL_H_
