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

// V neighbouring vectors of kLanes; unless they are whole, the last ends where the run does and may
// overlap those before it: it writes the same again.
template <size_t kLanes, size_t V, bool kWhole>
struct Block {
  Position begin;
  size_t last;  // where the last vector begins, from `begin` on
  HWY_INLINE Position operator[](size_t v) const {
    return begin + (kWhole ? v * kLanes : HWY_MIN(v * kLanes, last));
  }
};

// How many vectors are taken together, and how shorter ones are chosen. Elements of 64 bits, which
// are rare, have less code.
template <class T>
constexpr size_t kManyVectors = sizeof(T) < 8 ? 4 : 2;
template <class T>
constexpr size_t kShorterBy = sizeof(T) < 8 ? 2 : 4;

// Calls taps.Do(d, block) for up to Taps::kVectors vectors at a time, so that loads share that of a
// tap's pointer: 4 winners and 4 masks, or 4 totals and 4 parts, of 16 registers. A run shorter
// than a vector is taken in vectors Taps::kShorter times as short.
template <size_t kLanes, class T, class Taps>
HWY_INLINE void ForEachVector(const Runs& runs, const Taps& taps) {
  if constexpr (kLanes > 1) {
    constexpr size_t kFewer = kLanes > Taps::kShorter ? kLanes / Taps::kShorter : 1;
    if (runs.len < kLanes) return ForEachVector<kFewer, T>(runs, taps);
  }
  constexpr size_t V = kLanes == hn::MaxLanes(PoolTag<T>()) ? Taps::kVectors : 1;
  const hn::CappedTag<T, kLanes> d;
  for (size_t i = 0; i < runs.count; ++i) {
    const ptrdiff_t run = static_cast<ptrdiff_t>(i);
    const Position begin{run * runs.src_step, run * runs.out_step, run * runs.number_step};
    size_t j = 0;
    for (; j + V * kLanes <= runs.len; j += V * kLanes) {
      taps.Do(d, Block<kLanes, V, true>{begin + j, 0});
    }
    if (V > 2 && runs.len - j > 2 * kLanes) {
      taps.Do(d, Block<kLanes, HWY_MIN(V, 2), false>{begin + j, kLanes});
      j += 2 * kLanes;
    }
    const size_t rest = runs.len - j;
    if (V > 1 && rest > kLanes) {
      taps.Do(d, Block<kLanes, HWY_MIN(V, 2), false>{begin + j, rest - kLanes});
    } else if (rest > 0) {
      taps.Do(d, Block<kLanes, 1, true>{begin + (runs.len - kLanes), 0});
    }
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

// In which lanes a or b is a NaN.
template <class V>
HWY_INLINE auto EitherNaN(V a, V b) {
#if HWY_TARGET == HWY_AVX3
  using M = decltype(hn::IsNaN(a));
  if constexpr (std::is_same_v<decltype(a.raw), __m512>) {
    return M{_mm512_cmp_ps_mask(a.raw, b.raw, _CMP_UNORD_Q)};
  } else if constexpr (std::is_same_v<decltype(a.raw), __m512d>) {
    return M{_mm512_cmp_pd_mask(a.raw, b.raw, _CMP_UNORD_Q)};
  } else {
    return hn::Or(hn::IsNaN(a), hn::IsNaN(b));
  }
#elif HWY_TARGET == HWY_AVX2
  using M = decltype(hn::IsNaN(a));
  if constexpr (std::is_same_v<decltype(a.raw), __m256>) {
    return M{_mm256_cmp_ps(a.raw, b.raw, _CMP_UNORD_Q)};
  } else if constexpr (std::is_same_v<decltype(a.raw), __m256d>) {
    return M{_mm256_cmp_pd(a.raw, b.raw, _CMP_UNORD_Q)};
  } else {
    return hn::Or(hn::IsNaN(a), hn::IsNaN(b));
  }
#else
  return hn::Or(hn::IsNaN(a), hn::IsNaN(b));
#endif
}

// The winner of some elements, where NaNs win. They are counted beside Max or Min, which treat them
// differently on each target.
template <class T, class R, class D>
struct Winner {
  using V = hn::Vec<D>;
  static constexpr bool kCounts = R::kHasNaN;
  V best;
  hn::Mask<D> nan;

  explicit HWY_INLINE Winner(V x) : best(x) {
    if constexpr (kCounts) nan = hn::IsNaN(x);
  }
  HWY_INLINE Winner(V x, V y) : best(Better(y, x)) {
    if constexpr (kCounts) nan = EitherNaN(x, y);
  }
  HWY_INLINE Winner() = default;

  // With what comes later: of level elements the first one wins.
  HWY_INLINE void Join(const Winner& later) {
    best = Better(later.best, best);
    if constexpr (kCounts) nan = hn::Or(nan, later.nan);
  }
  HWY_INLINE void Join(V x) {
    best = Better(x, best);
    if constexpr (kCounts) nan = hn::Or(nan, hn::IsNaN(x));
  }
  HWY_INLINE void Join(V x, V y) {
    best = Better(y, Better(x, best));
    if constexpr (kCounts) nan = hn::Or(nan, EitherNaN(x, y));
  }
  HWY_INLINE V Value(D d) const {
    if constexpr (kCounts) return hn::IfThenElse(nan, hn::NaN(d), best);
    return best;
  }

 private:
  static HWY_INLINE V Better(V x, V best) { return R::Better(x, best); }
};

// The winner of x_t.
template <class T, class R>
struct PickTaps {
  static constexpr size_t kVectors = kManyVectors<T>, kShorter = kShorterBy<T>;
  const T* const* src;
  size_t count;
  T* out;

  template <size_t kLanes, size_t V, bool kWhole, class D>
  HWY_INLINE void Do(D d, const Block<kLanes, V, kWhole>& at) const {
    Winner<T, R, D> won[V];
    for (size_t v = 0; v < V; ++v) won[v] = Winner<T, R, D>(hn::LoadU(d, src[0] + at[v].src));
    size_t t = 1;
    for (; t + 1 < count; t += 2) {
      const T *x = src[t], *y = src[t + 1];
      for (size_t v = 0; v < V; ++v) {
        won[v].Join(hn::LoadU(d, x + at[v].src), hn::LoadU(d, y + at[v].src));
      }
    }
    if (t < count) {
      for (size_t v = 0; v < V; ++v) won[v].Join(hn::LoadU(d, src[t] + at[v].src));
    }
    for (size_t v = 0; v < V; ++v) hn::StoreU(won[v].Value(d), d, out + at[v].out);
  }
};

// The winner of row[2j + t].
template <class T, class R, class D>
HWY_INLINE void PickOfPairs(D d, const T* row, size_t taps, T* out) {
  hn::Vec<D> even, odd;
  hn::LoadInterleaved2(d, row, even, odd);
  Winner<T, R, D> won(even, odd);
  size_t t = 2;
  for (; t + 1 < taps; t += 2) {
    hn::LoadInterleaved2(d, row + t, even, odd);
    won.Join(even, odd);
  }
  if (t < taps) {  // the later of a pair, so that nothing beyond it is read
    hn::LoadInterleaved2(d, row + t - 1, even, odd);
    won.Join(odd);
  }
  hn::StoreU(won.Value(d), d, out);
}

template <class T, class R>
void PickPairs(const T* row, size_t taps, const Runs& runs, T* out) {
  const PoolTag<T> d;
  const hn::CappedTag<T, 16 / sizeof(T)> half;
  const hn::CappedTag<T, 1> one;
  const size_t lanes = hn::Lanes(d), few = hn::Lanes(half);
  for (size_t i = 0; i < runs.count; ++i, row += runs.src_step, out += runs.out_step) {
    size_t j = 0;
    if (runs.len >= lanes) {
      for (; j + lanes <= runs.len; j += lanes) PickOfPairs<T, R>(d, row + 2 * j, taps, out + j);
      j = HWY_MIN(j, runs.len - lanes);
      PickOfPairs<T, R>(d, row + 2 * j, taps, out + j);
    } else if (runs.len >= few) {
      for (; j + few < runs.len; j += few) PickOfPairs<T, R>(half, row + 2 * j, taps, out + j);
      j = runs.len - few;
      PickOfPairs<T, R>(half, row + 2 * j, taps, out + j);
    } else {
      for (; j < runs.len; ++j) {
        Winner<T, R, decltype(one)> won(hn::LoadU(one, row + 2 * j));
        for (size_t t = 1; t < taps; ++t) won.Join(hn::LoadU(one, row + 2 * j + t));
        hn::StoreU(won.Value(one), one, out + j);
      }
    }
  }
}

// The winner of x_t and the id of the first t that has it.
template <class T, class R>
struct ArgTaps {
  static constexpr size_t kVectors = kManyVectors<T>, kShorter = kShorterBy<T>;
  const T* const* src;
  const PoolNumber<T>* ids;
  size_t count;
  T* out;
  PoolNumber<T>* numbers;

  template <size_t kLanes, size_t V, bool kWhole, class D>
  HWY_INLINE void Do(D d, const Block<kLanes, V, kWhole>& at) const {
    const hn::Rebind<PoolNumber<T>, D> dn;
    using Vec = hn::Vec<D>;
    Vec best[V];
    hn::Vec<decltype(dn)> number[V];
    for (size_t v = 0; v < V; ++v) {
      best[v] = hn::LoadU(d, src[0] + at[v].src);
      number[v] = hn::Set(dn, ids[0]);
    }
    for (size_t t = 1; t < count; ++t) {
      const T* HWY_RESTRICT tap = src[t];
      const auto id = hn::Set(dn, ids[t]);
      for (size_t v = 0; v < V; ++v) {
        const Vec x = hn::LoadU(d, tap + at[v].src);
        const auto wins = R::Wins(x, best[v]);
        best[v] = hn::IfThenElse(wins, x, best[v]);
        number[v] = hn::IfThenElse(hn::RebindMask(dn, wins), id, number[v]);
      }
    }
    for (size_t v = 0; v < V; ++v) {
      hn::StoreU(best[v], d, out + at[v].out);
      hn::StoreU(number[v], dn, numbers + at[v].number);
    }
  }
};

// The same for x_t that carry numbers: of level ones the smallest number wins.
template <class T, class R>
struct MergeArgTaps {
  static constexpr size_t kVectors = kManyVectors<T> / 2, kShorter = kShorterBy<T>;
  const T* const* src;
  const PoolNumber<T>* const* src_numbers;
  const PoolNumber<T>* ids;
  size_t count;
  T* out;
  PoolNumber<T>* numbers;

  template <size_t kLanes, size_t V, bool kWhole, class D>
  HWY_INLINE void Do(D d, const Block<kLanes, V, kWhole>& at) const {
    const hn::Rebind<PoolNumber<T>, D> dn;
    for (size_t v = 0; v < V; ++v) {
      auto best = hn::LoadU(d, src[0] + at[v].src);
      auto number = hn::Add(hn::LoadU(dn, src_numbers[0] + at[v].src), hn::Set(dn, ids[0]));
      for (size_t t = 1; t < count; ++t) {
        const auto x = hn::LoadU(d, src[t] + at[v].src);
        const auto id = hn::Add(hn::LoadU(dn, src_numbers[t] + at[v].src), hn::Set(dn, ids[t]));
        const auto before = hn::RebindMask(d, hn::Lt(id, number));
        const auto wins = hn::Or(R::Wins(x, best), hn::And(R::Level(x, best), before));
        best = hn::IfThenElse(wins, x, best);
        number = hn::IfThenElse(hn::RebindMask(dn, wins), id, number);
      }
      hn::StoreU(best, d, out + at[v].out);
      hn::StoreU(number, dn, numbers + at[v].number);
    }
  }
};

// Σ_t x_t, block by block.
template <class T>
struct SumTaps {
  static constexpr size_t kVectors = 4, kShorter = 2;
  const T* const* src;
  size_t count, first, block;
  T* out;

  template <size_t kLanes, size_t V, bool kWhole, class D>
  HWY_INLINE void Do(D d, const Block<kLanes, V, kWhole>& at) const {
    using Vec = hn::Vec<D>;
    Vec total[V], part[V];
    for (size_t v = 0; v < V; ++v) total[v] = hn::Zero(d);
    for (size_t t = 0, end = first; t < count; end = t + block) {
      for (size_t v = 0; v < V; ++v) part[v] = hn::Zero(d);
      for (; t < HWY_MIN(end, count); ++t) {
        const T* HWY_RESTRICT tap = src[t];
        for (size_t v = 0; v < V; ++v) {
          part[v] = hn::Add(part[v], hn::LoadU(d, tap + at[v].src));
        }
      }
      for (size_t v = 0; v < V; ++v) total[v] = hn::Add(total[v], part[v]);
    }
    for (size_t v = 0; v < V; ++v) hn::StoreU(total[v], d, out + at[v].out);
  }
};

// The same for four integers of one run of at least a vector: what cascades of windows do most.
template <class T, class R>
HWY_INLINE void PickFour(const T* const* src, size_t n, T* out) {
  const PoolTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const T *HWY_RESTRICT a = src[0], *HWY_RESTRICT b = src[1];
  const T *HWY_RESTRICT c = src[2], *HWY_RESTRICT e = src[3];
  const auto pick = [&](size_t i) HWY_ATTR {
    const auto first = R::Better(hn::LoadU(d, b + i), hn::LoadU(d, a + i));
    const auto last = R::Better(hn::LoadU(d, e + i), hn::LoadU(d, c + i));
    hn::StoreU(R::Better(last, first), d, out + i);
  };
  size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    pick(i);
    pick(i + lanes);
  }
  if (i + lanes <= n) pick(i);
  pick(n - lanes);
}

template <class T, class R>
void PickOf(const T* const* src, size_t taps, const Runs& runs, T* out) {
  if constexpr (std::is_integral_v<T>) {
    if (taps == 4 && runs.count == 1 && runs.len >= hn::Lanes(PoolTag<T>())) {
      return PickFour<T, R>(src, runs.len, out);
    }
  }
  ForEachVector<T>(runs, PickTaps<T, R>{src, taps, out});
}

// PickSlides for one vector of each element.
template <class T, class R, class D>
HWY_INLINE void SlideVector(D d, const T* HWY_RESTRICT x, size_t window, size_t stride,
                            const Runs& runs, T* HWY_RESTRICT spare, T* HWY_RESTRICT out) {
  const size_t lanes = hn::Lanes(d);
  const ptrdiff_t step = runs.src_step;
  const T* block = x;
  // Output o begins `e` elements into the block.
  for (size_t o = 0, e = 0; o < runs.count; e -= window, block += window * step) {
    const T* tap = block + (window - 1) * step;
    auto best = hn::LoadU(d, tap);
    for (size_t t = window - 1; t > e; --t) {
      hn::StoreU(best, d, spare + t * lanes);
      tap -= step;
      best = R::Better(hn::LoadU(d, tap), best);
    }
    hn::StoreU(best, d, spare + e * lanes);
    if (e == 0) {
      hn::StoreU(best, d, out);
      out += runs.out_step;
      e = stride;
      ++o;
    }
    tap = block + window * step;
    if (o < runs.count && e < window) best = hn::LoadU(d, tap);
    for (size_t t = 1; o < runs.count && e < window; ++o, e += stride, out += runs.out_step) {
      for (; t < e; ++t) {
        tap += step;
        best = R::Better(hn::LoadU(d, tap), best);
      }
      hn::StoreU(R::Better(best, hn::LoadU(d, spare + e * lanes)), d, out);
    }
  }
}

template <class T, class R>
void PickSlides(const T* x, size_t window, size_t stride, const Runs& runs, T* spare, T* out) {
  const PoolTag<T> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t j = 0; j < runs.len; j += lanes) {
    const size_t at = HWY_MIN(j, runs.len - lanes);
    SlideVector<T, R>(d, x + at, window, stride, runs, spare, out + at);
  }
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

template <class T>
void DivideEach(T* values, size_t n, const T* divisors) {
  const PoolTag<T> d;
  MapVectors(d, values, n, values, [&](auto v, size_t i) HWY_ATTR {
    const size_t left = n - i;
    const auto divisor =
        left < hn::Lanes(d) ? LoadFirst(d, divisors + i, left, T(1)) : hn::LoadU(d, divisors + i);
    return hn::Div(v, divisor);
  });
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

// Numbers to keys and back: but for NaN, the bits below the sign are flipped where it is set.
template <class D, class V = hn::Vec<D>, class T = hn::TFromD<D>>
HWY_INLINE V FlipNegative(D d, V bits) {
  return hn::Xor(bits, hn::And(hn::BroadcastSignBit(bits), hn::Set(d, hwy::LimitsMax<T>())));
}
template <class D, class V = hn::Vec<D>, class T = hn::TFromD<D>>
HWY_INLINE V ReplaceNaN(D d, V keys, T infinity, V other, V by) {
  const auto beyond = hn::Or(hn::Gt(keys, hn::Set(d, infinity)),
                             hn::Lt(keys, hn::Set(d, static_cast<T>(~infinity))));
  return hn::IfThenElse(beyond, by, other);
}

template <class T>
void ToKeys(const T* from, const Runs& runs, const FloatKeys<T>& keys, T* to) {
  const PoolTag<T> d;
  const size_t lanes = hn::Lanes(d);
  const auto key_of = [&](auto bits, size_t) HWY_ATTR {
    const auto key = FlipNegative(d, bits);
    return ReplaceNaN(d, key, keys.infinity, key, hn::Set(d, keys.nan));
  };
  const bool one_vector = runs.len == lanes;  // as some of a pixel's channels often are
  for (size_t i = 0; i < runs.count; ++i, from += runs.src_step, to += runs.out_step) {
    if (one_vector) {
      hn::StoreU(key_of(hn::LoadU(d, from), 0), d, to);
    } else {
      MapVectors(d, from, runs.len, to, key_of);
    }
  }
}

template <class T>
void FromKeys(T* values, size_t n, const FloatKeys<T>& keys) {
  const PoolTag<T> d;
  MapVectors(d, values, n, values, [&](auto key, size_t) HWY_ATTR {
    return ReplaceNaN(d, key, keys.infinity, FlipNegative(d, key), hn::Set(d, keys.nan_bits));
  });
}

template <class T, bool kSmallest, bool kOmitNaN>
constexpr PickKernels<T> MakePick() {
  using R = Rule<T, kSmallest, kOmitNaN>;
  PickKernels<T> kernels{};
  if constexpr (sizeof(T) >= 4) {
    kernels.arg = ArgOf<T, R>;
    kernels.merge_arg = MergeArgOf<T, R>;
  }
  if constexpr (!R::kHasNaN || !kOmitNaN) {
    kernels.pick = PickOf<T, R>;
    if constexpr (sizeof(T) < 8) kernels.pick_pairs = PickPairs<T, R>;
    if constexpr (!R::kHasNaN) kernels.pick_slides = PickSlides<T, R>;
  }
  return kernels;
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
                         nullptr,
                         nullptr,
                         nullptr,
                         nullptr};
  if constexpr (std::is_integral_v<T> && std::is_signed_v<T> && sizeof(T) > 1) {
    kernels.to_keys = ToKeys<T>;
    kernels.from_keys = FromKeys<T>;
  }
  if constexpr (!std::is_integral_v<T>) {
    kernels.sum = Sum<T>;
    kernels.divide = Divide<T>;
    kernels.divide_each = DivideEach<T>;
  }
  return kernels;
}

template <class T>
constexpr PoolKernels<T> kPool = MakePool<T>();

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_POOL_INL_H_
