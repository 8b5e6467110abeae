#include "ops/conv/algorithm.h"

namespace lanewise {

ConvAlgorithm ChooseConvAlgorithm(const ConvShape& shape) {
  // One input and one output channel per group: the direct tile would use one lane of its vectors.
  if (shape.group_c == 1 && shape.group_k == 1) return ConvAlgorithm::kDepthwise;
  return ConvAlgorithm::kDirect;
}

}  // namespace lanewise
