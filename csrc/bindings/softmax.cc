#include "lanewise/softmax.h"

#include <pybind11/stl.h>

#include <optional>

#include "bindings/array.h"

namespace lanewise::bindings {
namespace {

using Backward = void (*)(const TensorView& dy, const TensorView& y, const Axes& axes,
                          const TensorView& out);

void Define(py::module_& m, const char* name, Backward op) {
  m.def(
      name,
      [op](const py::array& dy, const py::array& y, const Axes& axes, py::array& out) {
        const TensorView dy_view = View(dy), y_view = View(y), out_view = OutputView(out);
        py::gil_scoped_release release;
        op(dy_view, y_view, axes, out_view);
      },
      py::arg("dy").noconvert(), py::arg("y").noconvert(), py::arg("axes"),
      py::arg("out").noconvert());
}

void BindForward(py::module_& m) {
  m.def(
      "softmax",
      [](const py::array& x, const Axes& axes, const std::optional<py::array>& mask,
         py::array& out) {
        const TensorView x_view = View(x), out_view = OutputView(out);
        const TensorView mask_view = mask ? View(*mask) : TensorView();
        py::gil_scoped_release release;
        Softmax(x_view, axes, mask ? &mask_view : nullptr, out_view);
      },
      py::arg("x").noconvert(), py::arg("axes"), py::arg("mask").noconvert(),
      py::arg("out").noconvert());
  m.def(
      "log_softmax",
      [](const py::array& x, const Axes& axes, py::array& out) {
        const TensorView x_view = View(x), out_view = OutputView(out);
        py::gil_scoped_release release;
        LogSoftmax(x_view, axes, out_view);
      },
      py::arg("x").noconvert(), py::arg("axes"), py::arg("out").noconvert());
}

void BindBackward(py::module_& m) {
  m.def(
      "softmax_backward_shape",
      [](const std::string& op, const py::array& dy, const py::array& y) {
        return Tuple(SoftmaxBackwardShape(op.c_str(), ShapeOf(dy), ShapeOf(y)));
      },
      py::arg("op"), py::arg("dy").noconvert(), py::arg("y").noconvert());
  Define(m, "softmax_backward", &SoftmaxBackward);
  Define(m, "log_softmax_backward", &LogSoftmaxBackward);
}

void BindLogSumExp(py::module_& m) {
  m.def(
      "logsumexp_shape",
      [](const py::array& x, const Axes& axes, bool keepdims) {
        return Tuple(LogSumExpShape(ShapeOf(x), axes, keepdims));
      },
      py::arg("x").noconvert(), py::arg("axes"), py::arg("keepdims"));
  m.def(
      "logsumexp",
      [](const py::array& x, const Axes& axes, bool keepdims, py::array& out) {
        const TensorView x_view = View(x), out_view = OutputView(out);
        py::gil_scoped_release release;
        LogSumExp(x_view, axes, keepdims, out_view);
      },
      py::arg("x").noconvert(), py::arg("axes"), py::arg("keepdims"), py::arg("out").noconvert());
}

void BindJacobian(py::module_& m) {
  m.def(
      "softmax_jacobian_shape",
      [](const py::array& y, const Axes& axes) {
        return Tuple(SoftmaxJacobianShape(ShapeOf(y), axes));
      },
      py::arg("y").noconvert(), py::arg("axes"));
  m.def(
      "softmax_jacobian",
      [](const py::array& y, const Axes& axes, py::array& out) {
        const TensorView y_view = View(y), out_view = OutputView(out);
        py::gil_scoped_release release;
        SoftmaxJacobian(y_view, axes, out_view);
      },
      py::arg("y").noconvert(), py::arg("axes"), py::arg("out").noconvert());
}

}  // namespace

void BindSoftmax(py::module_& m) {
  BindForward(m);
  BindBackward(m);
  BindLogSumExp(m);
  BindJacobian(m);
}

}  // namespace lanewise::bindings
