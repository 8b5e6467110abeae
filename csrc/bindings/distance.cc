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

}  // namespace

void BindDistance(py::module_& m) {
  Define(m, "pairwise_distances", PairwiseDistancesShape, PairwiseDistances);
  Define(m, "paired_distances", PairedDistancesShape, PairedDistances);
}

}  // namespace lanewise::bindings
