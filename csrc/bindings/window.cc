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
  py::enum_<PadMode>(m, "PadMode")
      .value("CONSTANT", PadMode::kConstant)
      .value("REFLECT", PadMode::kReflect)
      .value("SYMMETRIC", PadMode::kSymmetric)
      .value("EDGE", PadMode::kEdge)
      .value("WRAP", PadMode::kWrap);
}

}  // namespace lanewise::bindings
