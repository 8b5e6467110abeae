// The activations of the convolution's epilogue. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_ACTIVATION_INL_H_
#undef LANEWISE_KERNELS_ACTIVATION_INL_H_
#else
#define LANEWISE_KERNELS_ACTIVATION_INL_H_
#endif

#include <type_traits>
#include <utility>

#include "hwy/highway.h"
#include "kernels/math-inl.h"
#include "lanewise/conv.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// (((n[0]·x + n[1])·x + …)·x + n[last])
template <class D, class V, size_t N>
HWY_INLINE V Polynomial(D d, V x, const double (&coefficients)[N]) {
  using T = hn::TFromD<D>;
  V sum = hn::Set(d, static_cast<T>(coefficients[0]));
  for (size_t i = 1; i < N; ++i) {
    sum = hn::MulAdd(sum, x, hn::Set(d, static_cast<T>(coefficients[i])));
  }
  return sum;
}

// W. J. Cody, Rational Chebyshev approximations for the error function, Math. Comp. 23 (1969).
// Highest power first.
constexpr double kErfP[] = {1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
                            3.77485237685302021e2, 3.20937758913846947e3};
constexpr double kErfQ[] = {1.0, 2.36012909523441209e1, 2.44024637934444173e2,
                            1.28261652607737228e3, 2.84423683343917062e3};
constexpr double kErfcMidP[] = {
    2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
    6.61191906371416295e1,  2.98635138197400131e2,  8.81952221241769090e2,
    1.71204761263407058e3,  2.05107837782607147e3,  1.23033935479799725e3};
constexpr double kErfcMidQ[] = {1.0,
                                1.57449261107098347e1,
                                1.17693950891312499e2,
                                5.37181101862009858e2,
                                1.62138957456669019e3,
                                3.29079923573345963e3,
                                4.36261909014324716e3,
                                3.43936767414372164e3,
                                1.23033935480374942e3};
constexpr double kErfcFarP[] = {1.63153871373020978e-2, 3.05326634961232344e-1,
                                3.60344899949804439e-1, 1.25781726111229246e-1,
                                1.60837851487422766e-2, 6.58749161529837803e-4};
constexpr double kErfcFarQ[] = {1.0,
                                2.56852019228982242e0,
                                1.87295284992346725e0,
                                5.27905102951428412e-1,
                                6.05183413124413191e-2,
                                2.33520497626869185e-3};
constexpr double kInvSqrtPi = 0.56418958354775628695;

// 1 - erf(x). Its absolute error is a few ulps of 1; for large x it keeps relative accuracy up to
// the rounding of x².
template <class D, class V>
HWY_INLINE V Erfc(D d, V x) {
  using T = hn::TFromD<D>;
  const V one = hn::Set(d, T(1)), y = hn::Abs(x), y2 = hn::Mul(x, x);
  // |x| < 15/32: 1 - x·P(x²)/Q(x²)
  const V near = hn::NegMulAdd(x, hn::Div(Polynomial(d, y2, kErfP), Polynomial(d, y2, kErfQ)), one);
  // up to 4: exp(-x²)·P(y)/Q(y); beyond: exp(-x²)/y·(1/√π - P(1/x²)/Q(1/x²)/x²)
  const V mid_y = hn::Min(y, hn::Set(d, T(4)));
  const V mid = hn::Div(Polynomial(d, mid_y, kErfcMidP), Polynomial(d, mid_y, kErfcMidQ));
  const V far_y = hn::Max(y, hn::Set(d, T(4)));
  const V z = hn::Div(one, hn::Mul(far_y, far_y));
  const V correction =
      hn::Mul(z, hn::Div(Polynomial(d, z, kErfcFarP), Polynomial(d, z, kErfcFarQ)));
  const V far = hn::Div(hn::Sub(hn::Set(d, T(kInvSqrtPi)), correction), far_y);
  const V tail = hn::Mul(math::ExpNegative(d, hn::Neg(y2)),
                         hn::IfThenElse(hn::Le(y, hn::Set(d, T(4))), mid, far));
  const V reflected = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Sub(hn::Set(d, T(2)), tail), tail);
  const V erfc = hn::IfThenElse(hn::Lt(y, hn::Set(d, T(0.46875))), near, reflected);
  return hn::IfThenElse(hn::IsNaN(x), x, erfc);
}

// By exp(-|v|), which cannot overflow.
template <class D, class V>
HWY_INLINE V Sigmoid(D d, V v) {
  const V one = hn::Set(d, hn::TFromD<D>(1));
  const V e = math::ExpNegative(d, hn::Neg(hn::Abs(v)));
  return hn::Div(hn::IfThenElse(hn::Lt(v, hn::Zero(d)), e, one), hn::Add(one, e));
}

// Comparisons are written so that a NaN fails them and stays.
template <Activation kActivation, class D, class V>
HWY_INLINE V Activate(D d, V v) {
  using T = hn::TFromD<D>;
  const V zero = hn::Zero(d);
  if constexpr (kActivation == Activation::kNone) {
    return v;
  } else if constexpr (kActivation == Activation::kRelu) {
    return hn::IfThenElse(hn::Lt(v, zero), zero, v);
  } else if constexpr (kActivation == Activation::kRelu6) {
    const V six = hn::Set(d, T(6)), relu = hn::IfThenElse(hn::Lt(v, zero), zero, v);
    return hn::IfThenElse(hn::Gt(relu, six), six, relu);
  } else if constexpr (kActivation == Activation::kSilu) {
    return hn::Mul(v, Sigmoid(d, v));
  } else if constexpr (kActivation == Activation::kGelu) {
    const V half = hn::Set(d, T(0.5)), minus_sqrt_half = hn::Set(d, T(-0.70710678118654752440));
    return hn::Mul(hn::Mul(half, v), Erfc(d, hn::Mul(v, minus_sqrt_half)));
  } else if constexpr (kActivation == Activation::kLeakyRelu) {
    return hn::IfThenElse(hn::Lt(v, zero), hn::Mul(v, hn::Set(d, T(0.01))), v);
  } else if constexpr (kActivation == Activation::kSigmoid) {
    return Sigmoid(d, v);
  } else {
    static_assert(kActivation == Activation::kTanh);
    return hn::IfThenElse(hn::IsNaN(v), v, hn::Tanh(d, v));
  }
}

// Activate for an activation that is known at run time. What costs more than the call is one
// function for all callers.
template <class D, class V>
HWY_NOINLINE V ActivateCurved(Activation activation, D d, V v) {
  switch (activation) {
    case Activation::kSilu:
      return Activate<Activation::kSilu>(d, v);
    case Activation::kGelu:
      return Activate<Activation::kGelu>(d, v);
    case Activation::kSigmoid:
      return Activate<Activation::kSigmoid>(d, v);
    default:
      return Activate<Activation::kTanh>(d, v);
  }
}
template <class D, class V>
HWY_INLINE V ActivateAs(Activation activation, D d, V v) {
  switch (activation) {
    case Activation::kNone:
      return v;
    case Activation::kRelu:
      return Activate<Activation::kRelu>(d, v);
    case Activation::kRelu6:
      return Activate<Activation::kRelu6>(d, v);
    case Activation::kLeakyRelu:
      return Activate<Activation::kLeakyRelu>(d, v);
    default:
      return ActivateCurved(activation, d, v);
  }
}

// table[activation] = function_for(its integral constant), for every activation.
template <class Function, class F, size_t... I>
constexpr void SetEvery(Function (&table)[kActivations], const F& function_for,
                        std::index_sequence<I...>) {
  ((table[I] = function_for(std::integral_constant<Activation, static_cast<Activation>(I)>())),
   ...);
}
template <class Function, class F>
constexpr void SetByActivation(Function (&table)[kActivations], const F& function_for) {
  SetEvery(table, function_for, std::make_index_sequence<kActivations>());
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_ACTIVATION_INL_H_
