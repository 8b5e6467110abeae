#include "lanewise/pool.h"

#include <pybind11/stl.h>

#include <string>
#include <type_traits>

#include "bindings/array.h"

namespace lanewise::bindings {
namespace {

using Winner = void (*)(const TensorView& x, const PoolOptions& options, const TensorView& out,
                        const TensorView* indices);

// Each op is two functions: `name` and `name`_shape.
template <class Options>
void DefineShape(py::module_& m, const std::string& name,
                 Shape (*shape)(const Shape& x, Options options)) {
  m.def((name + "_shape").c_str(),
        [shape](const py::array& x, const std::decay_t<Options>& options) {
          return Tuple(shape(ShapeOf(x), options));
        },
        py::arg("x").noconvert(), py::arg("options"));
}

void DefineWinner(py::module_& m, const char* name,
                  Shape (*shape)(const Shape& x, const PoolOptions& options), Winner op) {
  DefineShape(m, name, shape);
  m.def(
      name,
      [op](const py::array& x, const PoolOptions& options, py::array& out,
           std::optional<py::array> indices) {
        const TensorView x_view = View(x), out_view = OutputView(out);
        TensorView indices_view;
        if (indices) indices_view = OutputView(*indices);
        py::gil_scoped_release release;
        op(x_view, options, out_view, indices ? &indices_view : nullptr);
      },
      py::arg("x").noconvert(), py::arg("options"), py::arg("out").noconvert(),
      py::arg("indices").noconvert());
}

// Averages, and with a layout for options the global poolings.
template <class Options>
void DefinePlain(py::module_& m, const char* name, Shape (*shape)(const Shape& x, Options options),
                 void (*op)(const TensorView& x, Options options, const TensorView& out)) {
  DefineShape(m, name, shape);
  m.def(
      name,
      [op](const py::array& x, const std::decay_t<Options>& options, py::array& out) {
        const TensorView x_view = View(x), out_view = OutputView(out);
        py::gil_scoped_release release;
        op(x_view, options, out_view);
      },
      py::arg("x").noconvert(), py::arg("options"), py::arg("out").noconvert());
}

}  // namespace

void BindPool(py::module_& m) {
  py::enum_<NanPolicy>(m, "NanPolicy")
      .value("PROPAGATE", NanPolicy::kPropagate)
      .value("OMIT", NanPolicy::kOmit);

  py::class_<PoolOptions>(m, "PoolOptions")
      .def(py::init([](PerAxis<int64_t> window, std::optional<PerAxis<int64_t>> stride,
                       PerAxis<int64_t> dilation, PaddingRule rule, PerAxis<int64_t> before,
                       PerAxis<int64_t> after, bool ceil_mode, Layout layout, NanPolicy nan_policy,
                       bool count_include_pad) {
             return PoolOptions{window,    stride, dilation,   {rule, before, after},
                                ceil_mode, layout, nan_policy, count_include_pad};
           }),
           py::arg("window"), py::arg("stride"), py::arg("dilation"), py::arg("rule"),
           py::arg("before"), py::arg("after"), py::arg("ceil_mode"), py::arg("layout"),
           py::arg("nan_policy"), py::arg("count_include_pad"));

  DefineWinner(m, "max_pool2d", MaxPool2dShape, MaxPool2d);
  DefineWinner(m, "min_pool2d", MinPool2dShape, MinPool2d);
  DefineWinner(m, "max_pool1d", MaxPool1dShape, MaxPool1d);
  DefineWinner(m, "min_pool1d", MinPool1dShape, MinPool1d);
  DefinePlain(m, "avg_pool2d", AvgPool2dShape, AvgPool2d);
  DefinePlain(m, "avg_pool1d", AvgPool1dShape, AvgPool1d);
  DefinePlain(m, "global_max_pool2d", GlobalMaxPool2dShape, GlobalMaxPool2d);
  DefinePlain(m, "global_avg_pool2d", GlobalAvgPool2dShape, GlobalAvgPool2d);
}

}  // namespace lanewise::bindings
