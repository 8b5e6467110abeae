// Compiles the convolution kernels once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/conv.cc"
#include "hwy/foreach_target.h"
//
#include <array>
#include <type_traits>

#include "kernels/conv_finish-inl.h"
#include "kernels/conv_strips-inl.h"
#include "kernels/conv_tile-inl.h"
#include "kernels/kernels.h"
#include "kernels/transpose-inl.h"
#include "kernels/winograd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {

template <class T, bool kBiasPerRow>
constexpr void SetFinish(typename ConvKernels<T>::Finish (&finish)[kActivations]) {
  if constexpr (std::is_floating_point_v<T>) {
    SetByActivation(finish, [](auto activation) {
      return &ConvFinish<T, decltype(activation)::value, kBiasPerRow>;
    });
  } else {
    finish[static_cast<int>(Activation::kNone)] = ConvFinish<T, Activation::kNone, kBiasPerRow>;
  }
}

template <class T>
constexpr ConvKernels<T> MakeConvKernels() {
  ConvKernels<T> kernels{};
  kernels.mr = kConvMR;
  kernels.nr = kConvNV * HWY_MAX_BYTES / sizeof(T);
  kernels.accumulate = ConvAccumulate<T>;
  kernels.accumulate_packed = ConvAccumulatePacked<T>;
  kernels.copy = CopyBlock<T>;
  kernels.transpose = TransposeBlock<T>;
  kernels.split = SplitPhases<T>;
  kernels.lanes = HWY_MAX_BYTES / sizeof(T);
  kernels.strip_rows = kStripRows;
  kernels.channel_strips = ConvStrips<T, StripKind::kChannels>;
  kernels.channels_in_place = ConvStrips<T, StripKind::kInPlace>;
  kernels.lookup_strips = ConvStrips<T, StripKind::kLookup>;
  kernels.broadcast = ConvStrips<T, StripKind::kBroadcast>;
  if constexpr (std::is_floating_point_v<T>) kernels.plane = ConvPlane<T>;
  kernels.spread_channels = SpreadChannels<T>;
  kernels.spread_groups = SpreadGroups<T>;
  kernels.finite = Finite<T>;
  kernels.vectors_to_rows = VectorsToRows<T>;
  SetFinish<T, false>(kernels.finish);
  SetFinish<T, true>(kernels.finish_per_row);
  return kernels;
}

template <class T>
constexpr ConvKernels<T> kConv = MakeConvKernels<T>();

constexpr ConvKernels<int32_t> MakePairKernels() {
  ConvKernels<int32_t> kernels = MakeConvKernels<int32_t>();
  kernels.accumulate = ConvAccumulate<Int16Pair>;
  kernels.accumulate_packed = ConvAccumulatePacked<Int16Pair>;
  return kernels;
}
constexpr ConvKernels<int32_t> kConvPairs = MakePairKernels();

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

template <class T>
const ConvKernels<T>& ConvKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(target, kConv<T>)
}
const WinogradKernels& WinogradKernelsFor(SimdTarget target, size_t tile) {
  LANEWISE_SELECT(target, kWinograd[tile])
}
const ConvKernels<int32_t>& ConvPairKernelsFor(SimdTarget target) {
  LANEWISE_SELECT(PairTarget(target), kConvPairs)
}

template const ConvKernels<float>& ConvKernelsFor(SimdTarget);
template const ConvKernels<double>& ConvKernelsFor(SimdTarget);
template const ConvKernels<int32_t>& ConvKernelsFor(SimdTarget);
template const ConvKernels<int64_t>& ConvKernelsFor(SimdTarget);

}  // namespace lanewise
#endif
