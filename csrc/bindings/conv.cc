#include "lanewise/conv.h"

#include <pybind11/stl.h>

#include <optional>

#include "bindings/array.h"

namespace lanewise::bindings {

void BindConv(py::module_& m) {
  py::enum_<Activation>(m, "Activation")
      .value("NONE", Activation::kNone)
      .value("RELU", Activation::kRelu)
      .value("RELU6", Activation::kRelu6)
      .value("SILU", Activation::kSilu)
      .value("GELU", Activation::kGelu)
      .value("LEAKY_RELU", Activation::kLeakyRelu)
      .value("SIGMOID", Activation::kSigmoid)
      .value("TANH", Activation::kTanh);

  py::class_<Conv2dOptions>(m, "Conv2dOptions")
      .def(py::init([](PerAxis<int64_t> stride, PerAxis<int64_t> dilation, PaddingRule rule,
                       PerAxis<int64_t> before, PerAxis<int64_t> after, int64_t groups,
                       Layout layout, Activation activation) {
             return Conv2dOptions{stride, dilation, {rule, before, after},
                                  groups, layout,   activation};
           }),
           py::arg("stride"), py::arg("dilation"), py::arg("rule"), py::arg("before"),
           py::arg("after"), py::arg("groups"), py::arg("layout"), py::arg("activation"));

  m.def(
      "conv2d_shape",
      [](const py::array& x, const py::array& w, const Conv2dOptions& options) {
        return Tuple(Conv2dShape(ShapeOf(x), ShapeOf(w), options));
      },
      py::arg("x").noconvert(), py::arg("w").noconvert(), py::arg("options"));

  m.def(
      "conv2d",
      [](const py::array& x, const py::array& w, const std::optional<py::array>& bias,
         const Conv2dOptions& options, py::array& out) {
        const TensorView x_view = View(x), w_view = View(w), out_view = OutputView(out);
        const TensorView bias_view = bias ? View(*bias) : TensorView();
        py::gil_scoped_release release;
        Conv2d(x_view, w_view, bias ? &bias_view : nullptr, options, out_view);
      },
      py::arg("x").noconvert(), py::arg("w").noconvert(), py::arg("bias").noconvert(),
      py::arg("options"), py::arg("out").noconvert());
}

}  // namespace lanewise::bindings
