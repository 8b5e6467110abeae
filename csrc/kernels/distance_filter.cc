// Compiles distance_filter-inl.h once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/distance_filter.cc"
#include "hwy/foreach_target.h"
//
#include "kernels/distance_filter-inl.h"

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

const DistanceFilterKernels& DistanceFilterKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(PairTarget(target), kDistanceFilter)
}

}  // namespace lanewise
#endif
