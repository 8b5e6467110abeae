// The peaks that benchmarks report against. FMA: 12 independent chains of multiply-adds, enough to
// cover a latency of 4-6 cycles on two pipes. Bandwidth: two streams in, one out.
// Stores: one out.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/roofline.cc"
#include "hwy/foreach_target.h"
//
#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kChains = 12;

template <class T>
T FmaChains(size_t iterations) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  // Chains converge to a small number: neither they nor the products become denormal or infinite.
  const V factor = hn::Set(d, T(0.5)), addend = hn::Set(d, T(1e-3));
  V chain[kChains];
  for (size_t c = 0; c < kChains; ++c) chain[c] = hn::Set(d, static_cast<T>(c));
  for (size_t i = 0; i < iterations; ++i) {
    for (size_t c = 0; c < kChains; ++c) chain[c] = hn::MulAdd(chain[c], factor, addend);
  }
  V sum = chain[0];
  for (size_t c = 1; c < kChains; ++c) sum = hn::Add(sum, chain[c]);
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

void AddStreams(const float* a, const float* b, size_t n, bool stream, float* out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  if (stream) {
    for (size_t i = 0; i < n; i += lanes) {
      hn::Stream(hn::Add(hn::Load(d, a + i), hn::Load(d, b + i)), d, out + i);
    }
    hwy::FlushStream();
  } else {
    for (size_t i = 0; i < n; i += lanes) {
      hn::Store(hn::Add(hn::Load(d, a + i), hn::Load(d, b + i)), d, out + i);
    }
  }
}

void Fill(size_t n, bool stream, float* out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto zero = hn::Zero(d);
  if (stream) {
    for (size_t i = 0; i < n; i += lanes) hn::Stream(zero, d, out + i);
    hwy::FlushStream();
  } else {
    for (size_t i = 0; i < n; i += lanes) hn::Store(zero, d, out + i);
  }
}

constexpr size_t kFlopsPerByte = 2 * kChains * HWY_MAX_BYTES;
constexpr RooflineKernels kRoofline{kFlopsPerByte / sizeof(float),
                                    kFlopsPerByte / sizeof(double),
                                    FmaChains<float>,
                                    FmaChains<double>,
                                    AddStreams,
                                    Fill};

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

const RooflineKernels& RooflineKernelsFor(SimdTarget target) { LANEWISE_SELECT(target, kRoofline) }

}  // namespace lanewise
#endif
