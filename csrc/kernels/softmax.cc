// Compiles softmax-inl.h once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/softmax.cc"
#include "hwy/foreach_target.h"
//
#include "kernels/softmax-inl.h"

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

template <class T>
const SoftmaxKernels<T>& SoftmaxKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(target, kSoftmax<T>)
}
template const SoftmaxKernels<float>& SoftmaxKernelsFor(SimdTarget);
template const SoftmaxKernels<double>& SoftmaxKernelsFor(SimdTarget);

}  // namespace lanewise
#endif
