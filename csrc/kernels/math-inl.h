// Highway's elementary functions, made right where they are not: NaN and the ends of the range.
// Included once per SIMD target.
#if defined(LANEWISE_KERNELS_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_MATH_INL_H_
#undef LANEWISE_KERNELS_MATH_INL_H_
#else
#define LANEWISE_KERNELS_MATH_INL_H_
#endif

#include <cstdint>
#include <limits>
#include <type_traits>

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

// The larger of x and `low`, and x if that is a NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V AtLeast(D d, V x, hn::TFromD<D> low) {
#if HWY_ARCH_X86
  return hn::Max(hn::Set(d, low), x);  // the second operand where one is NaN
#else
  return hn::IfThenElse(hn::Lt(x, hn::Set(d, low)), hn::Set(d, low), x);
#endif
}

// The smaller of x and `high`, and x if that is a NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V AtMost(D d, V x, hn::TFromD<D> high) {
#if HWY_ARCH_X86
  return hn::Min(hn::Set(d, high), x);
#else
  return hn::IfThenElse(hn::Gt(x, hn::Set(d, high)), hn::Set(d, high), x);
#endif
}

// What ExpNegative needs to know of a float: kRange is past -log2 of half the smallest subnormal,
// and e^r = 1 + r + r²·(kTerms[last] + …), |r| <= ln(2)/2, to 0.03 (0.07) ulp.
template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  static constexpr int kRange = 151, kBias = 127;
  static constexpr double kInteger = 1.5 * (1 << 23);
  // ln 2 in two parts, of which the first has so few digits that its products with n are exact.
  static constexpr double kLn2High = 0.693145751953125, kLn2Low = 1.428606765330187045e-6;
  static constexpr double kTerms[] = {0.001382147311232984, 0.008368662558495998,
                                      0.041668254882097244, 0.1666652113199234, 0.4999999403953552};
};
template <>
struct ExpConstants<double> {
  static constexpr int kRange = 1076, kBias = 1023;
  static constexpr double kInteger = 1.5 * (int64_t{1} << 52);
  static constexpr double kLn2High = 6.93147180369123816490e-01,
                          kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kTerms[] = {2.510038319586702e-08,  2.7620085455018414e-07,
                                      2.7557268464831627e-06, 2.4801521302241082e-05,
                                      0.00019841269863050506, 0.001388888891720967,
                                      0.008333333333330063,   0.041666666666624136,
                                      0.16666666666666669,    0.5000000000000001};
};

// e^x for x <= 0 and NaN; denormals where they are due. 13 operations, where Exp has 30: with n the
// integer next to x·log2 e, and r = x - n·ln 2,
//   e^x = (e^r·2^(kBias - kRange))·2^(n + kRange - kBias),
// whose first factor comes straight from the polynomial, and whose second has n + kRange >= 0 for
// its biased exponent: at n = -kRange it is 0, so that what is far below costs no subnormal
// arithmetic. The only rounding to subnormal numbers is that product's.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpNegative(D d, V x) {
  using T = hn::TFromD<D>;
  using C = ExpConstants<T>;
  constexpr int kMantissa = sizeof(T) == 4 ? 23 : 52;
  constexpr double kScale = 1.0 / (int64_t{1} << (C::kRange - C::kBias));
  const auto constant = [&](double value) HWY_ATTR { return hn::Set(d, static_cast<T>(value)); };
  const hn::RebindToUnsigned<D> bits;
  x = AtLeast(d, x, static_cast<T>(-C::kRange * 0.6931471805599453));
  // n + kRange in the lowest bits, from where a shift brings it to the exponent's.
  const V shifted = hn::MulAdd(x, constant(1.4426950408889634), constant(C::kInteger + C::kRange));
  const V n = hn::Sub(shifted, constant(C::kInteger + C::kRange));
  V r = hn::NegMulAdd(n, constant(C::kLn2High), x);
  r = hn::NegMulAdd(n, constant(C::kLn2Low), r);
  V sum = constant(kScale * C::kTerms[0]);
  for (size_t i = 1; i < sizeof(C::kTerms) / sizeof(double); ++i) {
    sum = hn::MulAdd(sum, r, constant(kScale * C::kTerms[i]));
  }
#if HWY_NATIVE_FMA
  sum = hn::MulAdd(hn::MulAdd(sum, r, constant(kScale)), r, constant(kScale));
#else  // 1 + (r + …), which rounds r less often
  const V scaled = hn::Mul(r, constant(kScale));
  sum = hn::Add(hn::Add(hn::Mul(hn::Mul(r, r), sum), scaled), constant(kScale));
#endif
  const V power = hn::BitCast(d, hn::ShiftLeft<kMantissa>(hn::BitCast(bits, shifted)));
  return hn::Mul(sum, power);
}

// log(1 + x) for x >= 0 and NaN. hn::Log1p takes inf and NaN for large numbers.
// Largest error seen, in samples of 10^7 and more: 2.47 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Log1p(D d, V x) {
  using T = hn::TFromD<D>;
  const V infinity = hn::Set(d, std::numeric_limits<T>::infinity());
  return hn::IfThenElse(hn::Lt(x, infinity), hn::Log1p(d, x), x);
}

// What Pow needs to know of a float's bits.
template <class T>
struct FloatBits {
  static constexpr int kMantissa = sizeof(T) == 4 ? 23 : 52;
  static constexpr int kBias = sizeof(T) == 4 ? 127 : 1023;
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  static constexpr Bits kOne = static_cast<Bits>(kBias) << kMantissa;
  static constexpr Bits kSqrtHalf =
      static_cast<Bits>(sizeof(T) == 4 ? 0x3F3504F3 : 0x3FE6A09E667F3BCD);
  // Above every number's exponent, in magnitude.
  static constexpr T kFar = sizeof(T) == 4 ? T(200) : T(1200);
  // Numbers from 2^kMantissa on have integers for their last places.
  static constexpr T kIntegers = static_cast<T>(Bits{1} << kMantissa);
};

// 2^n for integers |n| < kBias: n + 1.5·2^kMantissa has n in its lowest bits, from where it goes,
// biased, to the exponent's.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerOfTwo(D d, V n) {
  using F = FloatBits<hn::TFromD<D>>;
  const hn::RebindToUnsigned<D> bits;
  const auto low = hn::BitCast(bits, hn::Add(n, hn::Set(d, F::kIntegers + F::kIntegers / 2)));
  return hn::BitCast(d, hn::ShiftLeft<F::kMantissa>(hn::Add(low, hn::Set(bits, F::kBias))));
}

// An exponent p = high + low, where high has so few digits that its products with a number's own
// exponent, an integer of 8 or 11 bits, are exact; and p rounded.
template <class V>
struct Exponent {
  V rounded, high, low;
};

// p + rest, where rest is what p has lost by rounding.
template <class D>
HWY_INLINE Exponent<hn::Vec<D>> ExponentOf(D d, double p, double rest = 0) {
  using T = hn::TFromD<D>;
  using Bits = typename FloatBits<T>::Bits;
  T high = static_cast<T>(p);
  Bits digits;
  hwy::CopyBytes<sizeof(T)>(&high, &digits);
  digits &= ~static_cast<Bits>(0xFFF);
  hwy::CopyBytes<sizeof(T)>(&digits, &high);
  const double low = (p - static_cast<double>(high)) + rest;
  return {hn::Set(d, static_cast<T>(p)), hn::Set(d, high), hn::Set(d, static_cast<T>(low))};
}

// x^p for x >= 0 and NaN, and p > 0. With x = 2^e·f, √½ <= f < √2, and n the integer next to
// p·log2 x:
//   x^p = 2^n · exp((p·e - n)·ln 2 + p·ln f)
// where p·e is exact in two parts, so that what is off does not grow with |log x|, but only with
// |p·ln f| <= 0.35·p. In units of eps/2, with 4 ulp (8) for Log and 1.05 ulp (2.1) for Exp as their
// bounds:  10·0.35·p for p·ln f,  3·(p/2 + 1/2)·ln 2 for (p·e - n)·ln 2,  0.35 for their sum, and
// 2.1 for Exp: relative error below (4.6·p + 4)·eps/2.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Pow(D d, V x, const Exponent<V>& p) {
  using T = hn::TFromD<D>;
  using F = FloatBits<T>;
  constexpr int kShift = F::kMantissa + 2;  // brings the smallest subnormal up to a normal number
  const hn::RebindToUnsigned<D> bits;
  const V zero = hn::Zero(d);
  const auto subnormal = hn::Lt(x, hn::Set(d, std::numeric_limits<T>::min()));
  const V normal = hn::IfThenElse(subnormal, hn::Mul(x, hn::Set(d, 4 * F::kIntegers)), x);
  // Bits of the exponent count from √½ up after this.
  const auto sqrt_half = hn::Set(bits, F::kSqrtHalf);
  const auto shifted =
      hn::Add(hn::BitCast(bits, normal), hn::Sub(hn::Set(bits, F::kOne), sqrt_half));
  const auto mantissa = hn::And(shifted, hn::Set(bits, (typename F::Bits{1} << F::kMantissa) - 1));
  const V f = hn::BitCast(d, hn::Add(mantissa, sqrt_half));
  // The biased exponent as the last places of a number from 2^kMantissa on.
  const auto biased =
      hn::Or(hn::ShiftRight<F::kMantissa>(shifted), hn::BitCast(bits, hn::Set(d, F::kIntegers)));
  const V bias = hn::IfThenElse(subnormal, hn::Set(d, F::kIntegers + T(F::kBias + kShift)),
                                hn::Set(d, F::kIntegers + T(F::kBias)));
  const V e = hn::Sub(hn::BitCast(d, biased), bias);

  const V log_f = hn::Mul(p.rounded, hn::Log(d, f));
  const V p_e = hn::Mul(p.high, e), p_e_rest = hn::Mul(p.low, e);
  const V exponent = hn::MulAdd(log_f, hn::Set(d, T(1.4426950408889634)), p_e);
  const V far = hn::Set(d, F::kFar);
  const V n = hn::Round(hn::Min(hn::Max(exponent, hn::Neg(far)), far));
  const V fraction = hn::Add(hn::Sub(p_e, n), p_e_rest);
  const V power = hn::Exp(d, hn::MulAdd(fraction, hn::Set(d, T(0.6931471805599453)), log_f));
  // In two steps, as the result may be subnormal.
  const V half = hn::Round(hn::Mul(n, hn::Set(d, T(0.5))));
  const V result = hn::Mul(hn::Mul(power, PowerOfTwo(d, half)), PowerOfTwo(d, hn::Sub(n, half)));
  const V infinity = hn::Set(d, std::numeric_limits<T>::infinity());
  const V high = hn::IfThenElse(hn::Lt(exponent, far), result, infinity);
  const V in_range = hn::IfThenElse(hn::Gt(exponent, hn::Neg(far)), high, zero);
  const V finite = hn::IfThenElse(hn::Lt(x, infinity), in_range, x);  // inf and NaN
  return hn::IfThenElse(hn::Eq(x, zero), zero, finite);
}

}  // namespace math
}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_MATH_INL_H_
