// The gradient of a convolution by its filters: which way it is computed.
#include "ops/conv_backward/filter_direct.h"
#include "ops/conv_backward/filter_strips.h"
#include "ops/conv_backward/gradients.h"

namespace lanewise {

template <class T>
void RunFilterGradient(const char*, const FilterGradient<T>& gradient, DType, ConvAlgorithm) {
  if (StripsSuit(gradient.shape)) return RunFilterStrips(gradient);
  RunFilterDirect(gradient);
}

template void RunFilterGradient(const char*, const FilterGradient<float>&, DType, ConvAlgorithm);
template void RunFilterGradient(const char*, const FilterGradient<double>&, DType, ConvAlgorithm);
template void RunFilterGradient(const char*, const FilterGradient<int32_t>&, DType, ConvAlgorithm);
template void RunFilterGradient(const char*, const FilterGradient<int64_t>&, DType, ConvAlgorithm);

}  // namespace lanewise
