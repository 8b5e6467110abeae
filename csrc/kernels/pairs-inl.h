// Products of pairs of int16, which share a lane of 32 bits. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_PAIRS_INL_H_
#undef LANEWISE_KERNELS_PAIRS_INL_H_
#else
#define LANEWISE_KERNELS_PAIRS_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// a.low·b.low + a.high·b.high + c modulo 2^32.
template <class V>
HWY_INLINE V MultiplyAddPairs(V a, V b, V c) {
#if HWY_TARGET == HWY_AVX3
  // VNNI, in one instruction instead of two, which is no part of Highway's target:
  // PairTarget (select.h) asks the CPU for it.
  asm("vpdpwssd %2, %1, %0" : "+v"(c.raw) : "v"(a.raw), "v"(b.raw));
  return c;
#else
  const hn::DFromV<V> d;
  const hn::Repartition<int16_t, decltype(d)> halves;
  V upper = hn::Zero(d);  // of the products, on targets that do not add neighbours at once
  const V lower = hn::ReorderWidenMulAccumulate(d, hn::BitCast(halves, a), hn::BitCast(halves, b),
                                                hn::Zero(d), upper);
  return hn::Add(c, hn::RearrangeToOddPlusEven(lower, upper));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_PAIRS_INL_H_
