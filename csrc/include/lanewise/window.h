// The geometry that convolution and pooling share: how a window slides along one spatial axis.
#ifndef LANEWISE_WINDOW_H_
#define LANEWISE_WINDOW_H_

#include <array>
#include <cstdint>

#include "lanewise/error.h"

namespace lanewise {

enum class Layout : uint8_t { kNHWC, kNCHW };

// Something that each spatial axis has: {height, width}.
template <class T>
using PerAxis = std::array<T, 2>;

enum class PaddingRule : uint8_t {
  kExplicit,   // `before` and `after`
  kSame,       // out = ceil(in / stride); the odd element goes to the end (TensorFlow)
  kSameLower,  // the same, but the odd element goes to the beginning
  kFull,       // dilation·(window - 1) on each side
};

struct Padding {
  PaddingRule rule = PaddingRule::kExplicit;
  PerAxis<int64_t> before{0, 0}, after{0, 0};  // kExplicit only
};

// What lies outside an image of n elements, at position i; np.pad's modes, for any width.
enum class PadMode : uint8_t {
  kConstant,   // zero
  kReflect,    // mirrored about the border elements: period 2·(n - 1); the one element if n = 1
  kSymmetric,  // mirrored about the border itself: period 2·n
  kEdge,       // the nearest element
  kWrap,       // element i mod n
};

// One axis with the padding resolved: output o covers the inputs o·stride - before + t·dilation,
// 0 <= t < window, as far as these lie in [0, in).
struct WindowAxis {
  int64_t in, window, stride, dilation;
  int64_t before, after;
  int64_t out;

  int64_t First(int64_t o) const { return o * stride - before; }
  int64_t Input(int64_t o, int64_t t) const { return First(o) + t * dilation; }
};

// Throws std::invalid_argument, in the name of `op` and of spatial axis `axis` (0 height, 1 width),
// for a window, stride or dilation below 1, a negative padding, or a window that is larger than the
// padded input. With `ceil_mode` a last, partial window counts if it starts inside the input or the
// padding before it.
WindowAxis ResolveWindow(const char* op, int axis, int64_t in, int64_t window, int64_t stride,
                         int64_t dilation, const Padding& padding, bool ceil_mode = false);

}  // namespace lanewise

#endif  // LANEWISE_WINDOW_H_
