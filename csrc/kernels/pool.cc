// Compiles pool-inl.h once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/pool.cc"
#include "hwy/foreach_target.h"
//
#include "kernels/pool-inl.h"

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

template <class T>
const PoolKernels<T>& PoolKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(target, kPool<T>)
}
template const PoolKernels<int8_t>& PoolKernelsFor(SimdTarget);
template const PoolKernels<uint8_t>& PoolKernelsFor(SimdTarget);
template const PoolKernels<int16_t>& PoolKernelsFor(SimdTarget);
template const PoolKernels<uint16_t>& PoolKernelsFor(SimdTarget);
template const PoolKernels<int32_t>& PoolKernelsFor(SimdTarget);
template const PoolKernels<uint32_t>& PoolKernelsFor(SimdTarget);
template const PoolKernels<int64_t>& PoolKernelsFor(SimdTarget);
template const PoolKernels<uint64_t>& PoolKernelsFor(SimdTarget);
template const PoolKernels<float>& PoolKernelsFor(SimdTarget);
template const PoolKernels<double>& PoolKernelsFor(SimdTarget);

}  // namespace lanewise
#endif
