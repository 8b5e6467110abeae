#include "lanewise/pool.h"

#include "bindings/array.h"
#include "bindings/options.h"

namespace lanewise::bindings {
namespace {

constexpr Choice<NanPolicy> kNanPolicies[] = {{"propagate", NanPolicy::kPropagate},
                                              {"omit", NanPolicy::kOmit}};

// What maxima, minima and averages have in common.
PoolOptions ParseWindows(const Caller& caller, py::handle window, py::handle stride,
                         py::handle padding, py::handle dilation, py::handle ceil_mode,
                         py::handle layout) {
  PoolOptions options;
  options.window = ParsePerAxis(caller, "window", window);
  if (!stride.is_none()) options.stride = ParsePerAxis(caller, "stride", stride);
  options.dilation = ParsePerAxis(caller, "dilation", dilation);
  options.padding = ParsePadding(caller, padding);
  options.ceil_mode = ParseFlag(ceil_mode);
  options.layout = ParseLayout(caller, layout);
  return options;
}

using WindowShape = Shape (*)(const Shape& x, const PoolOptions& options);

void DefineWinner(py::module_& m, const Caller& caller, WindowShape shape_of,
                  void (*op)(const TensorView& x, const PoolOptions& options, const TensorView& out,
                             const TensorView* indices)) {
  m.def(
      caller.op,
      [caller, shape_of, op](py::handle x_, py::handle window, py::handle stride,
                             py::handle padding, py::handle dilation, py::handle ceil_mode,
                             py::handle layout, py::handle nan_policy, py::handle return_indices,
                             py::handle out) -> py::object {
        const py::array x = AsArray(caller.op, "x", x_);
        PoolOptions options =
            ParseWindows(caller, window, stride, padding, dilation, ceil_mode, layout);
        options.nan_policy = ParseChoice(caller, "nan_policy", nan_policy, kNanPolicies);
        const Shape shape = shape_of(ShapeOf(x), options);
        py::array values = Result(caller.op, out, shape, x.dtype(), {{"x", x}});
        const TensorView x_view = View(x), values_view = OutputView(values);
        if (!ParseFlag(return_indices)) {
          Released([&] { op(x_view, options, values_view, nullptr); });
          return values;
        }
        py::array indices = NewArray(caller.op, shape, py::dtype::of<int64_t>());
        const TensorView indices_view = OutputView(indices);
        Released([&] { op(x_view, options, values_view, &indices_view); });
        return py::make_tuple(values, indices);
      },
      py::arg("x"), py::arg("window"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
      py::arg("ceil_mode"), py::arg("layout"), py::arg("nan_policy"), py::arg("return_indices"),
      py::arg("out"));
}

void DefineAverage(py::module_& m, const Caller& caller, WindowShape shape_of,
                   void (*op)(const TensorView& x, const PoolOptions& options,
                              const TensorView& out)) {
  m.def(
      caller.op,
      [caller, shape_of, op](py::handle x_, py::handle window, py::handle stride,
                             py::handle padding, py::handle dilation, py::handle ceil_mode,
                             py::handle layout, py::handle count_include_pad, py::handle out) {
        const py::array x = AsArray(caller.op, "x", x_);
        PoolOptions options =
            ParseWindows(caller, window, stride, padding, dilation, ceil_mode, layout);
        options.count_include_pad = ParseFlag(count_include_pad);
        const Shape shape = shape_of(ShapeOf(x), options);
        const py::dtype dtype = FloatResultType(caller.op, {{"x", x}});
        py::array means = Result(caller.op, out, shape, dtype, {{"x", x}});
        const TensorView x_view = View(x), means_view = OutputView(means);
        Released([&] { op(x_view, options, means_view); });
        return means;
      },
      py::arg("x"), py::arg("window"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
      py::arg("ceil_mode"), py::arg("layout"), py::arg("count_include_pad"), py::arg("out"));
}

using DTypeRule = py::dtype (*)(const char* op, Operands operands);

void DefineGlobal(py::module_& m, const Caller& caller, DTypeRule dtype_of,
                  Shape (*shape_of)(const Shape& x, Layout layout),
                  void (*op)(const TensorView& x, Layout layout, const TensorView& out)) {
  m.def(
      caller.op,
      [caller, dtype_of, shape_of, op](py::handle x_, py::handle layout, py::handle out) {
        const py::array x = AsArray(caller.op, "x", x_);
        const Layout code = ParseLayout(caller, layout);
        const Shape shape = shape_of(ShapeOf(x), code);
        const py::dtype dtype = dtype_of(caller.op, {{"x", x}});
        py::array values = Result(caller.op, out, shape, dtype, {{"x", x}});
        const TensorView x_view = View(x), values_view = OutputView(values);
        Released([&] { op(x_view, code, values_view); });
        return values;
      },
      py::arg("x"), py::arg("layout"), py::arg("out"));
}

void DefineMaxBackward(py::module_& m) {
  static constexpr Caller kCaller{"max_pool2d_backward"};
  m.def(
      kCaller.op,
      [](py::handle dy_, py::handle indices_, py::handle input_shape, py::handle layout,
         py::handle out) {
        const Layout code = ParseLayout(kCaller, layout);
        const py::array dy = AsArray(kCaller.op, "dy", dy_);
        const py::array indices = AsArray(kCaller.op, "indices", indices_);
        CheckKind(kCaller.op, "indices", indices, "iu", "integers");
        const Shape shape = MaxPool2dBackwardShape(
            ShapeOf(dy), ShapeOf(indices), ParseSizes(kCaller, "input_shape", input_shape), code);
        py::array dx =
            Result(kCaller.op, out, shape, dy.dtype(), {{"dy", dy}, {"indices", indices}});
        const TensorView dy_view = View(dy), indices_view = View(indices), dx_view = OutputView(dx);
        // std::out_of_range is an IndexError.
        Released([&] {
          MaxPool2dBackward(dy_view, indices_view, code, dx_view, /*out_is_new=*/out.is_none());
        });
        return dx;
      },
      py::arg("dy"), py::arg("indices"), py::arg("input_shape"), py::arg("layout"), py::arg("out"));
}

void DefineAverageBackward(py::module_& m) {
  static constexpr Caller kCaller{"avg_pool2d_backward"};
  m.def(
      kCaller.op,
      [](py::handle dy_, py::handle input_shape, py::handle window, py::handle stride,
         py::handle padding, py::handle dilation, py::handle ceil_mode, py::handle layout,
         py::handle count_include_pad, py::handle out) {
        PoolOptions options =
            ParseWindows(kCaller, window, stride, padding, dilation, ceil_mode, layout);
        options.count_include_pad = ParseFlag(count_include_pad);
        const py::array dy = AsArray(kCaller.op, "dy", dy_);
        const Shape shape = AvgPool2dBackwardShape(
            ShapeOf(dy), ParseSizes(kCaller, "input_shape", input_shape), options);
        const py::dtype dtype = FloatResultType(kCaller.op, {{"dy", dy}});
        py::array dx = Result(kCaller.op, out, shape, dtype, {{"dy", dy}});
        const TensorView dy_view = View(dy), dx_view = OutputView(dx);
        Released([&] { AvgPool2dBackward(dy_view, options, dx_view); });
        return dx;
      },
      py::arg("dy"), py::arg("input_shape"), py::arg("window"), py::arg("stride"),
      py::arg("padding"), py::arg("dilation"), py::arg("ceil_mode"), py::arg("layout"),
      py::arg("count_include_pad"), py::arg("out"));
}

}  // namespace

void BindPool(py::module_& m) {
  DefineWinner(m, {"max_pool2d", 2}, MaxPool2dShape, MaxPool2d);
  DefineWinner(m, {"min_pool2d", 2}, MinPool2dShape, MinPool2d);
  DefineWinner(m, {"max_pool1d", 1}, MaxPool1dShape, MaxPool1d);
  DefineWinner(m, {"min_pool1d", 1}, MinPool1dShape, MinPool1d);
  DefineAverage(m, {"avg_pool2d", 2}, AvgPool2dShape, AvgPool2d);
  DefineAverage(m, {"avg_pool1d", 1}, AvgPool1dShape, AvgPool1d);
  DefineGlobal(m, {"global_max_pool2d", 2}, &ResultType, GlobalMaxPool2dShape, GlobalMaxPool2d);
  DefineGlobal(m, {"global_avg_pool2d", 2}, &FloatResultType, GlobalAvgPool2dShape,
               GlobalAvgPool2d);
  DefineMaxBackward(m);
  DefineAverageBackward(m);
}

}  // namespace lanewise::bindings
