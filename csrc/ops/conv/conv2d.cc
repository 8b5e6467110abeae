// conv2d, conv1d and their share of pack_filter: validation, and the way from views in either
// layout to a ConvProblem.
#include <algorithm>

#include "ops/conv/algorithm.h"
#include "ops/conv/form.h"
#include "ops/conv/packed_filter.h"
#include "ops/conv/problem.h"
#include "runtime/error.h"

namespace lanewise {
namespace {

constexpr ConvForm kConv2d{"conv2d", 2, false}, kConv1d{"conv1d", 1, false};
constexpr ConvForm kPack2d{"pack_filter", 2, false}, kPack1d{"pack_filter", 1, false};

Shape OutputShape(const ConvForm& form, const Shape& x, const ConvShape& shape, Layout layout) {
  return ResultShape(form, x, layout, shape.h.out, shape.w.out, shape.filters());
}

ConvDecision Choose(const ConvForm& form, const ConvShape& shape, DType result,
                    const Conv2dOptions& options) {
  const ConvAlgorithm asked =
      options.algorithm == ConvAlgorithm::kAuto ? ProcessConvAlgorithm() : options.algorithm;
  return ChooseConvMethod(form.op, shape, result, asked);
}

template <class T>
void Run(const ConvForm& form, const ConvShape& shape, ConvMethod method, const TensorView& x,
         const TensorView& w, FilterForms* forms, const TensorView* bias,
         const Conv2dOptions& options, const TensorView& out) {
  const ImageAxes x_axes(form, x.rank, options.layout);
  const FilterAxes w_axes(form, w.rank, options.layout);
  const int64_t batch = SizeOf(x.sizes(), x_axes.n);
  const bool bias_banks = bias != nullptr && bias->rank == 2;
  const Buffer<T> biases = GatherBias<T>(bias, bias_banks ? batch : 1, shape.filters());
  const FilterPlace place = FilterPlaceOf(w, w_axes, shape, options.flip);
  const bool real = IsFloat(out.dtype);
  const ConvProblem<T> problem{shape,
                               Border(options.pad_mode, shape.h.in),
                               Border(options.pad_mode, shape.w.in),
                               batch,
                               SizeOf(w.sizes(), w_axes.bank),
                               Source<T>(x),
                               StridesOf(x, x_axes),
                               Source<T>(w) + place.first,
                               place.strides,
                               biases.get(),
                               bias_banks ? shape.filters() : 0,
                               real ? options.activation : Activation::kNone,
                               real ? nullptr : ClampFor(out.dtype, options.activation),
                               Sink<T>(out),
                               StridesOf(out, x_axes),
                               forms};
  RunConv(problem, method);
}

// `forms` are w's, or null.
void Conv(const ConvForm& form, const TensorView& x, const TensorView& w, FilterForms* forms,
          const TensorView* bias, const Conv2dOptions& options, const TensorView& out) {
  const Shape x_shape = x.sizes(), w_shape = w.sizes();
  const ConvShape shape = ResolveConv(form, x_shape, w_shape, options);
  Shape bias_shape{shape.filters()};
  if (bias != nullptr && bias->rank == 2 && w.rank > form.spatial + 2) {
    bias_shape.insert(bias_shape.begin(), w_shape[0]);
  }
  CheckOperands(form, x, w, bias, bias_shape, out,
                OutputShape(form, x_shape, shape, options.layout));
  if (!IsFloat(out.dtype) && options.activation > Activation::kRelu6) {
    FailDType(form.op, ": of the activations only relu and relu6 apply to integers; the result's ",
              "dtype is ", ToString(out.dtype));
  }
  const ConvDecision choice = Choose(form, shape, out.dtype, options);
  if (std::count(out.shape, out.shape + out.rank, 0) > 0) return;
  Dispatch(out.dtype, [&](auto zero) {
    Run<decltype(zero)>(form, shape, choice.method, x, w, forms, bias, options, out);
  });
}

// A call on no images packs the filters that it would read, and computes nothing.
void Pack(const ConvForm& form, const PackedFilter& w, const Shape& x_shape, DType dtype,
          const Conv2dOptions& options) {
  const TensorView& filters = FiltersFor(form, w, options);
  const ConvShape shape = ResolveConv(form, x_shape, filters.sizes(), options);
  const Shape out_shape = OutputShape(form, x_shape, shape, options.layout);
  const auto no_images = [&](Shape sizes) {
    if (static_cast<int>(sizes.size()) < form.spatial + 2) sizes.insert(sizes.begin(), 0);
    sizes[0] = 0;
    return ContiguousView(nullptr, dtype, sizes);
  };
  const TensorView x = no_images(x_shape), out = no_images(out_shape);
  CheckOperands(form, x, filters, nullptr, {}, out, out.sizes());
  const ConvDecision choice = Choose(form, shape, dtype, options);
  if (std::count(out_shape.begin(), out_shape.end(), 0) > 0) return;
  Dispatch(dtype, [&](auto zero) {
    Run<decltype(zero)>(form, shape, choice.method, x, filters, &w.forms(), nullptr, options, out);
  });
}

}  // namespace

Shape Conv2dShape(const Shape& x, const Shape& w, const Conv2dOptions& options) {
  return OutputShape(kConv2d, x, ResolveConv(kConv2d, x, w, options), options.layout);
}

void Conv2d(const TensorView& x, const TensorView& w, const TensorView* bias,
            const Conv2dOptions& options, const TensorView& out) {
  Conv(kConv2d, x, w, nullptr, bias, options, out);
}

Shape Conv2dShape(const Shape& x, const PackedFilter& w, const Conv2dOptions& options) {
  return Conv2dShape(x, FiltersFor(kConv2d, w, options).sizes(), options);
}

void Conv2d(const TensorView& x, const PackedFilter& w, const TensorView* bias,
            const Conv2dOptions& options, const TensorView& out) {
  Conv(kConv2d, x, FiltersFor(kConv2d, w, options), &w.forms(), bias, options, out);
}

void PackForConv2d(const PackedFilter& w, const Shape& x, DType dtype,
                   const Conv2dOptions& options) {
  Pack(kPack2d, w, x, dtype, options);
}

ConvChoice Conv2dChoice(const Shape& x, const Shape& w, DType dtype, const Conv2dOptions& options) {
  const ConvShape shape = ResolveConv(kConv2d, x, w, options);
  constexpr const char* kNames[] = {"direct", "depthwise", "grouped", "winograd"};
  const ConvDecision choice = Choose(kConv2d, shape, dtype, options);
  return {kNames[static_cast<int>(choice.method)], choice.reason};
}

Shape Conv1dShape(const Shape& x, const Shape& w, const Conv2dOptions& options) {
  return OutputShape(kConv1d, x, ResolveConv(kConv1d, x, w, Flat(options)), options.layout);
}

void Conv1d(const TensorView& x, const TensorView& w, const TensorView* bias,
            const Conv2dOptions& options, const TensorView& out) {
  Conv(kConv1d, x, w, nullptr, bias, Flat(options), out);
}

Shape Conv1dShape(const Shape& x, const PackedFilter& w, const Conv2dOptions& options) {
  return Conv1dShape(x, FiltersFor(kConv1d, w, options).sizes(), options);
}

void Conv1d(const TensorView& x, const PackedFilter& w, const TensorView* bias,
            const Conv2dOptions& options, const TensorView& out) {
  Conv(kConv1d, x, FiltersFor(kConv1d, w, options), &w.forms(), bias, Flat(options), out);
}

void PackForConv1d(const PackedFilter& w, const Shape& x, DType dtype,
                   const Conv2dOptions& options) {
  Pack(kPack1d, w, x, dtype, Flat(options));
}

}  // namespace lanewise
