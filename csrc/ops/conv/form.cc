#include "ops/conv/form.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "ops/strided.h"
#include "runtime/error.h"

namespace lanewise {
namespace {

std::string FilterName(const ConvForm& form, Layout layout) {
  const std::string window = form.spatial == 2 ? "height, width" : "width";
  const bool last = layout == Layout::kNHWC;
  if (form.transposed) {
    return last ? "(" + window + ", filters / groups, channels)"
                : "(channels, filters / groups, " + window + ")";
  }
  return last ? "(" + window + ", channels / groups, filters)"
              : "(filters, channels / groups, " + window + ")";
}

template <class S>
void ClampRun(std::byte* results, int64_t n, int64_t stride, S most) {
  S* const values = reinterpret_cast<S*>(results);
  for (int64_t i = 0; i < n; ++i) {
    values[i * stride] = std::clamp(values[i * stride], S(0), most);
  }
}

template <class S>
void Relu(std::byte* results, int64_t n, int64_t stride) {
  ClampRun<S>(results, n, stride, std::numeric_limits<S>::max());
}
template <class S>
void Relu6(std::byte* results, int64_t n, int64_t stride) {
  ClampRun<S>(results, n, stride, 6);
}

}  // namespace

const char* LayoutName(const ConvForm& form, Layout layout) {
  const bool last = layout == Layout::kNHWC;
  return form.spatial == 2 ? (last ? "NHWC" : "NCHW") : (last ? "NWC" : "NCW");
}

ImageAxes::ImageAxes(const ConvForm& form, size_t rank, Layout layout) {
  const int batched = static_cast<int>(rank) - form.spatial - 1;
  n = batched ? 0 : -1;
  const int first = batched + (layout == Layout::kNCHW);  // spatial axis
  h = form.spatial == 2 ? first : -1;
  w = first + form.spatial - 1;
  c = layout == Layout::kNCHW ? batched : w + 1;
}

FilterAxes::FilterAxes(const ConvForm& form, size_t rank, Layout layout) {
  const int banks = static_cast<int>(rank) - form.spatial - 2;
  bank = banks ? 0 : -1;
  const int first = banks + (layout == Layout::kNCHW ? 2 : 0);  // spatial axis
  r = form.spatial == 2 ? first : -1;
  s = first + form.spatial - 1;
  c = layout == Layout::kNCHW ? banks + 1 : s + 1;
  k = layout == Layout::kNCHW ? banks : s + 2;
  if (form.transposed) std::swap(c, k);
}

ImageStrides StridesOf(const TensorView& image, const ImageAxes& axes) {
  return {StrideOf(image, axes.n), StrideOf(image, axes.h), StrideOf(image, axes.w),
          StrideOf(image, axes.c)};
}

ConvShape ResolveChannels(const ConvForm& form, const Shape& x, const Shape& w, int64_t groups,
                          Layout layout) {
  const char* const op = form.op;
  const size_t image_rank = form.spatial + 2;
  if (x.size() != image_rank && x.size() != image_rank - 1) {
    Fail(op, ": x has shape ", ToString(x), ", expected ", image_rank, " axes in layout ",
         LayoutName(form, layout), ", or ", image_rank - 1, " without the batch");
  }
  const bool may_have_banks = !form.transposed && x.size() == image_rank;
  if (w.size() != image_rank && !(may_have_banks && w.size() == image_rank + 1)) {
    Fail(op, ": w has shape ", ToString(w), ", expected ", image_rank, " axes ",
         FilterName(form, layout), " in layout ", LayoutName(form, layout),
         may_have_banks ? ", or one more in front for a bank of filters per image" : "");
  }
  const ImageAxes x_axes(form, x.size(), layout);
  const FilterAxes w_axes(form, w.size(), layout);
  if (w_axes.bank >= 0 && w[0] != x[x_axes.n]) {
    Fail(op, ": w has ", w[0], " banks of filters (shape ", ToString(w), "), but x has ",
         x[x_axes.n], " images (shape ", ToString(x), ")");
  }
  if (groups < 1) Fail(op, ": groups is ", groups, ", expected at least 1");
  // The axis of w that counts all channels, and the one that counts those of one group.
  const int64_t channels = x[x_axes.c];
  const int64_t whole = w[form.transposed ? w_axes.c : w_axes.k];
  const int64_t part = w[form.transposed ? w_axes.k : w_axes.c];
  if (channels % groups != 0 || whole % groups != 0) {
    Fail(op, ": groups=", groups, " divides not both the ", channels, " channels of x (shape ",
         ToString(x), ") and the ", whole, form.transposed ? " channels" : " filters",
         " of w (shape ", ToString(w), "), layout ", LayoutName(form, layout));
  }
  if (form.transposed) {
    if (whole != channels) {
      Fail(op, ": w has ", whole, " input channels (shape ", ToString(w), ", axes ",
           FilterName(form, layout), "), but x has ", channels, " channels (shape ", ToString(x),
           ", layout ", LayoutName(form, layout), ")");
    }
    return {groups, channels / groups, part, {}, {}};
  }
  if (part != channels / groups) {
    const char* const filter_layout = layout == Layout::kNHWC
                                          ? (form.spatial == 2 ? "HWIO" : "WIO")
                                          : (form.spatial == 2 ? "OIHW" : "OIW");
    Fail(op, ": w has ", part, " input channels per group (shape ", ToString(w), ", layout ",
         filter_layout, "), but x has ", channels, " channels (shape ", ToString(x), ", layout ",
         LayoutName(form, layout), ") and groups=", groups);
  }
  return {groups, part, whole / groups, {}, {}};
}

Conv2dOptions Flat(Conv2dOptions options) {
  options.stride[0] = options.dilation[0] = 1;
  options.padding.before[0] = options.padding.after[0] = 0;
  return options;
}

ConvShape ResolveConv(const ConvForm& form, const Shape& x, const Shape& w,
                      const Conv2dOptions& options) {
  ConvShape shape = ResolveChannels(form, x, w, options.groups, options.layout);
  const ImageAxes x_axes(form, x.size(), options.layout);
  const FilterAxes w_axes(form, w.size(), options.layout);
  const auto resolve = [&](int axis, int64_t in, int64_t window) {
    const WindowAxis resolved = ResolveWindow(form.op, axis, in, window, options.stride[axis],
                                              options.dilation[axis], options.padding);
    if (in == 0 && resolved.out > 0 && options.pad_mode != PadMode::kConstant) {
      Fail(form.op, ": x has shape ", ToString(x),
           " and no pixels to fill the padding with; pad_mode 'constant' needs none");
    }
    return resolved;
  };
  shape.h = resolve(0, SizeOf(x, x_axes.h), SizeOf(w, w_axes.r));
  shape.w = resolve(1, SizeOf(x, x_axes.w), SizeOf(w, w_axes.s));
  return shape;
}

FilterPlace FilterPlaceOf(const TensorView& w, const FilterAxes& axes, const ConvShape& shape,
                          bool flip) {
  const int64_t k = StrideOf(w, axes.k);
  FilterStrides strides{StrideOf(w, axes.bank), shape.group_k * k,   StrideOf(w, axes.r),
                        StrideOf(w, axes.s),    StrideOf(w, axes.c), k};
  if (!flip) return {0, strides};
  const int64_t last = (shape.h.window - 1) * strides.r + (shape.w.window - 1) * strides.s;
  strides.r = -strides.r;
  strides.s = -strides.s;
  return {last, strides};
}

Shape ResultShape(const ConvForm& form, const Shape& x, Layout layout, int64_t height,
                  int64_t width, int64_t channels) {
  const ImageAxes axes(form, x.size(), layout);
  Shape out = x;
  if (axes.h >= 0) out[axes.h] = height;
  out[axes.w] = width;
  out[axes.c] = channels;
  return CheckedShape(form.op, std::move(out));
}

void CheckOperands(const ConvForm& form, const TensorView& x, const TensorView& w,
                   const TensorView* bias, const Shape& bias_shape, const TensorView& out,
                   const Shape& out_shape) {
  if (out.dtype == DType::kBool) {
    FailDType(form.op, ": x has dtype ", ToString(x.dtype), " and w ", ToString(w.dtype),
              "; a sum of products is no bool: choose a dtype");
  }
  const auto check = [&](const char* name, DType dtype) {
    if (!CanCast(dtype, out.dtype)) {
      FailDType(form.op, ": ", name, " has dtype ", ToString(dtype), ", which ",
                ToString(out.dtype), ", the result's, does not hold");
    }
  };
  check("x", x.dtype);
  check("w", w.dtype);
  if (bias != nullptr) CheckView(form.op, "bias", *bias, out.dtype, bias_shape);
  CheckView(form.op, "out", out, out.dtype, out_shape);
}

template <class T>
Buffer<T> GatherBias(const TensorView* bias, int64_t banks, int64_t channels) {
  Buffer<T> copy(banks * channels);
  if (bias == nullptr) {
    std::fill_n(copy.get(), banks * channels, T(0));
    return copy;
  }
  for (int64_t i = 0; i < banks; ++i) {
    const int64_t offset = bias->rank == 2 ? i * bias->strides[0] : 0;
    (Source<T>(*bias) + offset)
        .Read(bias->strides[bias->rank - 1], channels, copy.get() + i * channels);
  }
  return copy;
}
template Buffer<float> GatherBias(const TensorView*, int64_t, int64_t);
template Buffer<double> GatherBias(const TensorView*, int64_t, int64_t);
template Buffer<int32_t> GatherBias(const TensorView*, int64_t, int64_t);
template Buffer<int64_t> GatherBias(const TensorView*, int64_t, int64_t);

Clamp ClampFor(DType dtype, Activation activation) {
  if (activation == Activation::kNone) return nullptr;
  const bool six = activation == Activation::kRelu6;
  switch (dtype) {
    case DType::kInt8:
      return six ? Relu6<int8_t> : Relu<int8_t>;
    case DType::kInt16:
      return six ? Relu6<int16_t> : Relu<int16_t>;
    case DType::kInt32:
      return six ? Relu6<int32_t> : Relu<int32_t>;
    case DType::kInt64:
      return six ? Relu6<int64_t> : Relu<int64_t>;
    case DType::kUInt8:
      return six ? Relu6<uint8_t> : nullptr;
    case DType::kUInt16:
      return six ? Relu6<uint16_t> : nullptr;
    case DType::kUInt32:
      return six ? Relu6<uint32_t> : nullptr;
    case DType::kUInt64:
      return six ? Relu6<uint64_t> : nullptr;
    default:
      return nullptr;
  }
}

}  // namespace lanewise
