#include "lanewise/conv.h"

#include <pybind11/stl.h>

#include <cstring>
#include <string>

#include "bindings/array.h"
#include "bindings/conv_options.h"
#include "bindings/options.h"

namespace lanewise::bindings {
namespace {

constexpr Choice<Activation> kActivations[] = {
    {nullptr, Activation::kNone},      {"relu", Activation::kRelu},
    {"relu6", Activation::kRelu6},     {"silu", Activation::kSilu},
    {"gelu", Activation::kGelu},       {"leaky_relu", Activation::kLeakyRelu},
    {"sigmoid", Activation::kSigmoid}, {"tanh", Activation::kTanh}};

// What the functions of the C++ API take for a packed filter is that filter itself.
const PackedFilter& View(const PackedFilter& w) { return w; }
const PackedFilter& ShapeOf(const PackedFilter& w) { return w; }
using bindings::ShapeOf;
using bindings::View;

// The function of the C++ API, and that of its result's shape, for filters that are an array (with
// its view and shape) or packed.
template <class Filters, class Shapes, class Options>
struct Functions {
  Shape (*shape)(const Shape& x, const Shapes& w, const Options& options);
  void (*op)(const TensorView& x, const Filters& w, const TensorView* bias, const Options& options,
             const TensorView& out);
};
template <class Options>
struct Convolution {
  Functions<TensorView, Shape, Options> plain;
  Functions<PackedFilter, PackedFilter, Options> packed;
};

// The arrays of one call, as they are given.
struct Arguments {
  py::handle x, w, bias, dtype, out;
};

template <class W, class Functions, class Options>
py::array Call(const char* name, const Functions& functions, const Arguments& given, const W& w,
               py::handle filters, const Options& options) {
  const py::array x = AsArray(name, "x", given.x);
  const py::dtype dtype = given.dtype.is_none() ? ResultType(name, {{"x", x}, {"w", filters}})
                                                : py::reinterpret_borrow<py::dtype>(given.dtype);
  const Shape shape = functions.shape(ShapeOf(x), ShapeOf(w), options);
  const bool biased = !given.bias.is_none();
  const py::object bias =
      biased ? py::object(AsArrayOf(name, "bias", given.bias, dtype)) : py::none();
  py::array y = Result(name, given.out, shape, dtype, {{"x", x}, {"w", filters}, {"bias", bias}});
  const TensorView x_view = View(x), y_view = OutputView(y);
  const TensorView bias_view = biased ? View(bias) : TensorView();
  const auto& w_view = View(w);
  Released([&] { functions.op(x_view, w_view, biased ? &bias_view : nullptr, options, y_view); });
  return y;
}

template <class Options>
py::array Call(const char* name, const Convolution<Options>& convolution, const Arguments& given,
               const Options& options) {
  const bool is_array = py::isinstance<py::array>(given.w);  // asked first, as that is quick
  if (!is_array && py::isinstance<PackedFilter>(given.w)) {
    const PackedFilter& w = given.w.cast<const PackedFilter&>();
    return Call(name, convolution.packed, given, w, given.w, options);
  }
  const py::array w = AsArray(name, "w", given.w);
  return Call(name, convolution.plain, given, w, w, options);
}

void Define(py::module_& m, const Caller& caller, const Convolution<Conv2dOptions>& convolution) {
  m.def(
      caller.op,
      [caller, convolution](py::handle x, py::handle w, py::handle bias, py::handle stride,
                            py::handle padding, py::handle dilation, py::handle groups,
                            py::handle layout, py::handle pad_mode, py::handle flip,
                            py::handle activation, py::handle algorithm, py::handle dtype,
                            py::handle out) {
        auto options =
            ParseWindows<Conv2dOptions>(caller, stride, padding, dilation, groups, layout);
        options.activation = ParseChoice(caller, "activation", activation, kActivations);
        options.pad_mode = ParseChoice(caller, "pad_mode", pad_mode, kPadModes);
        options.flip = ParseFlag(flip);
        options.algorithm = ParseChoice(caller, "algorithm", algorithm, kAlgorithms);
        return Call(caller.op, convolution, {x, w, bias, dtype, out}, options);
      },
      py::arg("x"), py::arg("w"), py::arg("bias"), py::arg("stride"), py::arg("padding"),
      py::arg("dilation"), py::arg("groups"), py::arg("layout"), py::arg("pad_mode"),
      py::arg("flip"), py::arg("activation"), py::arg("algorithm"), py::arg("dtype"),
      py::arg("out"));
}

void DefineTranspose(py::module_& m) {
  static constexpr Caller kCaller{"conv_transpose2d", 2};
  m.def(
      kCaller.op,
      [](py::handle x, py::handle w, py::handle bias, py::handle stride, py::handle padding,
         py::handle output_padding, py::handle dilation, py::handle groups, py::handle layout,
         py::handle out) {
        auto options = ParseWindows<ConvTranspose2dOptions>(kCaller, stride, padding, dilation,
                                                            groups, layout);
        options.output_padding = ParsePerAxis(kCaller, "output_padding", output_padding);
        const Convolution<ConvTranspose2dOptions> convolution{
            {&ConvTranspose2dShape, &ConvTranspose2d}, {&ConvTranspose2dShape, &ConvTranspose2d}};
        return Call(kCaller.op, convolution, {x, w, bias, py::none(), out}, options);
      },
      py::arg("x"), py::arg("w"), py::arg("bias"), py::arg("stride"), py::arg("padding"),
      py::arg("output_padding"), py::arg("dilation"), py::arg("groups"), py::arg("layout"),
      py::arg("out"));
}

// What "auto" would do for arrays of these shapes, and why.
void DefineChoice(py::module_& m) {
  static constexpr Caller kCaller{"conv2d_algorithm", 2};
  m.def(
      kCaller.op,
      [](const Shape& x, const Shape& w, const py::array& result, py::handle stride,
         py::handle padding, py::handle dilation, py::handle groups, py::handle layout) {
        const auto options =
            ParseWindows<Conv2dOptions>(kCaller, stride, padding, dilation, groups, layout);
        const ConvChoice choice = Conv2dChoice(x, w, DTypeOfArray(result), options);
        return py::make_tuple(choice.name, choice.reason);
      },
      py::arg("x_shape"), py::arg("w_shape"), py::arg("result").noconvert(), py::arg("stride"),
      py::arg("padding"), py::arg("dilation"), py::arg("groups"), py::arg("layout"));
}

// Packs for contiguous images of shape x and w's own type.
void DefinePack(py::module_& m, const char* name, int spatial, decltype(&PackForConv2d) pack) {
  m.def(
      name,
      [spatial, pack](const PackedFilter& w, const Shape& x, py::handle stride, py::handle padding,
                      py::handle dilation, py::handle groups, py::handle layout, bool flip) {
        auto options = ParseWindows<Conv2dOptions>({"pack_filter", spatial}, stride, padding,
                                                   dilation, groups, layout);
        options.flip = flip;
        Released([&] { pack(w, x, w.filters().dtype, options); });
      },
      py::arg("w"), py::arg("x_shape"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
      py::arg("groups"), py::arg("layout"), py::arg("flip"));
}

void BindPackedFilter(py::module_& m) {
  py::class_<PackedFilter>(m, "PackedFilter")
      .def(py::init([](const py::array& w, int64_t groups, const std::string& layout, int spatial,
                       bool flip) {
             const TensorView view = View(w);
             const Layout code = ParseLayout({"pack_filter", spatial}, py::str(layout));
             const py::gil_scoped_release release;
             return PackedFilter(view, groups, code, flip);
           }),
           py::arg("w").noconvert(), py::arg("groups"), py::arg("layout"), py::arg("spatial"),
           py::arg("flip"))
      .def_property_readonly("nbytes", &PackedFilter::bytes)
      .def(
          "read",
          [](const PackedFilter& self, py::array& to) {
            // `to` is contiguous, of the shape and dtype of w.
            std::memcpy(to.mutable_data(), self.filters().data, to.nbytes());
          },
          py::arg("to").noconvert());
  DefinePack(m, "pack_for_conv2d", 2, &PackForConv2d);
  DefinePack(m, "pack_for_conv1d", 1, &PackForConv1d);
}

}  // namespace

void BindConv(py::module_& m) {
  Define(m, {"conv2d", 2}, {{&Conv2dShape, &Conv2d}, {&Conv2dShape, &Conv2d}});
  Define(m, {"conv1d", 1}, {{&Conv1dShape, &Conv1d}, {&Conv1dShape, &Conv1d}});
  DefineTranspose(m);
  DefineChoice(m);
  BindPackedFilter(m);
  m.def("set_conv_algorithm", &SetConvAlgorithm, py::arg("name"));
}

}  // namespace lanewise::bindings
