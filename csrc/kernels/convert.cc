// Compiles convert-inl.h once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convert.cc"
#include "hwy/foreach_target.h"
//
#include "kernels/convert-inl.h"

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

template <class C>
const ConvertKernels<C>& ConvertKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(target, kConvert<C>)
}
template const ConvertKernels<float>& ConvertKernelsFor(SimdTarget);
template const ConvertKernels<double>& ConvertKernelsFor(SimdTarget);
template const ConvertKernels<int32_t>& ConvertKernelsFor(SimdTarget);
template const ConvertKernels<int64_t>& ConvertKernelsFor(SimdTarget);

const PairKernels& PairKernelsFor(SimdTarget target) { LANEWISE_SELECT(target, kPairs) }

}  // namespace lanewise
#endif
