// Cross-entropy from logits in the phases of the softmax family (softmax-inl.h), with what a row's
// loss and its gradient need in one pass of exponentials; and from probabilities. The formulas are
// written as they are there. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_CROSS_ENTROPY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_CROSS_ENTROPY_INL_H_
#undef LANEWISE_KERNELS_CROSS_ENTROPY_INL_H_
#else
#define LANEWISE_KERNELS_CROSS_ENTROPY_INL_H_
#endif

#include <algorithm>
#include <limits>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/math-inl.h"
#include "kernels/softmax-inl.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

namespace math {

// log(x) for every x: -inf for 0, NaN below and for NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Log(D d, V x) {
  using T = hn::TFromD<D>;
  const V zero = hn::Zero(d), infinity = hn::Set(d, std::numeric_limits<T>::infinity());
  const auto ordinary = hn::And(hn::Gt(x, zero), hn::Lt(x, infinity));
  const V negative = hn::Set(d, std::numeric_limits<T>::quiet_NaN());
  const V end = hn::IfThenElse(hn::Eq(x, zero), hn::Neg(infinity),
                               hn::IfThenElse(hn::Lt(x, zero), negative, x));
  return hn::IfThenElse(ordinary, hn::Log(d, x), end);
}

}  // namespace math

// The two sums of LogSoftmaxFormula; for the gradient e = exp(x - max) stored.
template <bool kGradient>
struct LabelFormula {
  static constexpr bool kReadsB = false, kUsesMax = true, kStores = kGradient;
  static constexpr size_t kSums = 2;
  static constexpr double kFill = -std::numeric_limits<double>::infinity();

  template <class D, class V>
  static HWY_INLINE V Add(D d, V x, V, V max, V* sums) {
    const V difference = hn::Sub(x, max);
    const auto is_max = hn::Eq(difference, hn::Zero(d));
    const V e = math::Exp(d, difference);
    sums[0] = hn::Add(sums[0], hn::IfThenZeroElse(is_max, e));
    sums[1] = hn::Add(sums[1], hn::IfThenElseZero(is_max, hn::Set(d, 1)));
    return e;
  }
};

// The same, and Σ q·(max - x), Σ q for targets q; a q of 0 takes no part, whatever x is. The result
// is the gradient, e·k - q·scale: Apply gets k for the total, and scale for the maximum.
struct TargetsFormula {
  static constexpr bool kReadsB = true, kUsesMax = true, kStores = true;
  static constexpr size_t kSums = 4;
  static constexpr double kFill = -std::numeric_limits<double>::infinity();

  template <class D, class V>
  static HWY_INLINE V Add(D d, V x, V q, V max, V* sums) {
    const auto none = hn::Eq(q, hn::Zero(d));
    sums[2] = hn::NegMulAdd(q, hn::IfThenZeroElse(none, hn::Sub(x, max)), sums[2]);
    sums[3] = hn::Add(sums[3], q);
    return LabelFormula<true>::Add(d, x, q, max, sums);
  }
  template <class D, class V>
  static HWY_INLINE V Apply(D, V e, V q, V scale, V k) {
    return hn::MulSub(e, k, hn::Mul(q, scale));
  }
};

// Of probabilities p: Σ -q·log p, and -q·scale/p stored; both 0 where q is, unless p is NaN. Add
// gets scale for the maximum.
struct ProbabilitiesFormula {
  static constexpr bool kReadsB = true, kUsesMax = true, kStores = true;
  static constexpr size_t kSums = 1;
  static constexpr double kFill = 1;

  template <class D, class V>
  static HWY_INLINE V Add(D d, V p, V q, V scale, V* sums) {
    const auto none = hn::And(hn::Eq(q, hn::Zero(d)), hn::Eq(p, p));
    sums[0] = hn::NegMulAdd(q, hn::IfThenZeroElse(none, math::Log(d, p)), sums[0]);
    return hn::IfThenZeroElse(none, hn::Div(hn::Neg(hn::Mul(q, scale)), p));
  }
};

// One sum as it is, and e·k.
struct ScaleFormula {
  static constexpr bool kReadsB = false, kUsesMax = false;
  static constexpr size_t kSums = 1;

  template <class D, class V>
  static HWY_INLINE V Total(D, const V* sums, V) {
    return sums[0];
  }
  template <class D, class V>
  static HWY_INLINE V Apply(D, V e, V, V, V k) {
    return hn::Mul(e, k);
  }
};

// f(d, i, load, store) for vectors of rows from i on, of which load and store take part.
template <class T, class F>
HWY_INLINE void ForEachRow(size_t rows, const F& f) {
  const SoftmaxTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < rows; i += lanes) {
    const size_t n = std::min(lanes, rows - i);
    f(
        d, [=](const T* from) HWY_ATTR { return LoadFirst(d, from + i, n); },
        [=](V v, T* to) HWY_ATTR { StoreFirst(v, d, to + i, n); });
  }
}

// The label's softmax less 1 is -s/(1 + s) where it is the maximum, and at most 1/2 - 1 where it is
// not: no digits cancel.
template <class T>
void FinishLabels(const LossRows<T>& r, size_t n, bool gradient) {
  ForEachRow<T>(n, [&](auto d, const auto& load, const auto& store) HWY_ATTR {
    const auto one = hn::Set(d, 1);
    const auto s = hn::Add(load(r.below), hn::Sub(load(r.maxima), one));
    const auto w = load(r.weight), gap = hn::Sub(load(r.picked), load(r.max));
    const auto cost = hn::Sub(math::Log1p(d, s), hn::IfThenZeroElse(hn::Eq(w, hn::Zero(d)), gap));
    store(hn::Mul(w, cost), r.loss);
    if (!gradient) return;
    const auto reciprocal = hn::Div(one, hn::Add(one, s));
    const auto factor = hn::Mul(w, hn::Set(d, r.scale));
    const auto top = hn::Neg(hn::Mul(s, reciprocal));
    const auto other = hn::Sub(hn::Mul(math::Exp(d, gap), reciprocal), one);
    store(hn::Mul(factor, reciprocal), r.factor);
    store(hn::Mul(factor, hn::IfThenElse(hn::Eq(gap, hn::Zero(d)), top, other)), r.at_label);
  });
}

template <class T>
void FinishTargets(const LossRows<T>& r, size_t n, bool gradient) {
  ForEachRow<T>(n, [&](auto d, const auto& load, const auto& store) HWY_ATTR {
    const auto one = hn::Set(d, 1);
    const auto s = hn::Add(load(r.below), hn::Sub(load(r.maxima), one));
    const auto q = load(r.weight);
    store(hn::MulAdd(q, math::Log1p(d, s), load(r.loss)), r.loss);
    if (!gradient) return;
    store(hn::Div(hn::Mul(q, hn::Set(d, r.scale)), hn::Add(one, s)), r.factor);
  });
}

template <class T>
constexpr CrossEntropyKernels<T> kCrossEntropy{
    kPartials<T>,
    {RowMax<T>,
     {RowSum<T, LabelFormula<false>>, RowSum<T, LabelFormula<true>>, RowSum<T, TargetsFormula>,
      RowSum<T, ProbabilitiesFormula>},
     RowTotal<T, ScaleFormula>,
     RowApply<T, ScaleFormula>,
     RowApply<T, TargetsFormula>},
    {PanelMax<T>,
     {PanelSum<T, LabelFormula<false>>, PanelSum<T, LabelFormula<true>>,
      PanelSum<T, TargetsFormula>, PanelSum<T, ProbabilitiesFormula>},
     PanelTotal<T, ScaleFormula>,
     PanelApply<T, ScaleFormula>,
     PanelApply<T, TargetsFormula>},
    FinishLabels<T>,
    FinishTargets<T>};

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_CROSS_ENTROPY_INL_H_
