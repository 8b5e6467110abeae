#include "lanewise/conv_backward.h"

#include <algorithm>
#include <vector>

#include "bindings/array.h"
#include "bindings/conv_options.h"
#include "bindings/options.h"

namespace lanewise::bindings {
namespace {

// x or w: an array, a tuple of sizes where the values are not needed, or filters that are packed.
struct ArrayOrShape {
  py::handle given;
  py::object array;  // None where there is none
  const PackedFilter* packed = nullptr;
  Shape shape;

  ArrayOrShape(const Caller& caller, const char* name, py::handle value, bool may_be_packed)
      : given(value), array(py::none()) {
    if (may_be_packed && py::isinstance<PackedFilter>(value)) {
      packed = &value.cast<const PackedFilter&>();
      shape = packed->filters().sizes();
    } else if (py::isinstance<py::tuple>(value)) {
      shape = ParseSizes(caller, name, value, "an array, or a tuple of its sizes");
    } else {
      const py::array converted = AsArray(caller.op, name, value);
      shape = ShapeOf(converted);
      array = converted;
    }
  }

  // What has its dtype, or `other` for a shape, which has none.
  py::handle typed(py::handle other) const {
    return packed != nullptr ? given : array.is_none() ? other : py::handle(array);
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

// The functions of the C++ API for filters that are an array, or packed.
template <class Filters, class Shapes, class Options>
struct Functions {
  Shape (*bias_shape)(const Shape& x, const Shapes& w, const Options& options);
  void (*op)(const TensorView& dy, const TensorView& x, const Filters& w, const Options& options,
             const ConvGradients& gradients);
};
template <class Options>
struct Backward {
  Functions<TensorView, Shape, Options> plain;
  Functions<PackedFilter, PackedFilter, Options> packed;
};

struct Arguments {
  py::handle dy, x, w, wrt;
};

constexpr Choice<int> kGradients[] = {{"x", 0}, {"w", 1}, {"bias", 2}};

template <class Options>
py::tuple Call(const Caller& caller, const Backward<Options>& functions, const Arguments& given,
               const Options& options) {
  const char* const op = caller.op;
  const std::vector<int> wanted = ParseChoices(caller, "wrt", given.wrt, kGradients);
  const py::array dy = AsArray(op, "dy", given.dy);
  const ArrayOrShape x(caller, "x", given.x, false), w(caller, "w", given.w, true);
  const py::dtype dtype = ResultType(op, {{"dy", dy}, {"x", x.typed(dy)}, {"w", w.typed(dy)}});
  const Shape bias_shape = w.packed != nullptr
                               ? functions.packed.bias_shape(x.shape, *w.packed, options)
                               : functions.plain.bias_shape(x.shape, w.shape, options);
  const Shape* const shapes[] = {&x.shape, &w.shape, &bias_shape};
  TensorView views[3];
  const TensorView* asked[3] = {};
  py::tuple results = py::make_tuple(py::none(), py::none(), py::none());
  for (const int i : wanted) {
    py::array array = NewArray(op, *shapes[i], dtype);
    views[i] = OutputView(array);
    asked[i] = &views[i];
    results[i] = array;
  }
  const ConvGradients gradients{asked[0], asked[1], asked[2]};
  const TensorView dy_view = View(dy), x_view = x.view(dy_view.dtype);
  if (w.packed != nullptr) {
    Released([&] { functions.packed.op(dy_view, x_view, *w.packed, options, gradients); });
  } else {
    const TensorView w_view = w.view(dy_view.dtype);
    Released([&] { functions.plain.op(dy_view, x_view, w_view, options, gradients); });
  }
  return results;
}

void Define(py::module_& m, const Caller& caller, const Backward<Conv2dOptions>& functions) {
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
        const Backward<ConvTranspose2dOptions> functions{
            {&ConvTranspose2dBiasShape, &ConvTranspose2dBackward},
            {&ConvTranspose2dBiasShape, &ConvTranspose2dBackward}};
        return Call(kCaller, functions, {dy, x, w, wrt}, options);
      },
      py::arg("dy"), py::arg("x"), py::arg("w"), py::arg("wrt"), py::arg("stride"),
      py::arg("padding"), py::arg("output_padding"), py::arg("dilation"), py::arg("groups"),
      py::arg("layout"));
}

}  // namespace

void BindConvBackward(py::module_& m) {
  Define(m, {"conv2d_backward", 2},
         {{&Conv2dBiasShape, &Conv2dBackward}, {&Conv2dBiasShape, &Conv2dBackward}});
  Define(m, {"conv1d_backward", 1},
         {{&Conv1dBiasShape, &Conv1dBackward}, {&Conv1dBiasShape, &Conv1dBackward}});
  DefineTranspose(m);
}

}  // namespace lanewise::bindings
