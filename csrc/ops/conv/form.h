// What kind of convolution was called, and with which axes: the part of a call that ends where a
// ConvProblem begins. A missing axis (the batch, the height of one-dimensional data) has length 1.
#ifndef LANEWISE_OPS_CONV_FORM_H_
#define LANEWISE_OPS_CONV_FORM_H_

#include <cstdint>

#include "lanewise/conv.h"
#include "ops/conv/problem.h"
#include "runtime/buffer.h"

namespace lanewise {

// A function of the API, as its user sees it.
struct ConvForm {
  const char* op;
  int spatial;      // axes: 1 or 2
  bool transposed;  // the filter's channel axes are (out, in) instead of (in, out)
};

// "NHWC", "NWC", …: what `layout` is called for data with this many spatial axes.
const char* LayoutName(const ConvForm& form, Layout layout);

// The positions of an image's axes.
struct ImageAxes {
  int n, h, w, c;  // -1 where there is none

  ImageAxes(const ConvForm& form, size_t rank, Layout layout);
};

// The positions of a filter's axes.
struct FilterAxes {
  int bank, r, s;  // -1 where there is none
  int c, k;        // channels of the sum, and of the result

  FilterAxes(const ConvForm& form, size_t rank, Layout layout);
};

inline int64_t SizeOf(const Shape& shape, int axis) { return axis < 0 ? 1 : shape[axis]; }
inline int64_t StrideOf(const TensorView& view, int axis) {
  return axis < 0 ? 0 : view.strides[axis];
}
ImageStrides StridesOf(const TensorView& image, const ImageAxes& axes);

// Checks ranks and channels, and returns the shape but for its windows.
ConvShape ResolveChannels(const ConvForm& form, const Shape& x, const Shape& w, int64_t groups,
                          Layout layout);

// One-dimensional data is a row of height 1, whatever the options say of the height.
Conv2dOptions Flat(Conv2dOptions options);

// All of a convolution's shape.
ConvShape ResolveConv(const ConvForm& form, const Shape& x, const Shape& w,
                      const Conv2dOptions& options);

// Where filters lie: the offset of their first tap, and their strides.
struct FilterPlace {
  int64_t first;
  FilterStrides strides;
};
// Where w's filters do, whose taps `flip` reverses.
FilterPlace FilterPlaceOf(const TensorView& w, const FilterAxes& axes, const ConvShape& shape,
                          bool flip);

// The result's shape: x's, with these pixels and channels.
Shape ResultShape(const ConvForm& form, const Shape& x, Layout layout, int64_t height,
                  int64_t width, int64_t channels);

// Checks the types of a call and the shape of `out`, and of `bias` unless null.
void CheckOperands(const ConvForm& form, const TensorView& x, const TensorView& w,
                   const TensorView* bias, const Shape& bias_shape, const TensorView& out,
                   const Shape& out_shape);

// Biases as T, one per channel of each bank; zeros for none.
template <class T>
Buffer<T> GatherBias(const TensorView* bias, int64_t banks, int64_t channels);

// Null where there is nothing to do.
Clamp ClampFor(DType dtype, Activation activation);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_FORM_H_
