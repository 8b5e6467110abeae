#include "lanewise/distance.h"

#include "bindings/array.h"
#include "bindings/options.h"

namespace lanewise::bindings {
namespace {

using ShapeOp = Shape (*)(const Shape& x, const Shape& y);
using Op = void (*)(const TensorView& x, const TensorView& y, const DistanceOptions& options,
                    const TensorView& out);

void Define(py::module_& m, const char* name, ShapeOp shape_of, Op op) {
  m.def(
      name,
      [name, shape_of, op](py::handle x_, py::handle y_, py::handle metric, double p,
                           py::handle out) {
        const py::array x = AsArray(name, "x", x_), y = y_.is_none() ? x : AsArray(name, "y", y_);
        const DistanceOptions options = ParseDistance({name}, metric, p);
        const Shape shape = shape_of(ShapeOf(x), ShapeOf(y));
        const py::dtype dtype = FloatResultType(name, {{"x", x}, {"y", y}});
        py::array d = Result(name, out, shape, dtype, {{"x", x}, {"y", y}});
        const TensorView x_view = View(x), y_view = View(y), d_view = OutputView(d);
        Released([&] { op(x_view, y_view, options, d_view); });
        return d;
      },
      py::arg("x"), py::arg("y"), py::arg("metric"), py::arg("p"), py::arg("out"));
}

using BackwardOp = void (*)(const TensorView& grad, const TensorView& x, const TensorView& y,
                            const TensorView& d, const DistanceOptions& options,
                            const TensorView& dx, const TensorView& dy);

void DefineBackward(py::module_& m, const char* name, BackwardOp op) {
  m.def(
      name,
      [name, op](py::handle grad_, py::handle x_, py::handle y_, py::handle d_, py::handle metric,
                 double p) {
        const py::array grad = AsArray(name, "grad", grad_), x = AsArray(name, "x", x_);
        const py::array y = AsArray(name, "y", y_), d = AsArray(name, "d", d_);
        const DistanceOptions options = ParseDistance({name}, metric, p);
        const py::dtype dtype = FloatResultType(name, {{"x", x}, {"y", y}});
        py::array dx = NewArray(name, ShapeOf(x), dtype), dy = NewArray(name, ShapeOf(y), dtype);
        const TensorView grad_view = View(grad), x_view = View(x), y_view = View(y);
        const TensorView d_view = View(d), dx_view = OutputView(dx), dy_view = OutputView(dy);
        Released([&] { op(grad_view, x_view, y_view, d_view, options, dx_view, dy_view); });
        return py::make_tuple(dx, dy);
      },
      py::arg("grad"), py::arg("x"), py::arg("y"), py::arg("d"), py::arg("metric"), py::arg("p"));
}

}  // namespace

void BindDistance(py::module_& m) {
  Define(m, "pairwise_distances", PairwiseDistancesShape, PairwiseDistances);
  Define(m, "paired_distances", PairedDistancesShape, PairedDistances);
  DefineBackward(m, "pairwise_distances_backward", PairwiseDistancesBackward);
  DefineBackward(m, "paired_distances_backward", PairedDistancesBackward);
}

}  // namespace lanewise::bindings
