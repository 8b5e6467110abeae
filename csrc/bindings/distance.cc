#include "lanewise/distance.h"

#include "bindings/array.h"

namespace lanewise::bindings {

void BindDistance(py::module_& m) {
  py::enum_<Metric>(m, "Metric")
      .value("EUCLIDEAN", Metric::kEuclidean)
      .value("SQEUCLIDEAN", Metric::kSqEuclidean)
      .value("MANHATTAN", Metric::kManhattan)
      .value("CHEBYSHEV", Metric::kChebyshev)
      .value("COSINE", Metric::kCosine)
      .value("DOT", Metric::kDot);

  m.def(
      "pairwise_distances_shape",
      [](const py::array& x, const py::array& y) {
        return Tuple(PairwiseDistancesShape(ShapeOf(x), ShapeOf(y)));
      },
      py::arg("x").noconvert(), py::arg("y").noconvert());

  m.def(
      "pairwise_distances",
      [](const py::array& x, const py::array& y, Metric metric, py::array& out) {
        const TensorView x_view = View(x), y_view = View(y), out_view = OutputView(out);
        py::gil_scoped_release release;
        PairwiseDistances(x_view, y_view, metric, out_view);
      },
      py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("metric"),
      py::arg("out").noconvert());
}

}  // namespace lanewise::bindings
