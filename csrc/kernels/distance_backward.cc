// Compiles distance_backward-inl.h once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/distance_backward.cc"
#include "hwy/foreach_target.h"
//
#include "kernels/distance_backward-inl.h"

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

template <class T>
const DistanceBackwardKernels<T>& DistanceBackwardKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(target, kDistanceBackward<T>)
}
template const DistanceBackwardKernels<float>& DistanceBackwardKernelsFor(SimdTarget);
template const DistanceBackwardKernels<double>& DistanceBackwardKernelsFor(SimdTarget);

}  // namespace lanewise
#endif
