#include "lanewise/conv.h"

#include <pybind11/stl.h>

#include <cstring>
#include <optional>
#include <string>

#include "bindings/array.h"

namespace lanewise::bindings {
namespace {

// What the functions of the C++ API take for a packed filter is that filter itself.
const PackedFilter& View(const PackedFilter& w) { return w; }
const PackedFilter& ShapeOf(const PackedFilter& w) { return w; }
using bindings::ShapeOf;
using bindings::View;

// `name`, and `name`_shape, for filters W that the C++ API sees as `Filters` of shape `Shapes`.
template <class W, class Shapes, class Filters, class Options>
void Define(py::module_& m, const std::string& name,
            Shape (*shape)(const Shape& x, const Shapes& w, const Options& options),
            void (*op)(const TensorView& x, const Filters& w, const TensorView* bias,
                       const Options& options, const TensorView& out)) {
  m.def((name + "_shape").c_str(),
        [shape](const py::array& x, const W& w, const Options& options) {
          return Tuple(shape(ShapeOf(x), ShapeOf(w), options));
        },
        py::arg("x").noconvert(), py::arg("w").noconvert(), py::arg("options"));

  m.def(
      name.c_str(),
      [op](const py::array& x, const W& w, const std::optional<py::array>& bias,
           const Options& options, py::array& out) {
        const TensorView x_view = View(x), out_view = OutputView(out);
        const Filters& w_view = View(w);
        const TensorView bias_view = bias ? View(*bias) : TensorView();
        py::gil_scoped_release release;
        op(x_view, w_view, bias ? &bias_view : nullptr, options, out_view);
      },
      py::arg("x").noconvert(), py::arg("w").noconvert(), py::arg("bias").noconvert(),
      py::arg("options"), py::arg("out").noconvert());
}

// Packs for contiguous images of shape x and w's own type.
void DefinePack(py::module_& m, const char* name, decltype(&PackForConv2d) pack) {
  m.def(
      name,
      [pack](const PackedFilter& w, const Shape& x, const Conv2dOptions& options) {
        py::gil_scoped_release release;
        pack(w, x, w.filters().dtype, options);
      },
      py::arg("w"), py::arg("x"), py::arg("options"));
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

  py::class_<PackedFilter>(m, "PackedFilter")
      .def(py::init([](const py::array& w, int64_t groups, Layout layout, bool flip) {
             const TensorView view = View(w);
             py::gil_scoped_release release;
             return PackedFilter(view, groups, layout, flip);
           }),
           py::arg("w").noconvert(), py::arg("groups"), py::arg("layout"), py::arg("flip"))
      .def_property_readonly("nbytes", &PackedFilter::bytes)
      .def(
          "read",
          [](const PackedFilter& self, py::array& to) {
            // `to` is contiguous, of the shape and dtype of w.
            std::memcpy(to.mutable_data(), self.filters().data, to.nbytes());
          },
          py::arg("to").noconvert());

  Define<py::array, Shape, TensorView, Conv2dOptions>(m, "conv2d", &Conv2dShape, &Conv2d);
  Define<py::array, Shape, TensorView, Conv2dOptions>(m, "conv1d", &Conv1dShape, &Conv1d);
  Define<py::array, Shape, TensorView, ConvTranspose2dOptions>(
      m, "conv_transpose2d", &ConvTranspose2dShape, &ConvTranspose2d);
  using Packed = PackedFilter;
  Define<Packed, Packed, Packed, Conv2dOptions>(m, "conv2d", &Conv2dShape, &Conv2d);
  Define<Packed, Packed, Packed, Conv2dOptions>(m, "conv1d", &Conv1dShape, &Conv1d);
  Define<Packed, Packed, Packed, ConvTranspose2dOptions>(m, "conv_transpose2d",
                                                         &ConvTranspose2dShape, &ConvTranspose2d);
  DefinePack(m, "pack_for_conv2d", &PackForConv2d);
  DefinePack(m, "pack_for_conv1d", &PackForConv1d);
}

}  // namespace lanewise::bindings
