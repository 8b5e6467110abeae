#include "ops/conv/algorithm.h"

namespace lanewise {

ConvAlgorithm ChooseConvAlgorithm(const ConvShape& shape) {
  // One input and one output channel per group: the direct tile would use one lane of its vectors.
  if (shape.group_c == 1 && shape.group_k == 1) return ConvAlgorithm::kDepthwise;
  return ConvAlgorithm::kDirect;
}

template <class T>
void RunConv(const ConvProblem<T>& problem) {
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
