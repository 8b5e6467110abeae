#include "lanewise/neighbors.h"

#include "bindings/array.h"
#include "bindings/options.h"

namespace lanewise::bindings {
namespace {

constexpr Caller kNearest{"nearest_neighbors"}, kArgmin{"pairwise_argmin"},
    kRadius{"radius_neighbors"};

// Tells `progress`, unless that is None, and lets Ctrl-C end the search.
std::function<void(double)> Report(py::handle progress) {
  return [progress](double done) {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress.is_none()) progress(done);
  };
}

int64_t ParseK(py::handle k) {
  if (!PyBool_Check(k.ptr())) return ParseIndex(kNearest, "k", k);
  throw py::type_error(std::string(kNearest.op) + ": k is " + std::string(py::repr(k)) +
                       ", expected an int");
}

// Arrays for the distances and the indices, filled by run(their views).
template <class F>
std::pair<py::array, py::array> Search(const char* op, const Shape& shape, const py::dtype& dtype,
                                       const F& run) {
  py::array distances = NewArray(op, shape, dtype);
  py::array indices = NewArray(op, shape, py::dtype::of<int64_t>());
  const TensorView distances_view = OutputView(distances), indices_view = OutputView(indices);
  Released([&] { run(distances_view, indices_view); });
  return {std::move(distances), std::move(indices)};
}

}  // namespace

void BindNeighbors(py::module_& m) {
  m.def(
      kArgmin.op,
      [](py::handle x_, py::handle y_, py::handle metric, double p,
         py::handle return_distance) -> py::object {
        const py::array x = AsArray(kArgmin.op, "x", x_), y = AsArray(kArgmin.op, "y", y_);
        const NeighborOptions options{ParseDistance(kArgmin, metric, p), Report(py::none())};
        const bool both = ParseFlag(return_distance);
        const Shape shape = PairwiseArgminShape(ShapeOf(x), ShapeOf(y));
        const py::dtype dtype = FloatResultType(kArgmin.op, {{"x", x}, {"y", y}});
        const TensorView x_view = View(x), y_view = View(y);
        const auto [distances, indices] = Search(
            kArgmin.op, shape, dtype, [&](const TensorView& d_view, const TensorView& i_view) {
              PairwiseArgmin(x_view, y_view, options, d_view, i_view);
            });
        if (!both) return indices;
        return py::make_tuple(indices, distances);
      },
      py::arg("x"), py::arg("y"), py::arg("metric"), py::arg("p"), py::arg("return_distance"));

  m.def(
      kNearest.op,
      [](py::handle x_, py::handle y_, py::handle k_, py::handle metric, double p,
         py::handle progress) {
        const py::array x = AsArray(kNearest.op, "x", x_), y = AsArray(kNearest.op, "y", y_);
        const NeighborOptions options{ParseDistance(kNearest, metric, p), Report(progress)};
        const int64_t k = ParseK(k_);
        const Shape shape = NearestNeighborsShape(ShapeOf(x), ShapeOf(y), k);
        const py::dtype dtype = FloatResultType(kNearest.op, {{"x", x}, {"y", y}});
        const TensorView x_view = View(x), y_view = View(y);
        const auto [distances, indices] = Search(
            kNearest.op, shape, dtype, [&](const TensorView& d_view, const TensorView& i_view) {
              NearestNeighbors(x_view, y_view, k, options, d_view, i_view);
            });
        return py::make_tuple(distances, indices);
      },
      py::arg("x"), py::arg("y"), py::arg("k"), py::arg("metric"), py::arg("p"),
      py::arg("progress"));

  m.def(
      kRadius.op,
      [](py::handle x_, py::handle y_, double radius, py::handle metric, double p,
         py::handle progress) {
        const char* const op = kRadius.op;
        const py::array x = AsArray(op, "x", x_), y = AsArray(op, "y", y_);
        const NeighborOptions options{ParseDistance(kRadius, metric, p), Report(progress)};
        const py::dtype dtype = FloatResultType(op, {{"x", x}, {"y", y}});
        const Shape rows{x.ndim() == 0 ? 1 : x.shape(0) + 1};
        py::array indptr = NewArray(op, rows, py::dtype::of<int64_t>());
        py::array distances = NewArray(op, {0}, dtype), indices;
        const auto allocate = [&](int64_t count) -> NeighborViews {
          const py::gil_scoped_acquire gil;
          distances = NewArray(op, {count}, dtype);
          indices = NewArray(op, {count}, py::dtype::of<int64_t>());
          return {OutputView(distances), OutputView(indices)};
        };
        const TensorView x_view = View(x), y_view = View(y), indptr_view = OutputView(indptr);
        const DType type = DTypeOfArray(distances);
        Released(
            [&] { RadiusNeighbors(x_view, y_view, radius, options, type, indptr_view, allocate); });
        return py::make_tuple(indptr, indices, distances);
      },
      py::arg("x"), py::arg("y"), py::arg("radius"), py::arg("metric"), py::arg("p"),
      py::arg("progress"));
}

}  // namespace lanewise::bindings
