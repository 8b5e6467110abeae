// Highway's elementary functions, made right where they are not: NaN and the ends of the range.
// Included once per SIMD target.
#if defined(LANEWISE_KERNELS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_MATH_INL_H_
#undef LANEWISE_KERNELS_MATH_INL_H_
#else
#define LANEWISE_KERNELS_MATH_INL_H_
#endif

#include <limits>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace math {  // a name to call them by, since hn::Exp is found for vectors as well

// e^x for every x: NaN for NaN, inf and 0 past the ends, denormals where they are due.
// hn::Exp(NaN) is 0; above the limit its power of two wraps around, at the limit it is inf.
// Largest error seen, against 80-bit arithmetic on AVX2 and SSE4: 1.04 ulp (every float32 in
// [-104.5, -1], samples of 10^7 and more elsewhere and in float64).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  using T = hn::TFromD<D>;
  const V limit = hn::Set(d, sizeof(T) == 4 ? T(104) : T(720));
  const V e = hn::Exp(d, hn::Min(x, limit));
  return hn::IfThenElse(hn::Eq(x, x), e, x);
}

// log(1 + x) for x >= 0 and NaN. hn::Log1p takes inf and NaN for large numbers.
// Largest error seen, in samples of 10^7 and more: 2.47 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Log1p(D d, V x) {
  using T = hn::TFromD<D>;
  const V infinity = hn::Set(d, std::numeric_limits<T>::infinity());
  return hn::IfThenElse(hn::Lt(x, infinity), hn::Log1p(d, x), x);
}

}  // namespace math
}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_MATH_INL_H_
