// Compiles pool_backward-inl.h once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pool_backward.cc"
#include "hwy/foreach_target.h"
//
#include "kernels/pool_backward-inl.h"

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

template <class T>
const PoolBackwardKernels<T>& PoolBackwardKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(target, kPoolBackward<T>)
}
template const PoolBackwardKernels<float>& PoolBackwardKernelsFor(SimdTarget);
template const PoolBackwardKernels<double>& PoolBackwardKernelsFor(SimdTarget);
template const PoolBackwardKernels<int32_t>& PoolBackwardKernelsFor(SimdTarget);
template const PoolBackwardKernels<int64_t>& PoolBackwardKernelsFor(SimdTarget);

}  // namespace lanewise
#endif
