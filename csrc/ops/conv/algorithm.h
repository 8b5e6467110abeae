// The choice of a convolution's algorithm.
#ifndef LANEWISE_OPS_CONV_ALGORITHM_H_
#define LANEWISE_OPS_CONV_ALGORITHM_H_

#include "ops/conv/problem.h"

namespace lanewise {

enum class ConvAlgorithm : uint8_t { kDirect, kDepthwise };

// A function of the shape of one image only, so that results depend on neither batch nor threads.
ConvAlgorithm ChooseConvAlgorithm(const ConvShape& shape);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_ALGORITHM_H_
