// Maxima and minima over the taps of a window, with or without their places, and sums. Included
// once per SIMD target.
#if defined(LANEWISE_KERNELS_POOL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_POOL_INL_H_
#undef LANEWISE_KERNELS_POOL_INL_H_
#else
#define LANEWISE_KERNELS_POOL_INL_H_
#endif

#include <type_traits>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using PoolTag = hn::ScalableTag<T>;
template <class T>
using PoolNumber = typename PoolKernels<T>::Number;

// Where a vector begins: in the sources, in the result, and among its numbers.
struct Position {
  ptrdiff_t src, out, number;
  HWY_INLINE Position operator+(size_t j) const {
    const ptrdiff_t step = static_cast<ptrdiff_t>(j);
    return {src + step, out + step, number + step};
  }
};

// Calls taps.Do<V>(d, position) for V neighbouring vectors of kLanes at a time, so that V loads
// share the load of a tap's pointer: 4 winners and 4 masks, or 4 totals and 4 parts, of 16
// registers. A run's last vector overlaps the one before it and writes the same again; a run
// shorter than a vector is taken in shorter vectors.
template <size_t kLanes, class T, class Taps>
HWY_INLINE void ForEachVector(const Runs& runs, const Taps& taps) {
  if constexpr (kLanes > 1) {
    if (runs.len < kLanes) return ForEachVector<kLanes / 2, T>(runs, taps);
  }
  constexpr bool kWhole = kLanes == hn::MaxLanes(PoolTag<T>());
  constexpr size_t V = kWhole ? Taps::kVectors : 1;
  const hn::CappedTag<T, kLanes> d;
  for (size_t i = 0; i < runs.count; ++i) {
    const ptrdiff_t run = static_cast<ptrdiff_t>(i);
    const Position begin{run * runs.src_step, run * runs.out_step, run * runs.number_step};
    size_t j = 0;
    for (; j + V * kLanes <= runs.len; j += V * kLanes) taps.template Do<V>(d, begin + j);
    if constexpr (V > 2) {
      for (; j + 2 * kLanes <= runs.len; j += 2 * kLanes) taps.template Do<2>(d, begin + j);
    }
    if constexpr (V > 1) {
      for (; j + kLanes <= runs.len; j += kLanes) taps.template Do<1>(d, begin + j);
    }
    if (j < runs.len) taps.template Do<1>(d, begin + (runs.len - kLanes));
  }
}

template <class T, class Taps>
HWY_INLINE void ForEachVector(const Runs& runs, const Taps& taps) {
  if (runs.len > 0) ForEachVector<hn::MaxLanes(PoolTag<T>()), T>(runs, taps);
}

// What "wins" means, as a rule that each of the kernels below is compiled with. `best` is what won
// so far; masks say in which lanes x takes its place.
template <class T, bool kSmallest, bool kOmitNaN>
struct Rule {
  static constexpr bool kHasNaN = !std::is_integral_v<T>;
  static constexpr bool kOmits = kOmitNaN;

  // x is better than best, or it is a NaN that wins, or best is a NaN that loses.
  template <class V>
  static HWY_INLINE auto Wins(V x, V best) {
    if constexpr (kHasNaN) {
      const auto no_better = kSmallest ? hn::Ge(x, best) : hn::Le(x, best);  // false with a NaN
      const V number = kOmitNaN ? x : best;
      return hn::AndNot(no_better, hn::Eq(number, number));
    } else {
      return kSmallest ? hn::Lt(x, best) : hn::Gt(x, best);
    }
  }

  // Neither is better. Only asked where x does not win.
  template <class V>
  static HWY_INLINE auto Level(V x, V best) {
    if constexpr (kHasNaN) {
      return hn::Or(hn::Eq(x, best), hn::And(hn::IsNaN(x), hn::IsNaN(best)));
    } else {
      return hn::Eq(x, best);
    }
  }

  // The better of two numbers, best if they are equal; what becomes of a NaN differs between
  // targets.
  template <class V>
  static HWY_INLINE V Better(V x, V best) {
    return kSmallest ? hn::Min(x, best) : hn::Max(x, best);
  }
};

// The winner of x_t. Where NaNs win they are counted beside Max or Min, which treat them
// differently on each target.
template <class T, class R>
struct PickTaps {
  static constexpr size_t kVectors = 4;
  const T* const* src;
  size_t count;
  T* out;

  template <size_t V, class D>
  HWY_INLINE void Do(D d, Position at) const {
    using Vec = hn::Vec<D>;
    const size_t lanes = hn::Lanes(d);
    Vec best[V];
    hn::Mask<D> nan[V];
    for (size_t v = 0; v < V; ++v) {
      best[v] = hn::LoadU(d, src[0] + at.src + v * lanes);
      if constexpr (R::kHasNaN) nan[v] = hn::IsNaN(best[v]);
    }
    for (size_t t = 1; t < count; ++t) {
      const T* HWY_RESTRICT tap = src[t] + at.src;
      for (size_t v = 0; v < V; ++v) {
        const Vec x = hn::LoadU(d, tap + v * lanes);
        if constexpr (R::kOmits) {
          best[v] = hn::IfThenElse(R::Wins(x, best[v]), x, best[v]);
        } else {
          best[v] = R::Better(x, best[v]);
          if constexpr (R::kHasNaN) nan[v] = hn::Or(nan[v], hn::IsNaN(x));
        }
      }
    }
    for (size_t v = 0; v < V; ++v) {
      if constexpr (R::kHasNaN) {
        if constexpr (R::kOmits) nan[v] = hn::IsNaN(best[v]);
        best[v] = hn::IfThenElse(nan[v], hn::NaN(d), best[v]);
      }
      hn::StoreU(best[v], d, out + at.out + v * lanes);
    }
  }
};

// The winner of x_t and the id of the first t that has it.
template <class T, class R>
struct ArgTaps {
  static constexpr size_t kVectors = 4;
  const T* const* src;
  const PoolNumber<T>* ids;
  size_t count;
  T* out;
  PoolNumber<T>* numbers;

  template <size_t V, class D>
  HWY_INLINE void Do(D d, Position at) const {
    const hn::Rebind<PoolNumber<T>, D> dn;
    using Vec = hn::Vec<D>;
    const size_t lanes = hn::Lanes(d);
    Vec best[V];
    hn::Vec<decltype(dn)> number[V];
    for (size_t v = 0; v < V; ++v) {
      best[v] = hn::LoadU(d, src[0] + at.src + v * lanes);
      number[v] = hn::Set(dn, ids[0]);
    }
    for (size_t t = 1; t < count; ++t) {
      const T* HWY_RESTRICT tap = src[t] + at.src;
      const auto id = hn::Set(dn, ids[t]);
      for (size_t v = 0; v < V; ++v) {
        const Vec x = hn::LoadU(d, tap + v * lanes);
        const auto wins = R::Wins(x, best[v]);
        best[v] = hn::IfThenElse(wins, x, best[v]);
        number[v] = hn::IfThenElse(hn::RebindMask(dn, wins), id, number[v]);
      }
    }
    for (size_t v = 0; v < V; ++v) {
      hn::StoreU(best[v], d, out + at.out + v * lanes);
      hn::StoreU(number[v], dn, numbers + at.number + v * lanes);
    }
  }
};

// The same for x_t that carry numbers: of level ones the smallest number wins.
template <class T, class R>
struct MergeArgTaps {
  static constexpr size_t kVectors = 1;
  const T* const* src;
  const PoolNumber<T>* const* src_numbers;
  const PoolNumber<T>* ids;
  size_t count;
  T* out;
  PoolNumber<T>* numbers;

  template <size_t V, class D>
  HWY_INLINE void Do(D d, Position at) const {
    const hn::Rebind<PoolNumber<T>, D> dn;
    const size_t lanes = hn::Lanes(d);
    for (size_t v = 0; v < V; ++v) {
      auto best = hn::LoadU(d, src[0] + at.src + v * lanes);
      auto number =
          hn::Add(hn::LoadU(dn, src_numbers[0] + at.src + v * lanes), hn::Set(dn, ids[0]));
      for (size_t t = 1; t < count; ++t) {
        const auto x = hn::LoadU(d, src[t] + at.src + v * lanes);
        const auto id =
            hn::Add(hn::LoadU(dn, src_numbers[t] + at.src + v * lanes), hn::Set(dn, ids[t]));
        const auto before = hn::RebindMask(d, hn::Lt(id, number));
        const auto wins = hn::Or(R::Wins(x, best), hn::And(R::Level(x, best), before));
        best = hn::IfThenElse(wins, x, best);
        number = hn::IfThenElse(hn::RebindMask(dn, wins), id, number);
      }
      hn::StoreU(best, d, out + at.out + v * lanes);
      hn::StoreU(number, dn, numbers + at.number + v * lanes);
    }
  }
};

// Σ_t x_t, block by block.
template <class T>
struct SumTaps {
  static constexpr size_t kVectors = 4;
  const T* const* src;
  size_t count, first, block;
  T* out;

  template <size_t V, class D>
  HWY_INLINE void Do(D d, Position at) const {
    using Vec = hn::Vec<D>;
    const size_t lanes = hn::Lanes(d);
    Vec total[V], part[V];
    for (size_t v = 0; v < V; ++v) total[v] = hn::Zero(d);
    for (size_t t = 0, end = first; t < count; end = t + block) {
      for (size_t v = 0; v < V; ++v) part[v] = hn::Zero(d);
      for (; t < HWY_MIN(end, count); ++t) {
        const T* HWY_RESTRICT tap = src[t] + at.src;
        for (size_t v = 0; v < V; ++v) {
          part[v] = hn::Add(part[v], hn::LoadU(d, tap + v * lanes));
        }
      }
      for (size_t v = 0; v < V; ++v) total[v] = hn::Add(total[v], part[v]);
    }
    for (size_t v = 0; v < V; ++v) hn::StoreU(total[v], d, out + at.out + v * lanes);
  }
};

template <class T, class R>
void PickOf(const T* const* src, size_t taps, const Runs& runs, T* out) {
  ForEachVector<T>(runs, PickTaps<T, R>{src, taps, out});
}

template <class T, class R>
void ArgOf(const T* const* src, const PoolNumber<T>* ids, size_t taps, const Runs& runs, T* out,
           PoolNumber<T>* numbers) {
  ForEachVector<T>(runs, ArgTaps<T, R>{src, ids, taps, out, numbers});
}

template <class T, class R>
void MergeArgOf(const T* const* src, const PoolNumber<T>* const* src_numbers,
                const PoolNumber<T>* ids, size_t taps, const Runs& runs, T* out,
                PoolNumber<T>* numbers) {
  ForEachVector<T>(runs, MergeArgTaps<T, R>{src, src_numbers, ids, taps, out, numbers});
}

template <class T>
void Sum(const T* const* src, size_t taps, size_t first, size_t block, const Runs& runs, T* out) {
  ForEachVector<T>(runs, SumTaps<T>{src, taps, first, block, out});
}

template <class T>
void Divide(T* values, size_t n, T divisor) {
  const PoolTag<T> d;
  MapVectors(d, values, n, values,
             [&](auto v, size_t) HWY_ATTR { return hn::Div(v, hn::Set(d, divisor)); });
}

// Also for numbers: T is any element type.
template <class T>
void Split(const T* row, size_t n, T* even, T* odd) {
  const PoolTag<T> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; 2 * (i + lanes) <= n; i += lanes) {
    hn::Vec<decltype(d)> a, b;
    hn::LoadInterleaved2(d, row + 2 * i, a, b);
    hn::StoreU(a, d, even + i);
    hn::StoreU(b, d, odd + i);
  }
  for (; 2 * i < n; ++i) {
    even[i] = row[2 * i];
    if (2 * i + 1 < n) odd[i] = row[2 * i + 1];
  }
}

template <class T, bool kSmallest, bool kOmitNaN>
constexpr PickKernels<T> MakePick() {
  using R = Rule<T, kSmallest, kOmitNaN>;
  if constexpr (sizeof(T) < 4) {
    return {PickOf<T, R>, nullptr, nullptr};
  } else {
    return {PickOf<T, R>, ArgOf<T, R>, MergeArgOf<T, R>};
  }
}

template <class T>
constexpr PoolKernels<T> MakePool() {
  constexpr bool kOmits = !std::is_integral_v<T>;  // integers have nothing to omit
  PoolKernels<T> kernels{HWY_MAX_BYTES / sizeof(T),
                         {MakePick<T, false, false>(), MakePick<T, true, false>(),
                          MakePick<T, false, kOmits>(), MakePick<T, true, kOmits>()},
                         Split<T>,
                         Split<PoolNumber<T>>,
                         nullptr,
                         nullptr};
  if constexpr (!std::is_integral_v<T>) {
    kernels.sum = Sum<T>;
    kernels.divide = Divide<T>;
  }
  return kernels;
}

template <class T>
constexpr PoolKernels<T> kPool = MakePool<T>();

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_POOL_INL_H_
