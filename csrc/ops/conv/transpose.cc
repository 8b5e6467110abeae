// conv_transpose2d, the adjoint of conv2d.
//
// Output row o gets x[i]·w[r] from all i and r with i·stride + r·dilation = o + before. The rows of
// one phase, o = phase + q·stride, therefore see the taps r for which stride divides
// phase + before - r·dilation: an arithmetic progression with step stride/g, g = gcd(stride,
// dilation), whose inputs i are dilation/g apart. Each phase is a stride-1 convolution of x with
// these taps, written to every stride-th row.
#include <algorithm>
#include <numeric>

#include "ops/conv/algorithm.h"
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

// One axis of the whole: of the result's `out` elements, `before` more are cut off in front.
struct Adjoint {
  int64_t in, window, stride, dilation, before, out;
};

Adjoint ResolveAxis(int axis, int64_t in, int64_t window, const ConvTranspose2dOptions& options) {
  const char* const name = axis == 0 ? "height" : "width";
  const int64_t stride = options.stride[axis], dilation = options.dilation[axis];
  const int64_t extra = options.output_padding[axis];
  const bool same =
      options.padding.rule == PaddingRule::kSame || options.padding.rule == PaddingRule::kSameLower;
  if (in < 1) Fail(kForm.op, ": x has no pixels along the ", name);
  Padding padding = options.padding;
  const bool is_explicit = padding.rule == PaddingRule::kExplicit;
  const auto check = [&](const char* what, int64_t value, int64_t least) {
    if (value < least || value > kMostElements) {
      Fail(kForm.op, ": ", what, " is ", value, " along the ", name, ", expected at least ", least,
           " and no more than memory could hold");
    }
  };
  check("stride", stride, 1);
  check("dilation", dilation, 1);
  check("window", window, 1);
  check("padding", std::min(padding.before[axis], padding.after[axis]), 0);
  check("padding", std::max(padding.before[axis], padding.after[axis]), 0);
  const int64_t spread = CheckedProduct(kForm.op, in, stride);
  const int64_t reach = CheckedProduct(kForm.op, dilation, window - 1);
  check("x spread by the stride", spread, 1);
  check("window with its dilation", reach, 0);
  if (extra < 0 || extra >= std::max(stride, dilation) || (same && extra != 0)) {
    Fail(kForm.op, ": output_padding is ", extra, " along the ", name,
         same ? ", but padding 'same' leaves no room for it"
              : ", expected at least 0 and less than stride or dilation");
  }
  // The convolution whose adjoint this is, on an image that its windows fill: x's shape is its
  // result's. Of explicit padding it is the padded image that is known.
  if (is_explicit) padding.before[axis] = padding.after[axis] = 0;
  const int64_t covered = spread - stride + reach + 1;
  const WindowAxis forward =
      ResolveWindow(kForm.op, axis, same ? spread : covered, window, stride, dilation, padding);
  const int64_t before = is_explicit ? options.padding.before[axis] : forward.before;
  const int64_t after = is_explicit ? options.padding.after[axis] : forward.after;
  const int64_t out = same ? spread : covered - before - after + extra;
  if (out < 1) {
    Fail(kForm.op, ": the result's ", name, " would be ", out, ": ", in, " pixels with stride ",
         stride, " and a window of ", window, " with dilation ", dilation, " cover ", covered,
         ", of which padding (", before, ", ", after, ") is cut off");
  }
  return {in, window, stride, dilation, before, out};
}

struct Resolved {
  ConvShape shape;  // without windows
  Adjoint h, w;
};

Resolved Resolve(const Shape& x, const Shape& w, const ConvTranspose2dOptions& options) {
  const ConvShape shape = ResolveChannels(kForm, x, w, options.groups, options.layout);
  const ImageAxes x_axes(kForm, x.size(), options.layout);
  const FilterAxes w_axes(kForm, w.size(), options.layout);
  return {shape, ResolveAxis(0, x[x_axes.h], w[w_axes.r], options),
          ResolveAxis(1, x[x_axes.w], w[w_axes.s], options)};
}

Shape OutputShape(const Shape& x, const Resolved& resolved, Layout layout) {
  return ResultShape(kForm, x, layout, resolved.h.out, resolved.w.out, resolved.shape.filters());
}

// The convolution along one axis that gives the outputs phase, phase + stride, … Its taps, in the
// order of increasing inputs, are w's `first`, first + step, …; a phase that no tap reaches has
// none, and window 0.
struct Phase {
  WindowAxis axis;
  int64_t first_tap, tap_step;

  Phase(const Adjoint& a, int64_t phase) {
    const int64_t g = std::gcd(a.stride, a.dilation);
    const int64_t step = a.stride / g, target = phase + a.before;
    int64_t lowest = 0;
    while (lowest < std::min(step, a.window) && (target - lowest * a.dilation) % a.stride != 0) {
      ++lowest;
    }
    const bool reached = lowest < std::min(step, a.window);
    const int64_t taps = reached ? (a.window - 1 - lowest) / step + 1 : 0;
    first_tap = lowest + std::max<int64_t>(0, taps - 1) * step;
    tap_step = -step;
    // Output phase + q·stride meets first_tap at input q + (target - first_tap·dilation)/stride.
    const int64_t before = reached ? -((target - first_tap * a.dilation) / a.stride) : 0;
    const int64_t out = CeilDiv(a.out - phase, a.stride);
    axis = {a.in, taps, 1, a.dilation / g, before, 0, out};
  }
};

template <class T>
void Run(const Resolved& resolved, const TensorView& x, const TensorView& w, FilterForms* forms,
         const TensorView* bias, const ConvTranspose2dOptions& options, const TensorView& out) {
  const ImageAxes axes(kForm, x.rank, options.layout);
  const FilterAxes w_axes(kForm, w.rank, options.layout);
  const Adjoint &h = resolved.h, &v = resolved.w;
  const ImageStrides out_strides = StridesOf(out, axes);
  const int64_t r = StrideOf(w, w_axes.r), s = StrideOf(w, w_axes.s), c = StrideOf(w, w_axes.c);
  const Buffer<T> biases = GatherBias<T>(bias, 1, resolved.shape.filters());
  for (int64_t i = 0; i < std::min(h.stride, h.out); ++i) {
    const Phase rows(h, i);
    for (int64_t j = 0; j < std::min(v.stride, v.out); ++j) {
      const Phase columns(v, j);
      ConvShape shape = resolved.shape;
      shape.h = rows.axis;
      shape.w = columns.axis;
      if (shape.taps() == 0) {  // the empty sum of no channels
        shape.group_c = 0;
        shape.h.window = shape.w.window = 1;
      }
      const ConvDecision choice =
          ChooseConvMethod(kForm.op, shape, out.dtype, ConvAlgorithm::kDirect);
      const ConvProblem<T> problem{
          shape,
          Border(PadMode::kConstant, h.in),
          Border(PadMode::kConstant, v.in),
          SizeOf(x.sizes(), axes.n),
          1,
          Source<T>(x),
          StridesOf(x, axes),
          Source<T>(w) + (rows.first_tap * r + columns.first_tap * s),
          {0, resolved.shape.group_c * c, rows.tap_step * r, columns.tap_step * s, c,
           StrideOf(w, w_axes.k)},
          biases.get(),
          0,
          Activation::kNone,
          nullptr,
          Sink<T>(out) + (i * out_strides.h + j * out_strides.w),
          {out_strides.n, h.stride * out_strides.h, v.stride * out_strides.w, out_strides.c},
          forms};
      RunConv(problem, choice.method);
    }
  }
}

// `forms` are w's, or null.
void ConvTranspose(const TensorView& x, const TensorView& w, FilterForms* forms,
                   const TensorView* bias, const ConvTranspose2dOptions& options,
                   const TensorView& out) {
  const Resolved resolved = Resolve(x.sizes(), w.sizes(), options);
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

Shape ConvTranspose2dShape(const Shape& x, const Shape& w, const ConvTranspose2dOptions& options) {
  return OutputShape(x, Resolve(x, w, options), options.layout);
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
