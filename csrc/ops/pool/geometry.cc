#include "ops/pool/geometry.h"

#include "runtime/error.h"

namespace lanewise::pool {
namespace {

int64_t Gcd(int64_t a, int64_t b) { return b == 0 ? a : Gcd(b, a % b); }

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
  const int64_t period = axis.dilation / Gcd(axis.dilation, axis.stride);
  for (int64_t o = 0; o < std::min(axis.out, period) && axis.First(o) < 0; ++o) {
    if (axis.Input(o, FirstTap(axis, o)) >= axis.in) fail(o);
  }
}

}  // namespace

Geometry Resolve(const char* op, const Shape& x, const PoolOptions& options) {
  if (x.size() != 3 && x.size() != 4) {
    Fail(op, ": x has shape ", ToString(x), ", expected 4 axes, or 3 without the batch");
  }
  if (options.padding.rule == PaddingRule::kFull) {
    Fail(op, ": padding is 'full', which is for convolution: its windows may hold no pixel");
  }
  const bool batched = x.size() == 4, nhwc = options.layout == Layout::kNHWC;
  const int64_t* sizes = x.data() + batched;
  const auto axis = [&](int a, int64_t in, const char* name) {
    const PerAxis<int64_t>& stride = options.stride ? *options.stride : options.window;
    const WindowAxis resolved =
        ResolveWindow(op, a, in, options.window[a], stride[a], options.dilation[a], options.padding,
                      options.ceil_mode);
    CheckPixels(op, x, resolved, name);
    return resolved;
  };
  return {batched ? x[0] : 1, nhwc ? sizes[2] : sizes[0],
          axis(0, nhwc ? sizes[0] : sizes[1], "height"),
          axis(1, nhwc ? sizes[1] : sizes[2], "width")};
}

}  // namespace lanewise::pool
