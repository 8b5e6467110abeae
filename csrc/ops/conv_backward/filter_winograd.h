// Filters' gradients by Winograd's algorithm.
#ifndef LANEWISE_OPS_CONV_BACKWARD_FILTER_WINOGRAD_H_
#define LANEWISE_OPS_CONV_BACKWARD_FILTER_WINOGRAD_H_

#include <cstdint>

#include "ops/conv_backward/gradients.h"

namespace lanewise {

// Whether it applies to float32 and is faster than direct sums, which run over `images` images.
bool FilterWinogradPays(const ConvShape& shape, int64_t images);

// Where ChooseConvMethod accepts kWinograd, and there is something to sum.
void RunFilterWinograd(const FilterGradient<float>& gradient);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_BACKWARD_FILTER_WINOGRAD_H_
