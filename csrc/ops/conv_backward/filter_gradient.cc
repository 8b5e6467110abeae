// The gradient of a convolution by its filters: which way it is computed.
#include <type_traits>

#include "ops/conv/algorithm.h"
#include "ops/conv_backward/filter_direct.h"
#include "ops/conv_backward/filter_strips.h"
#include "ops/conv_backward/filter_winograd.h"
#include "ops/conv_backward/gradients.h"

namespace lanewise {

template <class T>
void RunFilterGradient(const char* op, const FilterGradient<T>& gradient, DType result,
                       ConvAlgorithm asked) {
  const bool must = asked == ConvAlgorithm::kWinograd;
  if (must) ChooseConvMethod(op, gradient.shape, result, asked);  // throws where it does not apply
  if (!must && StripsSuit(gradient.shape)) return RunFilterStrips(gradient);
  if constexpr (std::is_same_v<T, float>) {
    const bool may = must || (asked == ConvAlgorithm::kAuto && result == DType::kFloat32);
    if (may && gradient.terms() > 0 &&
        (must || FilterWinogradPays(gradient.shape, gradient.batch / gradient.banks))) {
      return RunFilterWinograd(gradient);
    }
  }
  RunFilterDirect(gradient);
}

template void RunFilterGradient(const char*, const FilterGradient<float>&, DType, ConvAlgorithm);
template void RunFilterGradient(const char*, const FilterGradient<double>&, DType, ConvAlgorithm);
template void RunFilterGradient(const char*, const FilterGradient<int32_t>&, DType, ConvAlgorithm);
template void RunFilterGradient(const char*, const FilterGradient<int64_t>&, DType, ConvAlgorithm);

}  // namespace lanewise
