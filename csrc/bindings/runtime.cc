#include "lanewise/runtime.h"

#include <pybind11/stl.h>

#include "bindings/array.h"
#include "lanewise/roofline.h"

namespace lanewise::bindings {

void BindRuntime(py::module_& m) {
  m.attr("__version__") = Version();
  m.attr("compiler") = Compiler();
  m.def("set_num_threads", &SetNumThreads, py::arg("n"));
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
