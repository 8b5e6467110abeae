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

// LogSoftmaxFormula's sums, and e = exp(x - max), of which these are made, stored.
struct LabelFormula {
  static constexpr bool kReadsB = false, kUsesMax = true, kStores = true;
  static constexpr size_t kSums = 2;
  static constexpr double kFill = -std::numeric_limits<double>::infinity();

  template <class D, class V>
  static HWY_INLINE V Add(D d, V x, V b, V max, V* sums) {
    LogSoftmaxFormula::Add(d, x, b, max, sums);
    return math::ExpNegative(d, hn::Sub(x, max));
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
    return LabelFormula::Add(d, x, q, max, sums);
  }
  template <class D, class V>
  static HWY_INLINE V Apply(D, V e, V q, V scale, V k) {
    return hn::MulSub(e, k, hn::Mul(q, scale));
  }
};

// f(d, load, store) for one vector after another of arrays of n elements, which load and store take
// by their beginning. A tail goes through the same instructions.
template <class T, class F>
HWY_INLINE void ForEachVector(size_t n, const F& f) {
  const SoftmaxTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = std::min(lanes, n - i);
    f(
        d, [=](const T* from) HWY_ATTR { return LoadFirst(d, from + i, count); },
        [=](V v, T* to) HWY_ATTR { StoreFirst(v, d, to + i, count); });
  }
}

// 0·log 0 = 0, and so is its derivative; a NaN stays one.
template <class T>
void Probabilities(const T* p, const T* q, size_t n, T scale, T* terms, T* gradient) {
  ForEachVector<T>(n, [&](auto d, const auto& load, const auto& store) HWY_ATTR {
    const auto x = load(p), share = load(q);
    const auto none = hn::And(hn::Eq(share, hn::Zero(d)), hn::Eq(x, x));
    if (gradient != nullptr) {
      const auto factor = hn::Neg(hn::Mul(share, hn::Set(d, scale)));
      store(hn::IfThenZeroElse(none, hn::Div(factor, x)), gradient);
    }
    store(hn::IfThenZeroElse(none, hn::Neg(hn::Mul(share, math::Log(d, x)))), terms);
  });
}

// The label's softmax less 1 is -s/(1 + s) where it is the maximum, and at most 1/2 - 1 where it is
// not: no digits cancel.
template <class T>
HWY_NOINLINE void FinishLabels(const LossRows<T>& r, size_t n, bool gradient) {
  ForEachVector<T>(n, [&](auto d, const auto& load, const auto& store) HWY_ATTR {
    const auto one = hn::Set(d, 1);
    const auto s = hn::Add(load(r.below), hn::Sub(load(r.maxima), one));
    const auto w = load(r.weight), gap = hn::Sub(load(r.picked), load(r.max));
    const auto cost = hn::Sub(math::Log1p(d, s), hn::IfThenZeroElse(hn::Eq(w, hn::Zero(d)), gap));
    store(hn::Mul(w, cost), r.loss);
    if (!gradient) return;
    const auto reciprocal = hn::Div(one, hn::Add(one, s));
    const auto factor = hn::Mul(w, hn::Set(d, r.scale));
    const auto top = hn::Neg(hn::Mul(s, reciprocal));
    const auto other = hn::Sub(hn::Mul(math::ExpNegative(d, gap), reciprocal), one);
    store(hn::Mul(factor, reciprocal), r.factor);
    store(hn::Mul(factor, hn::IfThenElse(hn::Eq(gap, hn::Zero(d)), top, other)), r.at_label);
  });
}

// 0 in the lanes of a panel where `flags` are not.
template <class T>
HWY_INLINE void ClearLanes(const T* flags, size_t n, T* panel) {
  const SoftmaxTag<T> d;
  for (size_t first = 0; first < kPanelNR<T>; first += hn::Lanes(d)) {
    const auto cleared = hn::Ne(hn::Load(d, flags + first), hn::Zero(d));
    for (size_t i = 0; i < n; ++i) {
      T* const at = panel + i * kPanelNR<T> + first;
      hn::Store(hn::IfThenZeroElse(cleared, hn::Load(d, at)), d, at);
    }
  }
}

// As softmax's ShortRows: a panel at a time through all phases.
template <class T>
void ShortLabels(const SoftmaxRows<T>& rows, const int64_t* labels, const T* weight, T scale,
                 T* loss, T* scratch) {
  constexpr size_t kNR = kPanelNR<T>, kSumSize = kPartials<T> * kNR;
  const bool gradient = rows.out != nullptr;
  const auto sum = gradient ? PanelSum<T, LabelFormula> : PanelSum<T, LogSoftmaxFormula>;
  T* const x = scratch;
  T* const e = x + rows.n * kNR;
  T* const partials = e + rows.n * kNR;
  T* const max = partials + 2 * kSumSize;
  T *const below = max + kNR, *const maxima = below + kNR, *const picked = maxima + kNR;
  T *const factor = picked + kNR, *const at_label = factor + kNR;
  for (size_t row = 0; row < rows.count; row += kNR) {
    const size_t count = std::min(kNR, rows.count - row);
    const auto at = static_cast<ptrdiff_t>(row);
    LoadPanel(rows.a + at * rows.a_step, rows.a_step, count, rows.n, x);
    PanelMax(x, rows.n, true, max);
    sum(x, nullptr, rows.n, max, true, e, partials);
    for (size_t s = 0; s < 2; ++s) {
      T* const sums = partials + s * kSumSize;
      PanelTotal<T, SoftmaxBackwardFormula>(rows.n, sums, nullptr, below + s * kNR);  // and maxima
    }
    const auto place = [&](size_t r) {
      return static_cast<size_t>(std::max<int64_t>(0, labels[row + r])) * kNR + r;
    };
    for (size_t r = 0; r < count; ++r) picked[r] = x[place(r)];
    FinishLabels(
        LossRows<T>{below, maxima, max, picked, weight + row, scale, loss + row, factor, at_label},
        count, gradient);
    bool all = true;
    for (size_t r = 0; r < count; ++r) {
      const bool ignored = labels[row + r] < 0;
      loss[row + r] = ignored ? 0 : loss[row + r];
      picked[r] = T(ignored);
      all = all && !ignored;
    }
    if (!gradient) continue;
    PanelApply<T, SoftmaxFormula>(e, nullptr, rows.n, max, factor, e);
    for (size_t r = 0; r < count; ++r) e[place(r)] = at_label[r];
    if (!all) ClearLanes(picked, rows.n, e);
    StorePanel(e, rows.out_step, count, rows.n, rows.out + at * rows.out_step);
  }
}

template <class T>
void FinishTargets(const LossRows<T>& r, size_t n, bool gradient) {
  ForEachVector<T>(n, [&](auto d, const auto& load, const auto& store) HWY_ATTR {
    const auto one = hn::Set(d, 1);
    const auto s = hn::Add(load(r.below), hn::Sub(load(r.maxima), one));
    const auto q = load(r.weight);
    store(hn::MulAdd(q, math::Log1p(d, s), load(r.loss)), r.loss);
    if (!gradient) return;
    store(hn::Div(hn::Mul(q, hn::Set(d, r.scale)), hn::Add(one, s)), r.factor);
  });
}

// Functions that softmax's own table has are compiled once.
template <class T>
constexpr CrossEntropyKernels<T> kCrossEntropy{
    kPartials<T>,
    {RowMax<T>,
     {RowSum<T, LogSoftmaxFormula>, RowSum<T, LabelFormula>, RowSum<T, TargetsFormula>,
      RowSum<T, LogSoftmaxBackwardFormula>},
     RowTotal<T, SoftmaxBackwardFormula>,
     RowApply<T, SoftmaxFormula>,
     RowApply<T, TargetsFormula>},
    {PanelMax<T>,
     {PanelSum<T, LogSoftmaxFormula>, PanelSum<T, LabelFormula>, PanelSum<T, TargetsFormula>,
      PanelSum<T, LogSoftmaxBackwardFormula>},
     PanelTotal<T, SoftmaxBackwardFormula>,
     PanelApply<T, SoftmaxFormula>,
     PanelApply<T, TargetsFormula>},
    ShortLabels<T>,
    Probabilities<T>,
    FinishLabels<T>,
    FinishTargets<T>};

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_CROSS_ENTROPY_INL_H_
