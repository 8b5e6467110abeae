// Compiles cross_entropy-inl.h once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cross_entropy.cc"
#include "hwy/foreach_target.h"
//
#include "kernels/cross_entropy-inl.h"

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

template <class T>
const CrossEntropyKernels<T>& CrossEntropyKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(target, kCrossEntropy<T>)
}
template const CrossEntropyKernels<float>& CrossEntropyKernelsFor(SimdTarget);
template const CrossEntropyKernels<double>& CrossEntropyKernelsFor(SimdTarget);

}  // namespace lanewise
#endif
