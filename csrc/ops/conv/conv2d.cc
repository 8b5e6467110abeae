// Validation, and the way from views in either layout to a ConvProblem.
#include <algorithm>

#include "ops/conv/algorithm.h"
#include "ops/conv/problem.h"
#include "ops/strided.h"
#include "runtime/error.h"

namespace lanewise {
namespace {

constexpr const char* kOp = "conv2d";

// Positions of the axes of x and out, and of w.
struct Axes {
  int n, h, w, c;
  int r, s, filter_c, k;
};
constexpr Axes kNhwcAxes{0, 1, 2, 3, 0, 1, 2, 3};
constexpr Axes kNchwAxes{0, 2, 3, 1, 2, 3, 1, 0};

const Axes& AxesOf(Layout layout) { return layout == Layout::kNHWC ? kNhwcAxes : kNchwAxes; }

ConvShape Resolve(const Shape& x, const Shape& w, const Conv2dOptions& options) {
  const bool nhwc = options.layout == Layout::kNHWC;
  const char* const layout = nhwc ? "NHWC" : "NCHW";
  if (x.size() != 4) {
    Fail(kOp, ": x has shape ", ToString(x), ", expected 4 axes in layout ", layout);
  }
  if (w.size() != 4) {
    Fail(kOp, ": w has shape ", ToString(w), ", expected 4 axes ",
         nhwc ? "(height, width, channels / groups, filters)"
              : "(filters, channels / groups, height, width)",
         " in layout ", layout);
  }
  const Axes& axes = AxesOf(options.layout);
  const int64_t channels = x[axes.c], filters = w[axes.k], groups = options.groups;
  if (groups < 1) Fail(kOp, ": groups is ", groups, ", expected at least 1");
  if (channels % groups != 0 || filters % groups != 0) {
    Fail(kOp, ": groups=", groups, " divides not both the ", channels, " channels of x (shape ",
         ToString(x), ") and the ", filters, " filters of w (shape ", ToString(w), "), layout ",
         layout);
  }
  if (w[axes.filter_c] != channels / groups) {
    Fail(kOp, ": w has ", w[axes.filter_c], " input channels per group (shape ", ToString(w),
         ", layout ", nhwc ? "HWIO" : "OIHW", "), but x has ", channels, " channels (shape ",
         ToString(x), ", layout ", layout, ") and groups=", groups);
  }
  ConvShape shape{groups, channels / groups, filters / groups, {}, {}};
  shape.h = ResolveWindow(kOp, 0, x[axes.h], w[axes.r], options.stride[0], options.dilation[0],
                          options.padding);
  shape.w = ResolveWindow(kOp, 1, x[axes.w], w[axes.s], options.stride[1], options.dilation[1],
                          options.padding);
  return shape;
}

ImageStrides StridesOf(const TensorView& image, const Axes& axes) {
  return {image.strides[axes.n], image.strides[axes.h], image.strides[axes.w],
          image.strides[axes.c]};
}

template <class T>
Buffer<T> GatherBias(const TensorView* bias, int64_t filters) {
  Buffer<T> copy(filters);
  if (bias == nullptr) {
    std::fill_n(copy.get(), filters, T(0));
  } else {
    Gather(Data<const T>(*bias), bias->strides[0], filters, copy.get());
  }
  return copy;
}

template <class T>
void Run(const ConvShape& shape, const TensorView& x, const TensorView& w, const TensorView* bias,
         const Conv2dOptions& options, const TensorView& out) {
  const Axes& axes = AxesOf(options.layout);
  ConvProblem<T> problem{
      shape,
      x.shape[axes.n],
      Data<const T>(x),
      StridesOf(x, axes),
      Data<const T>(w),
      {w.strides[axes.r], w.strides[axes.s], w.strides[axes.filter_c], w.strides[axes.k]},
      GatherBias<T>(bias, shape.groups * shape.group_k),
      options.activation,
      Data<T>(out),
      StridesOf(out, axes)};
  switch (ChooseConvAlgorithm(shape)) {
    case ConvAlgorithm::kDirect:
      return RunDirect(problem);
    case ConvAlgorithm::kDepthwise:
      return RunDepthwise(problem);
  }
}

Shape OutputShape(const Shape& x, const Shape& w, const ConvShape& shape, Layout layout) {
  const Axes& axes = AxesOf(layout);
  Shape out(4);
  out[axes.n] = x[axes.n];
  out[axes.h] = shape.h.out;
  out[axes.w] = shape.w.out;
  out[axes.c] = w[axes.k];
  int64_t elements = 1;
  for (const int64_t size : out) elements = CheckedProduct(kOp, elements, size);
  return out;
}

}  // namespace

Shape Conv2dShape(const Shape& x, const Shape& w, const Conv2dOptions& options) {
  return OutputShape(x, w, Resolve(x, w, options), options.layout);
}

void Conv2d(const TensorView& x, const TensorView& w, const TensorView* bias,
            const Conv2dOptions& options, const TensorView& out) {
  const ConvShape shape = Resolve(x.sizes(), w.sizes(), options);
  CheckView(kOp, "w", w, x.dtype, w.sizes());
  if (bias != nullptr) CheckView(kOp, "bias", *bias, x.dtype, {shape.groups * shape.group_k});
  CheckView(kOp, "out", out, x.dtype, OutputShape(x.sizes(), w.sizes(), shape, options.layout));
  if (std::count(out.shape, out.shape + 4, 0) > 0) return;
  switch (x.dtype) {
    case DType::kFloat32:
      return Run<float>(shape, x, w, bias, options, out);
    case DType::kFloat64:
      return Run<double>(shape, x, w, bias, options, out);
    default:
      FailDType(kOp, ": x has dtype ", ToString(x.dtype), ", expected float32 or float64");
  }
}

}  // namespace lanewise
