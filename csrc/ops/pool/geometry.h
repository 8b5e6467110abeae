// A pooling with every option resolved, the same for both layouts.
#ifndef LANEWISE_OPS_POOL_GEOMETRY_H_
#define LANEWISE_OPS_POOL_GEOMETRY_H_

#include <algorithm>
#include <cstdint>

#include "lanewise/pool.h"
#include "ops/strided.h"

namespace lanewise::pool {

// An image's axes, wherever the layout has them.
struct Strides {
  int64_t image = 0, row, column, channel;

  Strides(const TensorView& view, Layout layout) {
    const bool batched = view.rank == 4;
    const int64_t* s = view.strides + batched;
    if (batched) image = view.strides[0];
    row = layout == Layout::kNHWC ? s[0] : s[1];
    column = layout == Layout::kNHWC ? s[1] : s[2];
    channel = layout == Layout::kNHWC ? s[2] : s[0];
  }
};

struct Geometry {
  int64_t images, channels;
  WindowAxis rows, columns;
};

// Output o's taps that lie in the image are [FirstTap, EndTap).
inline int64_t FirstTap(const WindowAxis& axis, int64_t o) {
  return axis.First(o) >= 0 ? 0 : CeilDiv(-axis.First(o), axis.dilation);
}
inline int64_t EndTap(const WindowAxis& axis, int64_t o) {
  return std::min(axis.window, CeilDiv(axis.in - axis.First(o), axis.dilation));
}

// Validates; the errors are in the name of `op`.
Geometry Resolve(const char* op, const Shape& x, const PoolOptions& options);

}  // namespace lanewise::pool

#endif  // LANEWISE_OPS_POOL_GEOMETRY_H_
