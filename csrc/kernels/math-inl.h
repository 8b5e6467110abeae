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

#if HWY_HAVE_FLOAT64
// 2^n for integers |n| <= 1022: n + 1.5·2^52 has n in its lowest bits, from where it goes, biased,
// to the exponent's.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerOfTwo(D d, V n) {
  const hn::RebindToUnsigned<D> bits;
  const auto low = hn::BitCast(bits, hn::Add(n, hn::Set(d, 6755399441055744.0)));
  return hn::BitCast(d, hn::ShiftLeft<52>(hn::Add(low, hn::Set(bits, 1023))));
}

// An exponent p = high + low, where high has so few digits that its products with integers of 11
// bits are exact.
template <class V>
struct Exponent {
  V value, high, low;
};

// p + rest, |rest| being at most half a unit in the last place of p.
template <class D, class V = hn::Vec<D>>
HWY_INLINE Exponent<V> ExponentOf(D d, V p, V rest) {
  const hn::RebindToUnsigned<D> bits;
  const auto mask = hn::Set(bits, 0xFFFFFFFFFFFFF000);
  const V high = hn::BitCast(d, hn::And(hn::BitCast(bits, p), mask));
  return {p, high, hn::Add(hn::Sub(p, high), rest)};
}

// x^p for float64 x >= 0 and NaN, and p > 0. With x = 2^e·f, √½ <= f < √2, and n the integer next
// to p·log2 x:
//   x^p = 2^n · exp((p·e - n)·ln 2 + p·ln f)
// where p·e is exact in two parts, so that what is off does not grow with |log x|, but only with
// |p·ln f| <= 0.35·p. In units of eps/2, with 4 ulp (8) for Log and 1.05 ulp (2.1) for Exp as their
// bounds:  9·0.35·p for p·ln f,  3·(p/2 + 1/2)·ln 2 for (p·e - n)·ln 2,  0.35 for their sum, and
// 2.1 for Exp: relative error below (4.2·p + 4)·eps/2.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Pow(D d, V x, const Exponent<V>& p) {
  const hn::RebindToUnsigned<D> bits;
  const V zero = hn::Zero(d);
  const auto subnormal = hn::Lt(x, hn::Set(d, std::numeric_limits<double>::min()));
  const V normal = hn::IfThenElse(subnormal, hn::Mul(x, hn::Set(d, 0x1p54)), x);
  // Bits of the exponent count from √½ up after this.
  const auto sqrt_half = hn::Set(bits, 0x3FE6A09E667F3BCD);
  const auto shifted =
      hn::Add(hn::BitCast(bits, normal), hn::Sub(hn::Set(bits, 0x3FF0000000000000), sqrt_half));
  const auto mantissa = hn::And(shifted, hn::Set(bits, 0x000FFFFFFFFFFFFF));
  const V f = hn::BitCast(d, hn::Add(mantissa, sqrt_half));
  // The biased exponent as the last digits of a float64 from 2^52 on.
  const auto biased = hn::Or(hn::ShiftRight<52>(shifted), hn::BitCast(bits, hn::Set(d, 0x1p52)));
  const V bias =
      hn::IfThenElse(subnormal, hn::Set(d, 0x1p52 + 1023 + 54), hn::Set(d, 0x1p52 + 1023));
  const V e = hn::Sub(hn::BitCast(d, biased), bias);

  const V log_f = hn::Mul(p.value, hn::Log(d, f));
  const V p_e = hn::Mul(p.high, e), p_e_rest = hn::Mul(p.low, e);
  const V exponent = hn::MulAdd(log_f, hn::Set(d, 1.4426950408889634), p_e);
  const V far = hn::Set(d, 1200);  // past either end of the range
  const V n = hn::Round(hn::Min(hn::Max(exponent, hn::Neg(far)), far));
  const V fraction = hn::Add(hn::Sub(p_e, n), p_e_rest);
  const V power = hn::Exp(d, hn::MulAdd(fraction, hn::Set(d, 0.6931471805599453), log_f));
  // In two steps, as the result may be subnormal.
  const V half = hn::Round(hn::Mul(n, hn::Set(d, 0.5)));
  const V result = hn::Mul(hn::Mul(power, PowerOfTwo(d, half)), PowerOfTwo(d, hn::Sub(n, half)));
  const V infinity = hn::Set(d, std::numeric_limits<double>::infinity());
  const V high = hn::IfThenElse(hn::Lt(exponent, far), result, infinity);
  const V in_range = hn::IfThenElse(hn::Gt(exponent, hn::Neg(far)), high, zero);
  const V finite = hn::IfThenElse(hn::Lt(x, infinity), in_range, x);  // inf and NaN
  return hn::IfThenElse(hn::Eq(x, zero), zero, finite);
}
#endif

}  // namespace math
}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_MATH_INL_H_
