// Compiles the kernels of convolution's gradients once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/conv_backward.cc"
#include "hwy/foreach_target.h"
//
#include "kernels/conv_outer-inl.h"
#include "kernels/conv_strips_backward-inl.h"
#include "kernels/kernels.h"
#include "kernels/winograd_backward-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {

template <class T>
constexpr ConvBackwardKernels<T> kConvBackward{kConvMR, kConvNV* HWY_MAX_BYTES / sizeof(T),
                                               Outer<T>, OuterFetching<T>, AddTaps<T>};

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

template <class T>
const ConvBackwardKernels<T>& ConvBackwardKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(target, kConvBackward<T>)
}

template const ConvBackwardKernels<float>& ConvBackwardKernelsFor(SimdTarget);
template const ConvBackwardKernels<double>& ConvBackwardKernelsFor(SimdTarget);
template const ConvBackwardKernels<int32_t>& ConvBackwardKernelsFor(SimdTarget);
template const ConvBackwardKernels<int64_t>& ConvBackwardKernelsFor(SimdTarget);

const WinogradBackwardKernels& WinogradBackwardKernelsFor(SimdTarget target, size_t tile) {
  LANEWISE_SELECT(target, kWinogradBackward[tile])
}

}  // namespace lanewise
#endif
