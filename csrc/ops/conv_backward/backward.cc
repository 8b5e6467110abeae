// Gradients of convolutions: validation, and the way from views in either layout to ImageGradient
// and FilterGradient.
#include <algorithm>
#include <utility>

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
         ToString(given.w.sizes()), " with these options");
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

// A convolution, or that whose adjoint a transposed convolution is.
struct Convolution {
  const char* op;
  ConvShape shape;
  int64_t batch, banks;
  ImageAxes axes;  // of its image and of its result
  FilterAxes filter_axes;
  PadMode pad_mode = PadMode::kConstant;
  bool flip = false;
  ConvAlgorithm asked = ProcessConvAlgorithm();

  Border rows() const { return Border(pad_mode, shape.h.in); }
  Border columns() const { return Border(pad_mode, shape.w.in); }
  FilterPlace PlaceOf(const TensorView& filters) const {
    return FilterPlaceOf(filters, filter_axes, shape, flip);
  }
};

// The gradient by the convolution's image, from that by its result.
template <class T>
void RunByImage(const Convolution& conv, const TensorView& dy, const TensorView& w,
                const TensorView& dx) {
  const FilterPlace place = conv.PlaceOf(w);
  RunImageGradient<T>(conv.op,
                      {conv.shape, conv.rows(), conv.columns(), conv.batch, conv.banks,
                       Source<T>(dy), StridesOf(dy, conv.axes), Source<T>(w) + place.first,
                       place.strides, Sink<T>(dx), StridesOf(dx, conv.axes)},
                      dx.dtype, conv.asked);
}

// The gradient by its filters, from its image and the gradient by its result.
template <class T>
void RunByFilters(const Convolution& conv, const TensorView& x, const TensorView& dy,
                  const TensorView& dw) {
  const FilterPlace place = conv.PlaceOf(dw);
  RunFilterGradient<T>(conv.op,
                       {conv.shape, conv.rows(), conv.columns(), conv.batch, conv.banks,
                        Source<T>(x), StridesOf(x, conv.axes), Source<T>(dy),
                        StridesOf(dy, conv.axes), Sink<T>(dw) + place.first, place.strides},
                       dw.dtype, conv.asked);
}

// The gradient by a bias that was added to y: that by 1×1 filters on images of ones.
template <class T>
void RunByBias(const Convolution& conv, const TensorView& dy, const TensorView& dbias) {
  static constexpr T kOne = 1;
  const auto pixels = [&](int axis) {
    const int64_t n = SizeOf(dy.sizes(), axis);
    return WindowAxis{n, 1, 1, 1, 0, 0, n};
  };
  const int64_t filters = SizeOf(dy.sizes(), conv.axes.c);
  const ConvShape ones{1, 1, filters, pixels(conv.axes.h), pixels(conv.axes.w)};
  const int64_t bank = dbias.rank == 2 ? dbias.strides[0] : 0;
  RunFilterGradient<T>(conv.op,
                       {ones,
                        Border(PadMode::kConstant, ones.h.in),
                        Border(PadMode::kConstant, ones.w.in),
                        conv.batch,
                        conv.banks,
                        Source<T>(&kOne),
                        {0, 0, 0, 0},
                        Source<T>(dy),
                        StridesOf(dy, conv.axes),
                        Sink<T>(dbias),
                        {bank, 0, 0, 0, 0, dbias.strides[dbias.rank - 1]}},
                       dbias.dtype, ConvAlgorithm::kDirect);
}

// The convolution itself.
template <class T>
void RunForward(const Convolution& conv, const TensorView& x, const TensorView& w,
                const TensorView& y) {
  const FilterPlace place = conv.PlaceOf(w);
  const Buffer<T> zeros = GatherBias<T>(nullptr, 1, conv.shape.filters());
  const ConvProblem<T> problem{conv.shape,
                               conv.rows(),
                               conv.columns(),
                               conv.batch,
                               conv.banks,
                               Source<T>(x),
                               StridesOf(x, conv.axes),
                               Source<T>(w) + place.first,
                               place.strides,
                               zeros.get(),
                               0,
                               Activation::kNone,
                               nullptr,
                               Sink<T>(y),
                               StridesOf(y, conv.axes),
                               nullptr};
  RunConv(problem, ChooseConvMethod(conv.op, conv.shape, y.dtype, conv.asked).method);
}

// Whether this gradient is asked for, and has elements.
bool Wanted(const TensorView* gradient) { return gradient != nullptr && !IsEmpty(*gradient); }

void ConvBackward(const ConvForm& form, const Arguments& given, const Conv2dOptions& options) {
  const Shape x_shape = given.x.sizes(), w_shape = given.w.sizes();
  const ConvShape shape = ResolveConv(form, x_shape, w_shape, options);
  if (options.activation != Activation::kNone) {
    Fail(form.op, ": the activation has to be none; its gradient is the caller's");
  }
  if (given.any() == nullptr) return;
  const DType dtype = given.any()->dtype;
  if (options.algorithm == ConvAlgorithm::kWinograd) {  // where the convolution refuses it
    ChooseConvMethod(form.op, shape, dtype, options.algorithm);
  }
  Check(form, given,
        ResultShape(form, x_shape, options.layout, shape.h.out, shape.w.out, shape.filters()),
        BiasShape(form, w_shape, shape));
  const ImageAxes axes(form, given.x.rank, options.layout);
  const FilterAxes filter_axes(form, given.w.rank, options.layout);
  Convolution conv{form.op, shape,       SizeOf(x_shape, axes.n), SizeOf(w_shape, filter_axes.bank),
                   axes,    filter_axes, options.pad_mode,        options.flip};
  if (options.algorithm != ConvAlgorithm::kAuto) conv.asked = options.algorithm;
  Dispatch(dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto& [dy, x, w, gradients] = given;
    if (Wanted(gradients.x)) RunByImage<T>(conv, dy, w, *gradients.x);
    if (Wanted(gradients.w)) RunByFilters<T>(conv, x, dy, *gradients.w);
    if (Wanted(gradients.bias)) RunByBias<T>(conv, dy, *gradients.bias);
  });
}

// The convolution whose adjoint a transposed convolution is: its image is dy, its result x.
ConvShape ConvolutionOf(const TransposeShape& resolved) {
  const auto axis = [](const AdjointAxis& a) {
    return WindowAxis{a.out, a.window, a.stride, a.dilation, a.before, 0, a.in};
  };
  const ConvShape& shape = resolved.shape;
  return {shape.groups, shape.group_k, shape.group_c, axis(resolved.h), axis(resolved.w)};
}

void TransposeBackward(const Arguments& given, const ConvTranspose2dOptions& options) {
  const Shape x_shape = given.x.sizes(), w_shape = given.w.sizes();
  const TransposeShape resolved = ResolveTranspose(kTranspose, x_shape, w_shape, options);
  if (given.any() == nullptr) return;
  const int64_t filters = resolved.shape.filters();
  Check(kTranspose, given,
        ResultShape(kTranspose, x_shape, options.layout, resolved.h.out, resolved.w.out, filters),
        {filters});
  const ImageAxes axes(kTranspose, given.x.rank, options.layout);
  FilterAxes filter_axes(kTranspose, given.w.rank, options.layout);
  std::swap(filter_axes.c, filter_axes.k);  // as the convolution has them
  const Convolution conv{kTranspose.op, ConvolutionOf(resolved), SizeOf(x_shape, axes.n), 1, axes,
                         filter_axes};
  Dispatch(given.any()->dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto& [dy, x, w, gradients] = given;
    if (Wanted(gradients.x)) RunForward<T>(conv, dy, w, *gradients.x);
    if (Wanted(gradients.w)) RunByFilters<T>(conv, dy, x, *gradients.w);
    if (Wanted(gradients.bias)) RunByBias<T>(conv, dy, *gradients.bias);
  });
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
  TransposeBackward({dy, x, w, gradients}, options);
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
