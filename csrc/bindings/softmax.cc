#include "lanewise/softmax.h"

#include "bindings/array.h"
#include "bindings/options.h"

namespace lanewise::bindings {
namespace {

py::array AsMask(py::handle value) {
  const py::array mask = AsArray("softmax", "mask", value);
  CheckKind("softmax", "mask", mask, "b", "bool");
  return mask;
}

void BindForward(py::module_& m) {
  m.def(
      "softmax",
      [](py::handle x_, py::handle axis, py::handle mask_, py::handle out) {
        const py::array x = AsArray("softmax", "x", x_);
        const py::object mask = mask_.is_none() ? py::none() : py::object(AsMask(mask_));
        const Axes axes = ParseAxes({"softmax"}, axis, static_cast<int>(x.ndim()));
        const py::dtype dtype = FloatResultType("softmax", {{"x", x}});
        py::array y = Result("softmax", out, ShapeOf(x), dtype, {{"x", x, true}, {"mask", mask}});
        const TensorView x_view = View(x), y_view = OutputView(y);
        const TensorView mask_view = mask.is_none() ? TensorView() : View(mask);
        Released([&] { Softmax(x_view, axes, mask.is_none() ? nullptr : &mask_view, y_view); });
        return y;
      },
      py::arg("x"), py::arg("axis"), py::arg("mask"), py::arg("out"));
  m.def(
      "log_softmax",
      [](py::handle x_, py::handle axis, py::handle out) {
        const py::array x = AsArray("log_softmax", "x", x_);
        const Axes axes = ParseAxes({"log_softmax"}, axis, static_cast<int>(x.ndim()));
        py::array y = Result("log_softmax", out, ShapeOf(x),
                             FloatResultType("log_softmax", {{"x", x}}), {{"x", x, true}});
        const TensorView x_view = View(x), y_view = OutputView(y);
        Released([&] { LogSoftmax(x_view, axes, y_view); });
        return y;
      },
      py::arg("x"), py::arg("axis"), py::arg("out"));
}

void DefineBackward(py::module_& m, const char* name,
                    void (*op)(const TensorView& dy, const TensorView& y, const Axes& axes,
                               const TensorView& out)) {
  m.def(
      name,
      [name, op](py::handle dy_, py::handle y_, py::handle axis, py::handle out) {
        const py::array dy = AsArray(name, "dy", dy_), y = AsArray(name, "y", y_);
        const Shape shape = SoftmaxBackwardShape(name, ShapeOf(dy), ShapeOf(y));
        const Axes axes = ParseAxes({name}, axis, static_cast<int>(dy.ndim()));
        const py::dtype dtype = FloatResultType(name, {{"dy", dy}, {"y", y}});
        py::array dx = Result(name, out, shape, dtype, {{"dy", dy, true}, {"y", y}});
        const TensorView dy_view = View(dy), y_view = View(y), dx_view = OutputView(dx);
        Released([&] { op(dy_view, y_view, axes, dx_view); });
        return dx;
      },
      py::arg("dy"), py::arg("y"), py::arg("axis"), py::arg("out"));
}

void BindLogSumExp(py::module_& m) {
  m.def(
      "logsumexp",
      [](py::handle x_, py::handle axis, py::handle keepdims, py::handle out) {
        const py::array x = AsArray("logsumexp", "x", x_);
        const Axes axes = ParseAxes({"logsumexp"}, axis, static_cast<int>(x.ndim()));
        const bool keep = ParseFlag(keepdims);
        const Shape shape = LogSumExpShape(ShapeOf(x), axes, keep);
        py::array y =
            Result("logsumexp", out, shape, FloatResultType("logsumexp", {{"x", x}}), {{"x", x}});
        const TensorView x_view = View(x), y_view = OutputView(y);
        Released([&] { LogSumExp(x_view, axes, keep, y_view); });
        return y;
      },
      py::arg("x"), py::arg("axis"), py::arg("keepdims"), py::arg("out"));
}

void BindJacobian(py::module_& m) {
  m.def(
      "softmax_jacobian",
      [](py::handle y_, py::handle axis, py::handle out) {
        const py::array y = AsArray("softmax_jacobian", "y", y_);
        const Axes axes = ParseAxes({"softmax_jacobian"}, axis, static_cast<int>(y.ndim()));
        const Shape shape = SoftmaxJacobianShape(ShapeOf(y), axes);
        py::array jacobian = Result("softmax_jacobian", out, shape,
                                    FloatResultType("softmax_jacobian", {{"y", y}}), {{"y", y}});
        const TensorView y_view = View(y), jacobian_view = OutputView(jacobian);
        Released([&] { SoftmaxJacobian(y_view, axes, jacobian_view); });
        return jacobian;
      },
      py::arg("y"), py::arg("axis"), py::arg("out"));
}

}  // namespace

void BindSoftmax(py::module_& m) {
  BindForward(m);
  DefineBackward(m, "softmax_backward", &SoftmaxBackward);
  DefineBackward(m, "log_softmax_backward", &LogSoftmaxBackward);
  BindLogSumExp(m);
  BindJacobian(m);
}

}  // namespace lanewise::bindings
