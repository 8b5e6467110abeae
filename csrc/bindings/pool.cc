#include "lanewise/pool.h"

#include <pybind11/stl.h>

#include "bindings/array.h"

namespace lanewise::bindings {

void BindPool(py::module_& m) {
  py::class_<PoolOptions>(m, "PoolOptions")
      .def(py::init([](PerAxis<int64_t> window, std::optional<PerAxis<int64_t>> stride,
                       PerAxis<int64_t> dilation, PaddingRule rule, PerAxis<int64_t> before,
                       PerAxis<int64_t> after, bool ceil_mode, Layout layout) {
             return PoolOptions{window, stride, dilation, {rule, before, after}, ceil_mode, layout};
           }),
           py::arg("window"), py::arg("stride"), py::arg("dilation"), py::arg("rule"),
           py::arg("before"), py::arg("after"), py::arg("ceil_mode"), py::arg("layout"));

  m.def(
      "max_pool2d_shape",
      [](const py::array& x, const PoolOptions& options) {
        return Tuple(MaxPool2dShape(ShapeOf(x), options));
      },
      py::arg("x").noconvert(), py::arg("options"));

  m.def(
      "max_pool2d",
      [](const py::array& x, const PoolOptions& options, py::array& out,
         std::optional<py::array> indices) {
        const TensorView x_view = View(x), out_view = OutputView(out);
        TensorView indices_view;
        if (indices) indices_view = OutputView(*indices);
        py::gil_scoped_release release;
        MaxPool2d(x_view, options, out_view, indices ? &indices_view : nullptr);
      },
      py::arg("x").noconvert(), py::arg("options"), py::arg("out").noconvert(),
      py::arg("indices").noconvert());
}

}  // namespace lanewise::bindings
