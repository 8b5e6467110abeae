#include <pybind11/stl.h>

#include "bindings/array.h"
#include "lanewise/pool.h"

namespace lanewise::bindings {

void BindPoolBackward(py::module_& m) {
  m.def(
      "max_pool2d_backward_shape",
      [](const py::array& dy, const py::array& indices, const Shape& input_shape, Layout layout) {
        return Tuple(MaxPool2dBackwardShape(ShapeOf(dy), ShapeOf(indices), input_shape, layout));
      },
      py::arg("dy").noconvert(), py::arg("indices").noconvert(), py::arg("input_shape"),
      py::arg("layout"));
  // std::out_of_range is an IndexError.
  m.def(
      "max_pool2d_backward",
      [](const py::array& dy, const py::array& indices, Layout layout, py::array& out,
         bool out_is_new) {
        const TensorView dy_view = View(dy), indices_view = View(indices),
                         out_view = OutputView(out);
        py::gil_scoped_release release;
        MaxPool2dBackward(dy_view, indices_view, layout, out_view, out_is_new);
      },
      py::arg("dy").noconvert(), py::arg("indices").noconvert(), py::arg("layout"),
      py::arg("out").noconvert(), py::arg("out_is_new"));

  m.def(
      "avg_pool2d_backward_shape",
      [](const py::array& dy, const Shape& input_shape, const PoolOptions& options) {
        return Tuple(AvgPool2dBackwardShape(ShapeOf(dy), input_shape, options));
      },
      py::arg("dy").noconvert(), py::arg("input_shape"), py::arg("options"));
  m.def(
      "avg_pool2d_backward",
      [](const py::array& dy, const PoolOptions& options, py::array& out) {
        const TensorView dy_view = View(dy), out_view = OutputView(out);
        py::gil_scoped_release release;
        AvgPool2dBackward(dy_view, options, out_view);
      },
      py::arg("dy").noconvert(), py::arg("options"), py::arg("out").noconvert());
}

}  // namespace lanewise::bindings
