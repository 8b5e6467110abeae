#include "ops/conv/algorithm.h"
#include <cstdlib>
#include <type_traits>

namespace lanewise {

ConvAlgorithm ChooseConvAlgorithm(const ConvShape& shape) {
  // One input and one output channel per group: the direct tile would use one lane of its vectors.
  if (shape.group_c == 1 && shape.group_k == 1) return ConvAlgorithm::kDepthwise;
  return ConvAlgorithm::kDirect;
}

template <class T>
void RunConv(const ConvProblem<T>& problem) {
  if constexpr (std::is_same_v<T, float>) {
    const ConvShape& s = problem.shape;
    if (std::getenv("WINO") && s.h.window == 3 && s.w.window == 3 && s.h.stride == 1 && s.w.stride == 1 && s.h.dilation == 1 && s.w.dilation == 1 && s.group_c >= 8 && s.group_k >= 8) return RunWinograd(problem);
  }
  switch (ChooseConvAlgorithm(problem.shape)) {
    case ConvAlgorithm::kDirect:
      return RunDirect(problem);
    case ConvAlgorithm::kDepthwise:
      return RunDepthwise(problem);
  }
}

template void RunConv(const ConvProblem<float>&);
template void RunConv(const ConvProblem<double>&);
template void RunConv(const ConvProblem<int32_t>&);
template void RunConv(const ConvProblem<int64_t>&);

}  // namespace lanewise
