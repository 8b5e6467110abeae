#include "lanewise/conv.h"

#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "bindings/array.h"

namespace lanewise::bindings {
namespace {

// `name`, and `name`_shape.
template <class Options>
void Define(py::module_& m, const std::string& name,
            Shape (*shape)(const Shape& x, const Shape& w, const Options& options),
            void (*op)(const TensorView& x, const TensorView& w, const TensorView* bias,
                       const Options& options, const TensorView& out)) {
  m.def((name + "_shape").c_str(),
        [shape](const py::array& x, const py::array& w, const Options& options) {
          return Tuple(shape(ShapeOf(x), ShapeOf(w), options));
        },
        py::arg("x").noconvert(), py::arg("w").noconvert(), py::arg("options"));

  m.def(
      name.c_str(),
      [op](const py::array& x, const py::array& w, const std::optional<py::array>& bias,
           const Options& options, py::array& out) {
        const TensorView x_view = View(x), w_view = View(w), out_view = OutputView(out);
        const TensorView bias_view = bias ? View(*bias) : TensorView();
        py::gil_scoped_release release;
        op(x_view, w_view, bias ? &bias_view : nullptr, options, out_view);
      },
      py::arg("x").noconvert(), py::arg("w").noconvert(), py::arg("bias").noconvert(),
      py::arg("options"), py::arg("out").noconvert());
}

}  // namespace

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

  py::enum_<ConvAlgorithm>(m, "ConvAlgorithm")
      .value("AUTO", ConvAlgorithm::kAuto)
      .value("DIRECT", ConvAlgorithm::kDirect)
      .value("WINOGRAD", ConvAlgorithm::kWinograd);

  py::class_<Conv2dOptions>(m, "Conv2dOptions")
      .def(py::init([](PerAxis<int64_t> stride, PerAxis<int64_t> dilation, PaddingRule rule,
                       PerAxis<int64_t> before, PerAxis<int64_t> after, int64_t groups,
                       Layout layout, Activation activation, PadMode pad_mode, bool flip,
                       ConvAlgorithm algorithm) {
             return Conv2dOptions{stride,   dilation, {rule, before, after},
                                  groups,   layout,   activation,
                                  pad_mode, flip,     algorithm};
           }),
           py::arg("stride"), py::arg("dilation"), py::arg("rule"), py::arg("before"),
           py::arg("after"), py::arg("groups"), py::arg("layout"), py::arg("activation"),
           py::arg("pad_mode"), py::arg("flip"), py::arg("algorithm"));

  py::class_<ConvTranspose2dOptions>(m, "ConvTranspose2dOptions")
      .def(py::init([](PerAxis<int64_t> stride, PerAxis<int64_t> dilation, PaddingRule rule,
                       PerAxis<int64_t> before, PerAxis<int64_t> after,
                       PerAxis<int64_t> output_padding, int64_t groups, Layout layout) {
             return ConvTranspose2dOptions{stride,         dilation, {rule, before, after},
                                           output_padding, groups,   layout};
           }),
           py::arg("stride"), py::arg("dilation"), py::arg("rule"), py::arg("before"),
           py::arg("after"), py::arg("output_padding"), py::arg("groups"), py::arg("layout"));

  m.def(
      "conv2d_choice",
      [](const Shape& x, const Shape& w, const py::array& result, const Conv2dOptions& options) {
        const ConvChoice choice = Conv2dChoice(x, w, DTypeOfArray(result), options);
        return py::make_tuple(choice.name, choice.reason);
      },
      py::arg("x"), py::arg("w"), py::arg("result").noconvert(), py::arg("options"));
  m.def("set_conv_algorithm", &SetConvAlgorithm, py::arg("name"));

  Define<Conv2dOptions>(m, "conv2d", &Conv2dShape, &Conv2d);
  Define<Conv2dOptions>(m, "conv1d", &Conv1dShape, &Conv1d);
  Define<ConvTranspose2dOptions>(m, "conv_transpose2d", &ConvTranspose2dShape, &ConvTranspose2d);
}

}  // namespace lanewise::bindings
