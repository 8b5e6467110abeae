// Depthwise convolution: every lane is its own channel, or its own pixel of one channel. Included
// once per SIMD target.
#if defined(LANEWISE_KERNELS_CONV_DEPTHWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_CONV_DEPTHWISE_INL_H_
#undef LANEWISE_KERNELS_CONV_DEPTHWISE_INL_H_
#else
#define LANEWISE_KERNELS_CONV_DEPTHWISE_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/conv_tile-inl.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows that share a load of the filter; two vectors of each give 8 chains, which cover the latency.
constexpr size_t kDepthwiseMR = 4;

// `n` lanes of MR rows, n <= NV vectors; `kTail` where the last vector is partial.
template <class T, size_t MR, size_t NV, bool kBroadcast, bool kTail>
HWY_INLINE void DepthwiseTile(const T* const* rows, size_t row_stride, size_t taps, size_t offset,
                              size_t n, const T* HWY_RESTRICT filter, size_t filter_stride,
                              T* HWY_RESTRICT sums, size_t sums_stride) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const auto load = [&](const T* p)
                        HWY_ATTR { return kTail ? LoadFirst(d, p, n) : hn::LoadU(d, p); };
  V sum[MR][NV];
  for (size_t i = 0; i < MR; ++i) {
    for (size_t v = 0; v < NV; ++v) sum[i][v] = hn::Zero(d);
  }
  for (size_t t = 0; t < taps; ++t, rows += row_stride) {
    V f[NV];
    for (size_t v = 0; v < NV; ++v) {
      f[v] = kBroadcast ? hn::Set(d, filter[t])
                        : load(filter + t * filter_stride + offset + v * lanes);
    }
    for (size_t i = 0; i < MR; ++i) {
      for (size_t v = 0; v < NV; ++v) {
        sum[i][v] = MultiplyAdd(load(rows[i] + offset + v * lanes), f[v], sum[i][v]);
      }
    }
  }
  for (size_t i = 0; i < MR; ++i) {
    for (size_t v = 0; v < NV; ++v) {
      T* out = sums + i * sums_stride + offset + v * lanes;
      if (kTail) {
        StoreFirst(sum[i][v], d, out, n);
      } else {
        hn::StoreU(sum[i][v], d, out);
      }
    }
  }
}

template <class T, size_t MR, bool kBroadcast>
void DepthwiseRows(const T* const* rows, size_t row_stride, size_t taps, size_t n, const T* filter,
                   size_t filter_stride, T* sums, size_t sums_stride) {
  const size_t lanes = hn::Lanes(hn::ScalableTag<T>());
  size_t j = 0;
  for (; j + 2 * lanes <= n; j += 2 * lanes) {
    DepthwiseTile<T, MR, 2, kBroadcast, false>(rows, row_stride, taps, j, 0, filter, filter_stride,
                                               sums, sums_stride);
  }
  if (j + lanes <= n) {
    DepthwiseTile<T, MR, 1, kBroadcast, false>(rows, row_stride, taps, j, 0, filter, filter_stride,
                                               sums, sums_stride);
    j += lanes;
  }
  if (j < n) {
    DepthwiseTile<T, MR, 1, kBroadcast, true>(rows, row_stride, taps, j, n - j, filter,
                                              filter_stride, sums, sums_stride);
  }
}

template <class T, bool kBroadcast>
void Depthwise(const T* const* rows, size_t row_stride, size_t count, size_t taps, size_t n,
               const T* filter, size_t filter_stride, T* sums, size_t sums_stride) {
  static_assert(kDepthwiseMR == 4);
  const auto run = count == 4   ? &DepthwiseRows<T, 4, kBroadcast>
                   : count == 3 ? &DepthwiseRows<T, 3, kBroadcast>
                   : count == 2 ? &DepthwiseRows<T, 2, kBroadcast>
                                : &DepthwiseRows<T, 1, kBroadcast>;
  run(rows, row_stride, taps, n, filter, filter_stride, sums, sums_stride);
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_CONV_DEPTHWISE_INL_H_
