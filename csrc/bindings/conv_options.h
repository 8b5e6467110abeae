// The options that convolutions and their gradients share.
#ifndef LANEWISE_BINDINGS_CONV_OPTIONS_H_
#define LANEWISE_BINDINGS_CONV_OPTIONS_H_

#include "bindings/options.h"
#include "lanewise/conv.h"

namespace lanewise::bindings {

inline constexpr Choice<PadMode> kPadModes[] = {{"constant", PadMode::kConstant},
                                                {"reflect", PadMode::kReflect},
                                                {"symmetric", PadMode::kSymmetric},
                                                {"edge", PadMode::kEdge},
                                                {"wrap", PadMode::kWrap}};
inline constexpr Choice<ConvAlgorithm> kAlgorithms[] = {{"auto", ConvAlgorithm::kAuto},
                                                        {"direct", ConvAlgorithm::kDirect},
                                                        {"winograd", ConvAlgorithm::kWinograd}};

// The options that Conv2dOptions and ConvTranspose2dOptions share.
template <class Options>
Options ParseWindows(const Caller& caller, py::handle stride, py::handle padding,
                     py::handle dilation, py::handle groups, py::handle layout) {
  Options options;
  options.stride = ParsePerAxis(caller, "stride", stride);
  options.padding = ParsePadding(caller, padding);
  options.dilation = ParsePerAxis(caller, "dilation", dilation);
  options.groups = ParseIndex(caller, "groups", groups);
  options.layout = ParseLayout(caller, layout);
  return options;
}

}  // namespace lanewise::bindings

#endif  // LANEWISE_BINDINGS_CONV_OPTIONS_H_
