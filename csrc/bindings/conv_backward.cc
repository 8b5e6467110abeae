#include "lanewise/conv_backward.h"

#include <algorithm>

#include "bindings/array.h"
#include "bindings/conv_options.h"

namespace lanewise::bindings {
namespace {

// x or w: an array, or a tuple or list of sizes where the values are not needed.
struct ArrayOrShape {
  py::object array;  // None for a shape
  Shape shape;

  ArrayOrShape(const Caller& caller, const char* name, py::handle value) : array(py::none()) {
    if (py::isinstance<py::tuple>(value)) {
      shape = ParseSizes(caller, name, value);
    } else {
      const py::array converted = AsArray(caller.op, name, value);
      shape = ShapeOf(converted);
      array = converted;
    }
  }

  TensorView view(DType result) const {
    if (!array.is_none()) return View(py::reinterpret_borrow<py::array>(array));
    TensorView sizes;
    sizes.dtype = result;
    sizes.rank = static_cast<int>(shape.size());
    std::copy(shape.begin(), shape.end(), sizes.shape);
    std::fill_n(sizes.strides, sizes.rank, 0);
    return sizes;
  }
};

// Which gradients `wrt` names: a name, or several.
struct Wanted {
  bool x = false, w = false, bias = false;

  Wanted(const Caller& caller, py::handle wrt) {
    if (py::isinstance<py::str>(wrt)) {
      Add(caller, wrt);
    } else {
      for (const py::handle name : py::reinterpret_borrow<py::iterable>(wrt)) Add(caller, name);
    }
  }

 private:
  void Add(const Caller& caller, py::handle name) {
    static constexpr Choice<bool Wanted::*> kNames[] = {
        {"x", &Wanted::x}, {"w", &Wanted::w}, {"bias", &Wanted::bias}};
    this->*ParseChoice(caller, "wrt", name, kNames) = true;
  }
};

template <class Options>
struct Functions {
  Shape (*bias_shape)(const Shape& x, const Shape& w, const Options& options);
  void (*op)(const TensorView& dy, const TensorView& x, const TensorView& w, const Options& options,
             const ConvGradients& gradients);
};

struct Arguments {
  py::handle dy, x, w, wrt;
};

template <class Options>
py::tuple Call(const Caller& caller, const Functions<Options>& functions, const Arguments& given,
               const Options& options) {
  const char* const op = caller.op;
  const Wanted wanted(caller, given.wrt);
  const py::array dy = AsArray(op, "dy", given.dy);
  const ArrayOrShape x(caller, "x", given.x), w(caller, "w", given.w);
  const auto array_or_dy = [&](const ArrayOrShape& given) -> py::handle {
    return given.array.is_none() ? dy : given.array;
  };
  const py::dtype dtype =
      ResultType(op, {{"dy", dy}, {"x", array_or_dy(x)}, {"w", array_or_dy(w)}});
  const Shape bias_shape = functions.bias_shape(x.shape, w.shape, options);
  TensorView views[3];
  py::tuple results(3);
  const auto gradient = [&](int i, bool asked, const Shape& shape) -> const TensorView* {
    results[i] = py::none();
    if (!asked) return nullptr;
    py::array array = NewArray(op, shape, dtype);
    views[i] = OutputView(array);
    results[i] = array;
    return &views[i];
  };
  const ConvGradients gradients{gradient(0, wanted.x, x.shape), gradient(1, wanted.w, w.shape),
                                gradient(2, wanted.bias, bias_shape)};
  const TensorView dy_view = View(dy);
  const TensorView x_view = x.view(dy_view.dtype), w_view = w.view(dy_view.dtype);
  Released([&] { functions.op(dy_view, x_view, w_view, options, gradients); });
  return results;
}

void Define(py::module_& m, const Caller& caller, const Functions<Conv2dOptions>& functions) {
  m.def(
      caller.op,
      [caller, functions](py::handle dy, py::handle x, py::handle w, py::handle wrt,
                          py::handle stride, py::handle padding, py::handle dilation,
                          py::handle groups, py::handle layout, py::handle pad_mode,
                          py::handle flip, py::handle algorithm) {
        auto options =
            ParseWindows<Conv2dOptions>(caller, stride, padding, dilation, groups, layout);
        options.pad_mode = ParseChoice(caller, "pad_mode", pad_mode, kPadModes);
        options.flip = ParseFlag(flip);
        options.algorithm = ParseChoice(caller, "algorithm", algorithm, kAlgorithms);
        return Call(caller, functions, {dy, x, w, wrt}, options);
      },
      py::arg("dy"), py::arg("x"), py::arg("w"), py::arg("wrt"), py::arg("stride"),
      py::arg("padding"), py::arg("dilation"), py::arg("groups"), py::arg("layout"),
      py::arg("pad_mode"), py::arg("flip"), py::arg("algorithm"));
}

void DefineTranspose(py::module_& m) {
  static constexpr Caller kCaller{"conv_transpose2d_backward", 2};
  m.def(
      kCaller.op,
      [](py::handle dy, py::handle x, py::handle w, py::handle wrt, py::handle stride,
         py::handle padding, py::handle output_padding, py::handle dilation, py::handle groups,
         py::handle layout) {
        auto options = ParseWindows<ConvTranspose2dOptions>(kCaller, stride, padding, dilation,
                                                            groups, layout);
        options.output_padding = ParsePerAxis(kCaller, "output_padding", output_padding);
        return Call<ConvTranspose2dOptions>(kCaller,
                                            {&ConvTranspose2dBiasShape, &ConvTranspose2dBackward},
                                            {dy, x, w, wrt}, options);
      },
      py::arg("dy"), py::arg("x"), py::arg("w"), py::arg("wrt"), py::arg("stride"),
      py::arg("padding"), py::arg("output_padding"), py::arg("dilation"), py::arg("groups"),
      py::arg("layout"));
}

}  // namespace

void BindConvBackward(py::module_& m) {
  Define(m, {"conv2d_backward", 2}, {&Conv2dBiasShape, &Conv2dBackward});
  Define(m, {"conv1d_backward", 1}, {&Conv1dBiasShape, &Conv1dBackward});
  DefineTranspose(m);
}

}  // namespace lanewise::bindings
