// conv_transpose2d, the adjoint of conv2d: validation, and the way to RunAdjoint.
#include "ops/conv/transpose.h"

#include <algorithm>

#include "ops/conv/adjoint.h"
#include "ops/conv/form.h"
#include "ops/conv/packed_filter.h"
#include "ops/conv/problem.h"
#include "ops/strided.h"
#include "runtime/error.h"

namespace lanewise {
namespace {

constexpr ConvForm kForm{"conv_transpose2d", 2, true};

// No size below comes near overflow if all that it is made of stay below this.
constexpr int64_t kMostElements = int64_t{1} << 60;

AdjointAxis ResolveAxis(const char* op, int axis, int64_t in, int64_t window,
                        const ConvTranspose2dOptions& options) {
  const char* const name = axis == 0 ? "height" : "width";
  const int64_t stride = options.stride[axis], dilation = options.dilation[axis];
  const int64_t extra = options.output_padding[axis];
  const bool same =
      options.padding.rule == PaddingRule::kSame || options.padding.rule == PaddingRule::kSameLower;
  if (in < 1) Fail(op, ": x has no pixels along the ", name);
  Padding padding = options.padding;
  const bool is_explicit = padding.rule == PaddingRule::kExplicit;
  const auto check = [&](const char* what, int64_t value, int64_t least) {
    if (value < least || value > kMostElements) {
      Fail(op, ": ", what, " is ", value, " along the ", name, ", expected at least ", least,
           " and no more than memory could hold");
    }
  };
  check("stride", stride, 1);
  check("dilation", dilation, 1);
  check("window", window, 1);
  check("padding", std::min(padding.before[axis], padding.after[axis]), 0);
  check("padding", std::max(padding.before[axis], padding.after[axis]), 0);
  const int64_t spread = CheckedProduct(op, in, stride);
  const int64_t reach = CheckedProduct(op, dilation, window - 1);
  check("x spread by the stride", spread, 1);
  check("window with its dilation", reach, 0);
  if (extra < 0 || extra >= std::max(stride, dilation) || (same && extra != 0)) {
    Fail(op, ": output_padding is ", extra, " along the ", name,
         same ? ", but padding 'same' leaves no room for it"
              : ", expected at least 0 and less than stride or dilation");
  }
  // The convolution whose adjoint this is, on an image that its windows fill: x's shape is its
  // result's. Of explicit padding it is the padded image that is known.
  if (is_explicit) padding.before[axis] = padding.after[axis] = 0;
  const int64_t covered = spread - stride + reach + 1;
  const WindowAxis forward =
      ResolveWindow(op, axis, same ? spread : covered, window, stride, dilation, padding);
  const int64_t before = is_explicit ? options.padding.before[axis] : forward.before;
  const int64_t after = is_explicit ? options.padding.after[axis] : forward.after;
  const int64_t out = same ? spread : covered - before - after + extra;
  if (out < 1) {
    Fail(op, ": the result's ", name, " would be ", out, ": ", in, " pixels with stride ", stride,
         " and a window of ", window, " with dilation ", dilation, " cover ", covered,
         ", of which padding (", before, ", ", after, ") is cut off");
  }
  return {in, window, stride, dilation, before, out};
}

Shape OutputShape(const Shape& x, const TransposeShape& resolved, Layout layout) {
  return ResultShape(kForm, x, layout, resolved.h.out, resolved.w.out, resolved.shape.filters());
}

template <class T>
void Run(const TransposeShape& resolved, const TensorView& x, const TensorView& w,
         FilterForms* forms, const TensorView* bias, const ConvTranspose2dOptions& options,
         const TensorView& out) {
  const ImageAxes axes(kForm, x.rank, options.layout);
  const FilterAxes w_axes(kForm, w.rank, options.layout);
  const ConvShape& shape = resolved.shape;
  const int64_t c = StrideOf(w, w_axes.c);
  const Buffer<T> biases = GatherBias<T>(bias, 1, shape.filters());
  const ConvProblem<T> problem{shape,
                               Border(PadMode::kConstant, resolved.h.in),
                               Border(PadMode::kConstant, resolved.w.in),
                               SizeOf(x.sizes(), axes.n),
                               1,
                               Source<T>(x),
                               StridesOf(x, axes),
                               Source<T>(w),
                               {0, shape.group_c * c, StrideOf(w, w_axes.r), StrideOf(w, w_axes.s),
                                c, StrideOf(w, w_axes.k)},
                               biases.get(),
                               0,
                               Activation::kNone,
                               nullptr,
                               Sink<T>(out),
                               StridesOf(out, axes),
                               forms};
  RunAdjoint(kForm.op, problem, resolved.h, resolved.w, out.dtype, ConvAlgorithm::kDirect);
}

// `forms` are w's, or null.
void ConvTranspose(const TensorView& x, const TensorView& w, FilterForms* forms,
                   const TensorView* bias, const ConvTranspose2dOptions& options,
                   const TensorView& out) {
  const TransposeShape resolved = ResolveTranspose(kForm, x.sizes(), w.sizes(), options);
  CheckOperands(kForm, x, w, bias, {resolved.shape.filters()}, out,
                OutputShape(x.sizes(), resolved, options.layout));
  if (std::count(out.shape, out.shape + out.rank, 0) > 0) return;
  Dispatch(out.dtype,
           [&](auto zero) { Run<decltype(zero)>(resolved, x, w, forms, bias, options, out); });
}

// A transposed convolution has no `flip`.
const TensorView& FiltersOf(const PackedFilter& w, const ConvTranspose2dOptions& options) {
  return FiltersFor(kForm, w, options.groups, options.layout, false);
}

}  // namespace

TransposeShape ResolveTranspose(const ConvForm& form, const Shape& x, const Shape& w,
                                const ConvTranspose2dOptions& options) {
  const ConvShape shape = ResolveChannels(form, x, w, options.groups, options.layout);
  const ImageAxes x_axes(form, x.size(), options.layout);
  const FilterAxes w_axes(form, w.size(), options.layout);
  return {shape, ResolveAxis(form.op, 0, x[x_axes.h], w[w_axes.r], options),
          ResolveAxis(form.op, 1, x[x_axes.w], w[w_axes.s], options)};
}

Shape ConvTranspose2dShape(const Shape& x, const Shape& w, const ConvTranspose2dOptions& options) {
  return OutputShape(x, ResolveTranspose(kForm, x, w, options), options.layout);
}

void ConvTranspose2d(const TensorView& x, const TensorView& w, const TensorView* bias,
                     const ConvTranspose2dOptions& options, const TensorView& out) {
  ConvTranspose(x, w, nullptr, bias, options, out);
}

Shape ConvTranspose2dShape(const Shape& x, const PackedFilter& w,
                           const ConvTranspose2dOptions& options) {
  return ConvTranspose2dShape(x, FiltersOf(w, options).sizes(), options);
}

void ConvTranspose2d(const TensorView& x, const PackedFilter& w, const TensorView* bias,
                     const ConvTranspose2dOptions& options, const TensorView& out) {
  ConvTranspose(x, FiltersOf(w, options), &w.forms(), bias, options, out);
}

}  // namespace lanewise
