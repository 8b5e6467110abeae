// Compiles distance-inl.h once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/distance.cc"
#include "hwy/foreach_target.h"
//
#include "kernels/distance-inl.h"

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

template <class T>
const DistanceKernels<T>& DistanceKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(target, kDistance<T>)
}
template const DistanceKernels<float>& DistanceKernelsFor(SimdTarget);
template const DistanceKernels<double>& DistanceKernelsFor(SimdTarget);

}  // namespace lanewise
#endif
