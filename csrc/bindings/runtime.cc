#include "lanewise/runtime.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "bindings/array.h"
#include "bindings/options.h"
#include "lanewise/roofline.h"

namespace lanewise::bindings {

void BindRuntime(py::module_& m) {
  m.attr("__version__") = Version();
  m.attr("compiler") = Compiler();
  m.def(
      "set_num_threads",
      [](py::handle n) {
        using Limits = std::numeric_limits<int>;
        const int64_t count = ParseIndex({"set_num_threads"}, "n", n);
        SetNumThreads(static_cast<int>(std::clamp<int64_t>(count, Limits::min(), Limits::max())));
      },
      py::arg("n"));
  m.def("get_num_threads", &GetNumThreads);
  m.def("set_simd_target", &SetSimdTarget, py::arg("name"));
  m.def("get_simd_target", &GetSimdTarget);
  m.def("available_simd_targets", &AvailableSimdTargets);

  m.def(
      "fma_peak",
      [](const py::dtype& dtype) {
        const DType type = DTypeOfArray(py::array(dtype, 0));
        py::gil_scoped_release release;
        return MeasureFmaPeak(type);
      },
      py::arg("dtype"));
  m.def("bandwidth", &MeasureBandwidth, py::arg("bytes"), py::call_guard<py::gil_scoped_release>());
  m.def("stores", &MeasureStores, py::arg("bytes"), py::call_guard<py::gil_scoped_release>());
}

}  // namespace lanewise::bindings
