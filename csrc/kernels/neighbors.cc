// Compiles neighbors-inl.h once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/neighbors.cc"
#include "hwy/foreach_target.h"
//
#include "kernels/neighbors-inl.h"

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

template <class T>
const NeighborKernels<T>& NeighborKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(target, kNeighbors<T>)
}
template const NeighborKernels<float>& NeighborKernelsFor(SimdTarget);
template const NeighborKernels<double>& NeighborKernelsFor(SimdTarget);

}  // namespace lanewise
#endif
