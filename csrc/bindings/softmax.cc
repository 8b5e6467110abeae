#include "lanewise/softmax.h"

#include "bindings/array.h"

namespace lanewise::bindings {
namespace {

using Forward = void (*)(const TensorView& x, int axis, const TensorView& out);
using Backward = void (*)(const TensorView& dy, const TensorView& y, int axis,
                          const TensorView& out);

void Define(py::module_& m, const char* name, Forward op) {
  m.def(
      name,
      [op](const py::array& x, int axis, py::array& out) {
        const TensorView x_view = View(x), out_view = OutputView(out);
        py::gil_scoped_release release;
        op(x_view, axis, out_view);
      },
      py::arg("x").noconvert(), py::arg("axis"), py::arg("out").noconvert());
}

void Define(py::module_& m, const char* name, Backward op) {
  m.def(
      name,
      [op](const py::array& dy, const py::array& y, int axis, py::array& out) {
        const TensorView dy_view = View(dy), y_view = View(y), out_view = OutputView(out);
        py::gil_scoped_release release;
        op(dy_view, y_view, axis, out_view);
      },
      py::arg("dy").noconvert(), py::arg("y").noconvert(), py::arg("axis"),
      py::arg("out").noconvert());
}

}  // namespace

void BindSoftmax(py::module_& m) {
  m.def(
      "softmax_backward_shape",
      [](const std::string& op, const py::array& dy, const py::array& y) {
        return Tuple(SoftmaxBackwardShape(op.c_str(), ShapeOf(dy), ShapeOf(y)));
      },
      py::arg("op"), py::arg("dy").noconvert(), py::arg("y").noconvert());
  Define(m, "softmax", &Softmax);
  Define(m, "log_softmax", &LogSoftmax);
  Define(m, "softmax_backward", &SoftmaxBackward);
  Define(m, "log_softmax_backward", &LogSoftmaxBackward);
}

}  // namespace lanewise::bindings
