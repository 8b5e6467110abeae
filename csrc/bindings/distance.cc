#include "lanewise/distance.h"

#include "bindings/array.h"

namespace lanewise::bindings {

namespace {

using ShapeOp = Shape (*)(const Shape& x, const Shape& y);
using Op = void (*)(const TensorView& x, const TensorView& y, const DistanceOptions& options,
                    const TensorView& out);

void Define(py::module_& m, const std::string& name, ShapeOp shape, Op op) {
  m.def((name + "_shape").c_str(),
        [shape](const py::array& x, const py::array& y) {
          return Tuple(shape(ShapeOf(x), ShapeOf(y)));
        },
        py::arg("x").noconvert(), py::arg("y").noconvert());
  m.def(
      name.c_str(),
      [op](const py::array& x, const py::array& y, Metric metric, double p, py::array& out) {
        const TensorView x_view = View(x), y_view = View(y), out_view = OutputView(out);
        py::gil_scoped_release release;
        op(x_view, y_view, {metric, p}, out_view);
      },
      py::arg("x").noconvert(), py::arg("y").noconvert(), py::arg("metric"), py::arg("p"),
      py::arg("out").noconvert());
}

}  // namespace

void BindDistance(py::module_& m) {
  py::enum_<Metric>(m, "Metric")
      .value("EUCLIDEAN", Metric::kEuclidean)
      .value("SQEUCLIDEAN", Metric::kSqEuclidean)
      .value("MANHATTAN", Metric::kManhattan)
      .value("CHEBYSHEV", Metric::kChebyshev)
      .value("MINKOWSKI", Metric::kMinkowski)
      .value("COSINE", Metric::kCosine)
      .value("CORRELATION", Metric::kCorrelation)
      .value("HAMMING", Metric::kHamming)
      .value("CANBERRA", Metric::kCanberra)
      .value("BRAYCURTIS", Metric::kBrayCurtis)
      .value("JACCARD", Metric::kJaccard)
      .value("DOT", Metric::kDot);
  Define(m, "pairwise_distances", PairwiseDistancesShape, PairwiseDistances);
  Define(m, "paired_distances", PairedDistancesShape, PairedDistances);
}

}  // namespace lanewise::bindings
