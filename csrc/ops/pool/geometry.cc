#include "ops/pool/geometry.h"

#include <numeric>
#include <utility>

#include "runtime/error.h"

namespace lanewise::pool {
namespace {

// Throws if some output along the axis covers padding only. A window that begins inside begins with
// a pixel; one that begins before the image may end too early (the first one then does) or, where
// the dilation is larger than the image, step over it.
void CheckPixels(const char* op, const Shape& x, const WindowAxis& axis, const char* name) {
  const auto fail = [&](int64_t o) {
    Fail(op, ": the window of output ", o, " along the ", name, " holds no pixel of x (shape ",
         ToString(x), "), only padding: window ", axis.window, ", stride ", axis.stride,
         ", dilation ", axis.dilation, ", padding (", axis.before, ", ", axis.after, ")");
  };
  if (axis.out == 0) return;
  if (axis.First(axis.out - 1) >= axis.in) fail(axis.out - 1);
  if (FirstTap(axis, 0) >= axis.window) fail(0);
  if (axis.dilation <= axis.in) return;
  // First(o) mod dilation has this period; and it meets at most `in` good values before a bad one.
  const int64_t period = axis.dilation / std::gcd(axis.dilation, axis.stride);
  for (int64_t o = 0; o < std::min(axis.out, period) && axis.First(o) < 0; ++o) {
    if (axis.Input(o, FirstTap(axis, o)) >= axis.in) fail(o);
  }
}

void CheckRank(const char* op, int axes, const Shape& x) {
  if (static_cast<int>(x.size()) != axes + 1 && static_cast<int>(x.size()) != axes + 2) {
    Fail(op, ": x has shape ", ToString(x), ", expected ", axes + 2, " axes, or ", axes + 1,
         " without the batch");
  }
}

// Where the sizes of the spatial axes begin in a shape of `rank` axes.
int FirstSpatialAxis(size_t rank, int axes, Layout layout) {
  return static_cast<int>(rank) - axes - (layout == Layout::kNHWC ? 1 : 0);
}

}  // namespace

Geometry Resolve(const char* op, int axes, const Shape& x, const PoolOptions& options) {
  CheckRank(op, axes, x);
  if (options.padding.rule == PaddingRule::kFull) {
    Fail(op, ": padding is 'full', which is for convolution: its windows may hold no pixel");
  }
  const auto axis = [&](int a, int64_t in, const char* name) {
    const PerAxis<int64_t>& stride = options.stride ? *options.stride : options.window;
    const WindowAxis resolved =
        ResolveWindow(op, a, in, options.window[a], stride[a], options.dilation[a], options.padding,
                      options.ceil_mode);
    CheckPixels(op, x, resolved, name);
    return resolved;
  };
  const int64_t* sizes = x.data() + FirstSpatialAxis(x.size(), axes, options.layout);
  const int64_t images = static_cast<int>(x.size()) == axes + 2 ? x[0] : 1;
  const int64_t channels = options.layout == Layout::kNHWC ? sizes[axes] : sizes[-1];
  const WindowAxis one_row{1, 1, 1, 1, 0, 0, 1};
  return {images, channels, axes == 2 ? axis(0, sizes[0], "height") : one_row,
          axis(1, sizes[axes - 1], "width")};
}

PoolOptions GlobalOptions(const char* op, const Shape& x, Layout layout) {
  CheckRank(op, 2, x);
  const int64_t* sizes = x.data() + FirstSpatialAxis(x.size(), 2, layout);
  if (sizes[0] == 0 || sizes[1] == 0) {
    Fail(op, ": x has shape ", ToString(x), ", whose images hold no pixel");
  }
  PoolOptions options;
  options.window = {sizes[0], sizes[1]};
  options.layout = layout;
  return options;
}

Shape OutputShape(const char* op, int axes, const Shape& x, const Geometry& g, Layout layout) {
  Shape out = x;
  int64_t* sizes = out.data() + FirstSpatialAxis(x.size(), axes, layout);
  if (axes == 2) sizes[0] = g.rows.out;
  sizes[axes - 1] = g.columns.out;
  return CheckedShape(op, std::move(out));
}

}  // namespace lanewise::pool
