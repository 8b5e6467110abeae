// A pooling with every option resolved, the same for both layouts and for one or two spatial axes.
#ifndef LANEWISE_OPS_POOL_GEOMETRY_H_
#define LANEWISE_OPS_POOL_GEOMETRY_H_

#include <algorithm>
#include <cstdint>

#include "lanewise/pool.h"
#include "ops/pool/cascade.h"
#include "ops/strided.h"

namespace lanewise::pool {

// An image's axes, wherever the layout has them. A signal is an image of one row.
struct Strides {
  int64_t image = 0, row = 0, column, channel;

  Strides(const TensorView& view, Layout layout, int axes) {
    const bool batched = view.rank == axes + 2, channels_last = layout == Layout::kNHWC;
    const int64_t* s = view.strides + batched;
    if (batched) image = view.strides[0];
    channel = s[channels_last ? axes : 0];
    s += !channels_last;
    if (axes == 2) row = s[0];
    column = s[axes - 1];
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
// Those that lie in the padded image; the last windows of ceil_mode reach beyond it.
inline int64_t PaddedTaps(const WindowAxis& axis, int64_t o) {
  return std::min(axis.window, CeilDiv(axis.in + axis.after - axis.First(o), axis.dilation));
}

// Outputs [begin, end) have all their taps in the image; maybe there are none.
struct Inside {
  int64_t begin, end;

  explicit Inside(const WindowAxis& axis) {
    const int64_t room = axis.in - 1 - axis.dilation * (axis.window - 1) + axis.before;
    end = room < 0 ? 0 : std::min(axis.out, room / axis.stride + 1);
    begin = std::min(end, CeilDiv(axis.before, axis.stride));
  }
};

// How the windows' rows and columns are reduced where they are long: a function of the geometry of
// one image. Columns follow one another in scratch only where the stride is 1.
inline Cascade TallCascade(const Geometry& g) {
  return g.rows.window <= Cascade::kMaxRows ? Cascade(g.rows, 2) : Cascade();
}
inline Cascade WideCascade(const Geometry& g) {
  return g.columns.stride == 1 ? Cascade(g.columns, 0) : Cascade();
}

// Validates x's shape and the options for `axes` spatial axes; the errors are in the name of `op`.
Geometry Resolve(const char* op, int axes, const Shape& x, const PoolOptions& options);

// Options of one window over all of x.
PoolOptions GlobalOptions(const char* op, const Shape& x, Layout layout);

// The result's shape for x of shape `x`.
Shape OutputShape(const char* op, int axes, const Shape& x, const Geometry& g, Layout layout);

}  // namespace lanewise::pool

#endif  // LANEWISE_OPS_POOL_GEOMETRY_H_
