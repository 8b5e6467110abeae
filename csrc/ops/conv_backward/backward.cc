// Gradients of convolutions: validation, and the way from views in either layout to ImageGradient
// and FilterGradient.
#include <algorithm>

#include "lanewise/conv_backward.h"
#include "ops/conv/algorithm.h"
#include "ops/conv/form.h"
#include "ops/conv/packed_filter.h"
#include "ops/conv/transpose.h"
#include "ops/conv_backward/gradients.h"
#include "ops/strided.h"
#include "runtime/error.h"

namespace lanewise {
namespace {

constexpr ConvForm kConv2d{"conv2d_backward", 2, false}, kConv1d{"conv1d_backward", 1, false};
constexpr ConvForm kTranspose{"conv_transpose2d_backward", 2, true};

// The arguments of a call.
struct Arguments {
  const TensorView &dy, &x, &w;
  const ConvGradients& gradients;

  // The first gradient asked for, or null.
  const TensorView* any() const {
    return gradients.x != nullptr   ? gradients.x
           : gradients.w != nullptr ? gradients.w
                                    : gradients.bias;
  }
};

void Check(const ConvForm& form, const Arguments& given, const Shape& y_shape,
           const Shape& bias_shape) {
  const ConvGradients& gradients = given.gradients;
  const DType dtype = given.any()->dtype;
  if (dtype == DType::kBool) {
    FailDType(form.op, ": dy has dtype ", ToString(given.dy.dtype),
              "; a sum of products is no bool: choose another");
  }
  if (given.dy.sizes() != y_shape) {
    Fail(form.op, ": dy has shape ", ToString(given.dy.sizes()), ", expected ", ToString(y_shape),
         ", that of the result for x ", ToString(given.x.sizes()), " and w ",
         ToString(given.w.sizes()));
  }
  const auto check_operand = [&](const char* name, const TensorView& view) {
    if (!CanCast(view.dtype, dtype)) {
      FailDType(form.op, ": ", name, " has dtype ", ToString(view.dtype), ", which ",
                ToString(dtype), ", the gradients', does not hold");
    }
  };
  const auto check_values = [&](const char* name, const TensorView& view, const char* of) {
    check_operand(name, view);
    const Shape shape = view.sizes();
    if (view.data == nullptr && std::count(shape.begin(), shape.end(), 0) == 0) {
      Fail(form.op, ": ", name, " is a shape, but its values are needed for the gradient of ", of);
    }
  };
  check_operand("dy", given.dy);
  if (gradients.w != nullptr) check_values("x", given.x, "w");
  if (gradients.x != nullptr) check_values("w", given.w, "x");
  const auto check_gradient = [&](const char* name, const TensorView* view, const Shape& shape) {
    if (view != nullptr) CheckView(form.op, name, *view, dtype, shape);
  };
  check_gradient("the gradient of x", gradients.x, given.x.sizes());
  check_gradient("the gradient of w", gradients.w, given.w.sizes());
  check_gradient("the gradient of bias", gradients.bias, bias_shape);
}

bool IsEmpty(const TensorView& view) {
  return std::count(view.shape, view.shape + view.rank, 0) > 0;
}

Shape BiasShape(const ConvForm& form, const Shape& w, const ConvShape& shape) {
  const FilterAxes axes(form, w.size(), Layout::kNHWC);
  return axes.bank < 0 ? Shape{shape.filters()} : Shape{w[axes.bank], shape.filters()};
}

// The gradient of the bias is that of 1×1 filters on images of ones.
template <class T>
void RunBias(const ConvForm& form, const Arguments& given, const ImageAxes& axes,
             const ConvShape& shape, int64_t banks) {
  static constexpr T kOne = 1;
  const TensorView &dy = given.dy, &bias = *given.gradients.bias;
  const auto pixels = [&](int axis) {
    const int64_t n = SizeOf(dy.sizes(), axis);
    return WindowAxis{n, 1, 1, 1, 0, 0, n};
  };
  const int64_t k = bias.strides[bias.rank - 1];
  const ConvShape ones{1, 1, shape.filters(), pixels(axes.h), pixels(axes.w)};
  const FilterGradient<T> gradient{ones,
                                   Border(PadMode::kConstant, ones.h.in),
                                   Border(PadMode::kConstant, ones.w.in),
                                   SizeOf(dy.sizes(), axes.n),
                                   banks,
                                   Source<T>(&kOne),
                                   {0, 0, 0, 0},
                                   Source<T>(dy),
                                   StridesOf(dy, axes),
                                   Sink<T>(bias),
                                   {bias.rank == 2 ? bias.strides[0] : 0, 0, 0, 0, 0, k}};
  RunFilterGradient(form.op, gradient, bias.dtype, ConvAlgorithm::kDirect);
}

// The filters of a call by meaning, after `flip`.
struct Filters {
  int64_t first;
  FilterStrides strides;

  Filters(const TensorView& w, const FilterAxes& axes, const ConvShape& shape, bool flip)
      : strides(FilterStridesOf(w, axes, shape, flip, &first)) {}
};

template <class T>
void RunConvBackward(const ConvForm& form, const ConvShape& shape, const Arguments& given,
                     const Conv2dOptions& options) {
  const auto& [dy, x, w, gradients] = given;
  const ImageAxes axes(form, x.rank, options.layout);
  const FilterAxes w_axes(form, w.rank, options.layout);
  const int64_t batch = SizeOf(x.sizes(), axes.n), banks = SizeOf(w.sizes(), w_axes.bank);
  const Border rows(options.pad_mode, shape.h.in), columns(options.pad_mode, shape.w.in);
  const ConvAlgorithm asked =
      options.algorithm == ConvAlgorithm::kAuto ? ProcessConvAlgorithm() : options.algorithm;
  if (gradients.x != nullptr && !IsEmpty(*gradients.x)) {
    const Filters filters(w, w_axes, shape, options.flip);
    RunImageGradient<T>(form.op,
                        {shape, rows, columns, batch, banks, Source<T>(dy), StridesOf(dy, axes),
                         Source<T>(w) + filters.first, filters.strides, Sink<T>(*gradients.x),
                         StridesOf(*gradients.x, axes)},
                        gradients.x->dtype, asked);
  }
  if (gradients.w != nullptr && !IsEmpty(*gradients.w)) {
    const Filters filters(*gradients.w, w_axes, shape, options.flip);
    RunFilterGradient<T>(
        form.op,
        {shape, rows, columns, batch, banks, Source<T>(x), StridesOf(x, axes), Source<T>(dy),
         StridesOf(dy, axes), Sink<T>(*gradients.w) + filters.first, filters.strides},
        gradients.w->dtype, asked);
  }
  if (gradients.bias != nullptr && !IsEmpty(*gradients.bias)) {
    RunBias<T>(form, given, axes, shape, banks);
  }
}

void ConvBackward(const ConvForm& form, const Arguments& given, const Conv2dOptions& options) {
  const ConvShape shape = ResolveConv(form, given.x.sizes(), given.w.sizes(), options);
  if (options.activation != Activation::kNone) {
    Fail(form.op, ": the activation has to be none; its gradient is the caller's");
  }
  if (given.any() == nullptr) return;
  if (options.algorithm == ConvAlgorithm::kWinograd) {  // where the convolution refuses it
    ChooseConvMethod(form.op, shape, given.any()->dtype, options.algorithm);
  }
  Check(
      form, given,
      ResultShape(form, given.x.sizes(), options.layout, shape.h.out, shape.w.out, shape.filters()),
      BiasShape(form, given.w.sizes(), shape));
  Dispatch(given.any()->dtype,
           [&](auto zero) { RunConvBackward<decltype(zero)>(form, shape, given, options); });
}

// The convolution whose adjoint a transposed convolution is: its image is dy, its result x.
ConvShape ConvolutionOf(const TransposeShape& resolved) {
  const auto axis = [](const AdjointAxis& a) {
    return WindowAxis{a.out, a.window, a.stride, a.dilation, a.before, 0, a.in};
  };
  const ConvShape& shape = resolved.shape;
  return {shape.groups, shape.group_k, shape.group_c, axis(resolved.h), axis(resolved.w)};
}

template <class T>
void RunTransposeBackward(const TransposeShape& resolved, const Arguments& given, Layout layout) {
  const auto& [dy, x, w, gradients] = given;
  const ImageAxes axes(kTranspose, x.rank, layout);
  FilterAxes w_axes(kTranspose, w.rank, layout);
  std::swap(w_axes.c, w_axes.k);  // as the convolution has them
  const ConvShape shape = ConvolutionOf(resolved);
  const Border rows(PadMode::kConstant, shape.h.in), columns(PadMode::kConstant, shape.w.in);
  const int64_t batch = SizeOf(x.sizes(), axes.n);
  const ConvAlgorithm asked = ProcessConvAlgorithm();
  if (gradients.x != nullptr && !IsEmpty(*gradients.x)) {
    const Filters filters(w, w_axes, shape, false);
    const Buffer<T> zeros = GatherBias<T>(nullptr, 1, shape.filters());
    const ConvProblem<T> problem{shape,
                                 rows,
                                 columns,
                                 batch,
                                 1,
                                 Source<T>(dy),
                                 StridesOf(dy, axes),
                                 Source<T>(w),
                                 filters.strides,
                                 zeros.get(),
                                 0,
                                 Activation::kNone,
                                 nullptr,
                                 Sink<T>(*gradients.x),
                                 StridesOf(*gradients.x, axes),
                                 nullptr};
    RunConv(problem, ChooseConvMethod(kTranspose.op, shape, gradients.x->dtype, asked).method);
  }
  if (gradients.w != nullptr && !IsEmpty(*gradients.w)) {
    const Filters filters(*gradients.w, w_axes, shape, false);
    RunFilterGradient<T>(kTranspose.op,
                         {shape, rows, columns, batch, 1, Source<T>(dy), StridesOf(dy, axes),
                          Source<T>(x), StridesOf(x, axes), Sink<T>(*gradients.w), filters.strides},
                         gradients.w->dtype, asked);
  }
  if (gradients.bias != nullptr && !IsEmpty(*gradients.bias)) {
    RunBias<T>(kTranspose, given, axes, resolved.shape, 1);
  }
}

}  // namespace

Shape Conv2dBiasShape(const Shape& x, const Shape& w, const Conv2dOptions& options) {
  return BiasShape(kConv2d, w, ResolveConv(kConv2d, x, w, options));
}

Shape Conv1dBiasShape(const Shape& x, const Shape& w, const Conv2dOptions& options) {
  return BiasShape(kConv1d, w, ResolveConv(kConv1d, x, w, Flat(options)));
}

void Conv2dBackward(const TensorView& dy, const TensorView& x, const TensorView& w,
                    const Conv2dOptions& options, const ConvGradients& gradients) {
  ConvBackward(kConv2d, {dy, x, w, gradients}, options);
}

void Conv1dBackward(const TensorView& dy, const TensorView& x, const TensorView& w,
                    const Conv2dOptions& options, const ConvGradients& gradients) {
  ConvBackward(kConv1d, {dy, x, w, gradients}, Flat(options));
}

Shape ConvTranspose2dBiasShape(const Shape& x, const Shape& w,
                               const ConvTranspose2dOptions& options) {
  return {ResolveTranspose(kTranspose, x, w, options).shape.filters()};
}

void ConvTranspose2dBackward(const TensorView& dy, const TensorView& x, const TensorView& w,
                             const ConvTranspose2dOptions& options,
                             const ConvGradients& gradients) {
  const Arguments given{dy, x, w, gradients};
  const TransposeShape resolved = ResolveTranspose(kTranspose, x.sizes(), w.sizes(), options);
  if (given.any() == nullptr) return;
  Check(kTranspose, given,
        ResultShape(kTranspose, x.sizes(), options.layout, resolved.h.out, resolved.w.out,
                    resolved.shape.filters()),
        {resolved.shape.filters()});
  Dispatch(given.any()->dtype, [&](auto zero) {
    RunTransposeBackward<decltype(zero)>(resolved, given, options.layout);
  });
}

Shape Conv2dBiasShape(const Shape& x, const PackedFilter& w, const Conv2dOptions& options) {
  return Conv2dBiasShape(x, FiltersFor(kConv2d, w, options).sizes(), options);
}

Shape Conv1dBiasShape(const Shape& x, const PackedFilter& w, const Conv2dOptions& options) {
  return Conv1dBiasShape(x, FiltersFor(kConv1d, w, options).sizes(), options);
}

Shape ConvTranspose2dBiasShape(const Shape& x, const PackedFilter& w,
                               const ConvTranspose2dOptions& options) {
  const TensorView& filters = FiltersFor(kTranspose, w, options.groups, options.layout, false);
  return ConvTranspose2dBiasShape(x, filters.sizes(), options);
}

void Conv2dBackward(const TensorView& dy, const TensorView& x, const PackedFilter& w,
                    const Conv2dOptions& options, const ConvGradients& gradients) {
  Conv2dBackward(dy, x, FiltersFor(kConv2d, w, options), options, gradients);
}

void Conv1dBackward(const TensorView& dy, const TensorView& x, const PackedFilter& w,
                    const Conv2dOptions& options, const ConvGradients& gradients) {
  Conv1dBackward(dy, x, FiltersFor(kConv1d, w, options), options, gradients);
}

void ConvTranspose2dBackward(const TensorView& dy, const TensorView& x, const PackedFilter& w,
                             const ConvTranspose2dOptions& options,
                             const ConvGradients& gradients) {
  const TensorView& filters = FiltersFor(kTranspose, w, options.groups, options.layout, false);
  ConvTranspose2dBackward(dy, x, filters, options, gradients);
}

}  // namespace lanewise
