#include "lanewise/window.h"

#include "bindings/array.h"

namespace lanewise::bindings {

void BindWindow(py::module_& m) {
  py::enum_<Layout>(m, "Layout").value("NHWC", Layout::kNHWC).value("NCHW", Layout::kNCHW);
  py::enum_<PaddingRule>(m, "PaddingRule")
      .value("EXPLICIT", PaddingRule::kExplicit)
      .value("SAME", PaddingRule::kSame)
      .value("SAME_LOWER", PaddingRule::kSameLower)
      .value("FULL", PaddingRule::kFull);
}

}  // namespace lanewise::bindings
