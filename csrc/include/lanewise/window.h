/// @file
/// The geometry that convolution and pooling share: how a window slides along one spatial axis.
#ifndef LANEWISE_WINDOW_H_
#define LANEWISE_WINDOW_H_

#include <array>
#include <cstdint>

#include "lanewise/error.h"

namespace lanewise {

/// The order of an image's axes: batch, height, width, channels, or channels before the plane.
enum class Layout : uint8_t { kNHWC, kNCHW };

/// Something that each spatial axis has: {height, width}.
template <class T>
using PerAxis = std::array<T, 2>;

/// Where the number of rows and columns around the image comes from.
enum class PaddingRule : uint8_t {
  kExplicit,   ///< `before` and `after`
  kSame,       ///< out = ceil(in / stride); the odd element goes to the end (TensorFlow)
  kSameLower,  ///< the same, but the odd element goes to the beginning
  kFull,       ///< dilation·(window - 1) on each side
};

/// Rows above and below the image, columns left and right of it.
struct Padding {
  PaddingRule rule = PaddingRule::kExplicit;  ///< without `before` and `after`: no padding
  PerAxis<int64_t> before{0, 0};              ///< above and to the left, for kExplicit only
  PerAxis<int64_t> after{0, 0};               ///< below and to the right, for kExplicit only
};

/// What lies outside an image of n elements, at position i; np.pad's modes, for any width.
enum class PadMode : uint8_t {
  kConstant,   ///< zero
  kReflect,    ///< mirrored about the border elements: period 2·(n - 1); the one element if n = 1
  kSymmetric,  ///< mirrored about the border itself: period 2·n
  kEdge,       ///< the nearest element
  kWrap,       ///< element i mod n
};

/// One axis with the padding resolved: output o covers the inputs o·stride - before + t·dilation,
/// 0 <= t < window, as far as these lie in [0, in).
struct WindowAxis {
  int64_t in;        ///< inputs along the axis
  int64_t window;    ///< taps of the window
  int64_t stride;    ///< inputs from one output's window to the next
  int64_t dilation;  ///< inputs from one tap to the next
  int64_t before;    ///< padding in front of input 0
  int64_t after;     ///< padding behind the last input
  int64_t out;       ///< outputs: positions of the window

  /// The first input of output o; negative where it lies in the padding.
  int64_t First(int64_t o) const { return o * stride - before; }
  /// The input under tap t of output o.
  int64_t Input(int64_t o, int64_t t) const { return First(o) + t * dilation; }
};

/// The padding and the number of outputs along one spatial axis. A pure function.
///
/// @param op         in whose name errors are worded
/// @param axis       0 height, 1 width: which entry of `padding`, and the axis that errors name
/// @param in,window,stride,dilation  of this axis
/// @param padding    of both axes
/// @param ceil_mode  a last, partial window counts if it starts inside the input or the padding
///                   before it
/// @throws std::invalid_argument  for a window, stride or dilation below 1, a negative padding, or
///                   a window that is larger than the padded input
WindowAxis ResolveWindow(const char* op, int axis, int64_t in, int64_t window, int64_t stride,
                         int64_t dilation, const Padding& padding, bool ceil_mode = false);

}  // namespace lanewise

#endif  // LANEWISE_WINDOW_H_
