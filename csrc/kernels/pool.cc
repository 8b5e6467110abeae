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
template const PoolKernels<float>& PoolKernelsFor(SimdTarget);
template const PoolKernels<double>& PoolKernelsFor(SimdTarget);

}  // namespace lanewise
#endif
