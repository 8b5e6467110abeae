// The convolution's epilogue: bias, activation, store. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_CONV_FINISH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_CONV_FINISH_INL_H_
#undef LANEWISE_KERNELS_CONV_FINISH_INL_H_
#else
#define LANEWISE_KERNELS_CONV_FINISH_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/vector-inl.h"
#include "lanewise/conv.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T, Activation kActivation, bool kBiasPerRow>
void ConvFinish(const T* sums, size_t sums_stride, size_t rows, size_t n, const T* bias, T* out,
                int64_t out_stride) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < rows; ++i) {
    const T* from = sums + i * sums_stride;
    T* to = out + static_cast<int64_t>(i) * out_stride;
    size_t j = 0;
    for (; j + lanes <= n; j += lanes) {
      const auto b = kBiasPerRow ? hn::Set(d, bias[i]) : hn::LoadU(d, bias + j);
      hn::StoreU(Activate<kActivation>(d, hn::Add(hn::LoadU(d, from + j), b)), d, to + j);
    }
    if (j < n) {
      const auto b = kBiasPerRow ? hn::Set(d, bias[i]) : LoadFirst(d, bias + j, n - j);
      const auto v = hn::Add(LoadFirst(d, from + j, n - j), b);
      StoreFirst(Activate<kActivation>(d, v), d, to + j, n - j);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_CONV_FINISH_INL_H_
