// Softmax, log-softmax, their gradients and log-sum-exp, in phases: max, sum, total, apply. Each
// phase exists for a row (vectors run along the axis) and for a panel (vectors run across NR
// positions); the formulas are written once, and both give the same bits. Included once per SIMD
// target.
#if defined(LANEWISE_KERNELS_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_SOFTMAX_INL_H_
#undef LANEWISE_KERNELS_SOFTMAX_INL_H_
#else
#define LANEWISE_KERNELS_SOFTMAX_INL_H_
#endif

#include <algorithm>
#include <limits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/math-inl.h"
#include "kernels/transpose-inl.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T>
using SoftmaxTag = hn::ScalableTag<T>;

// Four vectors of partial sums cover the latency of an addition (3-4 cycles, two per cycle at
// most, beside the exponential).
constexpr size_t kPartialVectors = 4;
template <class T>
constexpr size_t kPartials = kPartialVectors* HWY_MAX_BYTES / sizeof(T);

// A panel is a cache line wide.
template <class T>
constexpr size_t kPanelNR = 64 / sizeof(T);
constexpr size_t kPanelVectors = 64 / HWY_MAX_BYTES;

// ---------------------------------------------------------------------------------------- formulas
// Each has
//   Add(d, a, b, max, sums)       adds one element's terms to the sums; returns what is stored
//   Total(d, sums, max)           what Apply needs of the finished sums
//   Apply(d, a, b, max, total)    the result; `a` is what Add stored, if it stores
// kFill stands for `a` past the end of the axis (0 for b): its terms are 0.

// y = e / Σ e, e = exp(x - max)
struct SoftmaxFormula {
  static constexpr bool kReadsB = false, kUsesMax = true, kStores = true;
  static constexpr size_t kSums = 1;
  static constexpr double kFill = -std::numeric_limits<double>::infinity();

  template <class D, class V>
  static HWY_INLINE V Add(D d, V x, V, V max, V* sums) {
    const V e = math::ExpNegative(d, hn::Sub(x, max));
    sums[0] = hn::Add(sums[0], e);
    return e;
  }
  template <class D, class V>
  static HWY_INLINE V Total(D d, const V* sums, V) {
    return hn::Div(hn::Set(d, 1), sums[0]);
  }
  template <class D, class V>
  static HWY_INLINE V Apply(D, V e, V, V, V reciprocal) {
    return hn::Mul(e, reciprocal);
  }
};

// y = (x - max) - log1p(s), s = Σ_{x < max} exp(x - max) + (number of x equal to max) - 1.
// The maximum's own term, exactly 1, is left out of the sum: next to it small terms would be lost,
// and with them all digits of the largest y. x - max is NaN where max is infinite, so it is
// neither below nor equal, and makes the row NaN.
struct LogSoftmaxFormula {
  static constexpr bool kReadsB = false, kUsesMax = true, kStores = false;
  static constexpr size_t kSums = 2;
  static constexpr double kFill = -std::numeric_limits<double>::infinity();

  template <class D, class V>
  static HWY_INLINE V Add(D d, V x, V, V max, V* sums) {
    AddDifference(d, hn::Sub(x, max), sums);
    return x;
  }
  template <class D, class V>
  static HWY_INLINE void AddDifference(D d, V difference, V* sums) {
    const auto is_max = hn::Eq(difference, hn::Zero(d));
    sums[0] = hn::Add(sums[0], hn::IfThenZeroElse(is_max, math::ExpNegative(d, difference)));
    sums[1] = hn::Add(sums[1], hn::IfThenElseZero(is_max, hn::Set(d, 1)));
  }
  template <class D, class V>
  static HWY_INLINE V Total(D d, const V* sums, V) {
    return math::Log1p(d, hn::Add(sums[0], hn::Sub(sums[1], hn::Set(d, 1))));
  }
  template <class D, class V>
  static HWY_INLINE V Apply(D, V x, V, V max, V log_sum) {
    return hn::Sub(hn::Sub(x, max), log_sum);
  }
};

// dx = y·(dy - Σ dy·y)
struct SoftmaxBackwardFormula {
  static constexpr bool kReadsB = true, kUsesMax = false, kStores = false;
  static constexpr size_t kSums = 1;
  static constexpr double kFill = 0;

  template <class D, class V>
  static HWY_INLINE V Add(D, V dy, V y, V, V* sums) {
    sums[0] = hn::MulAdd(dy, y, sums[0]);
    return dy;
  }
  template <class D, class V>
  static HWY_INLINE V Total(D, const V* sums, V) {
    return sums[0];
  }
  template <class D, class V>
  static HWY_INLINE V Apply(D, V dy, V y, V, V dot) {
    return hn::Mul(y, hn::Sub(dy, dot));
  }
};

// dx = dy - exp(y)·Σ dy
struct LogSoftmaxBackwardFormula {
  static constexpr bool kReadsB = true, kUsesMax = false, kStores = false;
  static constexpr size_t kSums = 1;
  static constexpr double kFill = 0;

  template <class D, class V>
  static HWY_INLINE V Add(D, V dy, V, V, V* sums) {
    sums[0] = hn::Add(sums[0], dy);
    return dy;
  }
  template <class D, class V>
  static HWY_INLINE V Total(D, const V* sums, V) {
    return sums[0];
  }
  template <class D, class V>
  static HWY_INLINE V Apply(D d, V dy, V y, V, V sum) {
    return hn::NegMulAdd(math::Exp(d, y), sum, dy);
  }
};

// max + log1p(s), s as in LogSoftmaxFormula. An infinite maximum is not taken off; s is then NaN if
// and only if the row holds a NaN, and the maximum itself is the result if not.
struct LogSumExpFormula {
  static constexpr bool kReadsB = false, kUsesMax = true, kStores = false;
  static constexpr size_t kSums = 2;
  static constexpr double kFill = -std::numeric_limits<double>::infinity();

  template <class D, class V>
  static HWY_INLINE V Add(D d, V x, V, V max, V* sums) {
    const V difference = hn::Sub(x, hn::IfThenElseZero(IsFinite(d, max), max));
    LogSoftmaxFormula::AddDifference(d, math::AtMost(d, difference, 0), sums);
    return x;
  }
  template <class D, class V>
  static HWY_INLINE V Total(D d, const V* sums, V max) {
    const V finite = hn::Add(max, LogSoftmaxFormula::Total(d, sums, max));
    const V infinite = hn::IfThenElse(hn::Eq(sums[0], sums[0]), max, sums[0]);
    return hn::IfThenElse(IsFinite(d, max), finite, infinite);
  }

 private:
  template <class D, class V>
  static HWY_INLINE hn::Mask<D> IsFinite(D d, V v) {
    using T = hn::TFromD<D>;
    return hn::Lt(hn::Abs(v), hn::Set(d, std::numeric_limits<T>::infinity()));
  }
};

// `count` is a multiple of the vector; so short that a call of memset would show.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void SetZero(D d, T* p, size_t count) {
  for (size_t i = 0; i < count; i += hn::Lanes(d)) hn::StoreU(hn::Zero(d), d, p + i);
}

// -------------------------------------------------------------------------------------------- rows

// Whether a NaN wins here is left open: it comes back in x - max, and the sum then takes it on.
template <class T>
void RowMax(const T* x, size_t n, bool first, T* max) {
  const SoftmaxTag<T> d;
  const size_t lanes = hn::Lanes(d);
  constexpr T kLowest = -std::numeric_limits<T>::infinity();
  auto m0 = hn::Set(d, first ? kLowest : *max), m1 = m0, m2 = m0, m3 = m0;
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    m0 = hn::Max(hn::LoadU(d, x + i), m0);
    m1 = hn::Max(hn::LoadU(d, x + i + lanes), m1);
    m2 = hn::Max(hn::LoadU(d, x + i + 2 * lanes), m2);
    m3 = hn::Max(hn::LoadU(d, x + i + 3 * lanes), m3);
  }
  for (; i + lanes <= n; i += lanes) m0 = hn::Max(hn::LoadU(d, x + i), m0);
  if (i < n) m1 = hn::Max(LoadFirst(d, x + i, n - i, kLowest), m1);
  *max = hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(m0, m1), hn::Max(m2, m3))));
}

// What is done for another row while this one's exponentials are summed: fetch the next one, which
// takes softmax of 256 rows of 50257 from 2.9 to 2.5 ms, or take a row's maximum.
template <class T>
struct NoRowAhead {
  HWY_INLINE void Take(SoftmaxTag<T>, const T* a, size_t at, size_t, size_t n) {
    hwy::Prefetch(a + at + n);
  }
  HWY_INLINE void TakeFirst(SoftmaxTag<T>, size_t, size_t) {}
};
template <class T>
struct RowAhead {
  using V = hn::Vec<SoftmaxTag<T>>;
  const T* row;
  V max[kPartialVectors];

  HWY_INLINE void Take(SoftmaxTag<T> d, const T*, size_t at, size_t k, size_t) {
    max[k] = hn::Max(hn::LoadU(d, row + at), max[k]);
  }
  HWY_INLINE void TakeFirst(SoftmaxTag<T> d, size_t at, size_t count) {
    max[0] = hn::Max(LoadFirst(d, row + at, count, -std::numeric_limits<T>::infinity()), max[0]);
  }
};

template <class T, class F, class Ahead>
HWY_INLINE void SumRow(const T* a, const T* b, size_t n, const T* max, bool first, T* stored,
                       T* partials, Ahead& ahead) {
  const SoftmaxTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  if (first) SetZero(d, partials, F::kSums * kPartials<T>);
  const V m = F::kUsesMax ? hn::Set(d, *max) : hn::Zero(d);

  size_t i = 0;
  if (n >= kPartials<T>) {
    V sums[kPartialVectors][F::kSums];
    for (size_t k = 0; k < kPartialVectors; ++k) {
      for (size_t s = 0; s < F::kSums; ++s) {
        sums[k][s] = hn::LoadU(d, partials + s * kPartials<T> + k * lanes);
      }
    }
    for (; i + kPartials<T> <= n; i += kPartials<T>) {
      for (size_t k = 0; k < kPartialVectors; ++k) {
        const size_t at = i + k * lanes;
        if (F::kUsesMax) ahead.Take(d, a, at, k, n);
        const V term = F::Add(d, hn::LoadU(d, a + at),
                              F::kReadsB ? hn::LoadU(d, b + at) : hn::Zero(d), m, sums[k]);
        if (F::kStores) hn::StoreU(term, d, stored + at);
      }
    }
    for (size_t k = 0; k < kPartialVectors; ++k) {
      for (size_t s = 0; s < F::kSums; ++s) {
        hn::StoreU(sums[k][s], d, partials + s * kPartials<T> + k * lanes);
      }
    }
  }

  // The rest, a vector at a time, the last one filled up.
  for (T* partial = partials; i < n; i += lanes, partial += lanes) {
    const size_t count = std::min(lanes, n - i);
    V sums[F::kSums];
    for (size_t s = 0; s < F::kSums; ++s) sums[s] = hn::LoadU(d, partial + s * kPartials<T>);
    ahead.TakeFirst(d, i, count);
    const V term = F::Add(d, LoadFirst(d, a + i, count, static_cast<T>(F::kFill)),
                          F::kReadsB ? LoadFirst(d, b + i, count) : hn::Zero(d), m, sums);
    if (F::kStores) StoreFirst(term, d, stored + i, count);
    for (size_t s = 0; s < F::kSums; ++s) hn::StoreU(sums[s], d, partial + s * kPartials<T>);
  }
}

template <class T, class F>
void RowSum(const T* a, const T* b, size_t n, const T* max, bool first, T* stored, T* partials) {
  NoRowAhead<T> none;
  SumRow<T, F>(a, b, n, max, first, stored, partials, none);
}

template <class T, class F>
void RowSumAhead(const T* a, size_t n, const T* max, T* stored, T* partials, const T* next,
                 T* next_max) {
  const SoftmaxTag<T> d;
  const auto lowest = hn::Set(d, -std::numeric_limits<T>::infinity());
  RowAhead<T> ahead{next, {lowest, lowest, lowest, lowest}};
  SumRow<T, F>(a, nullptr, n, max, true, stored, partials, ahead);
  *next_max = hn::GetLane(hn::MaxOfLanes(
      d, hn::Max(hn::Max(ahead.max[0], ahead.max[1]), hn::Max(ahead.max[2], ahead.max[3]))));
}

// The tree p[j] += p[j + half], half = B/2 … 1, down to one lane.
template <class D, class V>
HWY_INLINE hn::TFromD<D> SumTree(D d, V v) {
  using T = hn::TFromD<D>;
  if constexpr (hn::MaxLanes(d) * sizeof(T) > 16) {
    const hn::Half<D> half;
    return SumTree(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else if constexpr (sizeof(T) == 8) {
    return hn::GetLane(hn::Add(v, hn::Shuffle01(v)));
  } else {
    const V two = hn::Add(v, hn::Shuffle1032(v));
    return hn::GetLane(hn::Add(two, hn::Shuffle2301(two)));
  }
}

// The last + 0 turns -0 into 0, so that a sum of zeros does not depend on whether absent elements
// took part as zeros (here) or not (panels).
template <class T, class F>
void RowTotal(size_t, T* partials, const T* max, T* total) {
  static_assert(kPartialVectors == 4);
  const SoftmaxTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  V sums[F::kSums];
  for (size_t s = 0; s < F::kSums; ++s) {
    const T* p = partials + s * kPartials<T>;
    const V even = hn::Add(hn::LoadU(d, p), hn::LoadU(d, p + 2 * lanes));
    const V odd = hn::Add(hn::LoadU(d, p + lanes), hn::LoadU(d, p + 3 * lanes));
    sums[s] = hn::Set(d, SumTree(d, hn::Add(even, odd)) + T(0));
  }
  *total = hn::GetLane(F::Total(d, sums, F::kUsesMax ? hn::Set(d, *max) : hn::Zero(d)));
}

template <class T, class F>
void RowApply(const T* a, const T* b, size_t n, const T* max, const T* total, T* out) {
  const SoftmaxTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const V m = F::kUsesMax ? hn::Set(d, *max) : hn::Zero(d), t = hn::Set(d, *total);
  MapVectors(d, a, n, out, [&](V value, size_t i) HWY_ATTR {
    if (F::kStores) hwy::Prefetch(out + i + n);
    V other = hn::Zero(d);
    if (F::kReadsB) other = i + lanes <= n ? hn::LoadU(d, b + i) : LoadFirst(d, b + i, n - i);
    return F::Apply(d, value, other, m, t);
  });
}

// RowApply past the caches: whole vectors where `out` is aligned, the rest through them.
template <class T, class F>
void RowStream(const T* a, const T* b, size_t n, const T* max, const T* total, T* out) {
  const SoftmaxTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d), size = lanes * sizeof(T);
  const size_t past = reinterpret_cast<uintptr_t>(out) % size;
  const size_t head = std::min(n, past == 0 ? 0 : (size - past) / sizeof(T));
  const V m = F::kUsesMax ? hn::Set(d, *max) : hn::Zero(d), t = hn::Set(d, *total);
  RowApply<T, F>(a, b, head, max, total, out);
  size_t i = head;
  for (; i + lanes <= n; i += lanes) {
    const V other = F::kReadsB ? hn::LoadU(d, b + i) : hn::Zero(d);
    hn::Stream(F::Apply(d, hn::LoadU(d, a + i), other, m, t), d, out + i);
  }
  RowApply<T, F>(a + i, F::kReadsB ? b + i : nullptr, n - i, max, total, out + i);
}

inline void Flush() { hwy::FlushStream(); }

// ------------------------------------------------------------------------------------------ panels

template <class T>
void PanelMax(const T* x, size_t n, bool first, T* max) {
  const SoftmaxTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  V m[kPanelVectors];
  for (size_t v = 0; v < kPanelVectors; ++v) {
    m[v] = first ? hn::Set(d, -std::numeric_limits<T>::infinity()) : hn::Load(d, max + v * lanes);
  }
  for (size_t i = 0; i < n; ++i, x += kPanelNR<T>) {
    for (size_t v = 0; v < kPanelVectors; ++v) m[v] = hn::Max(hn::Load(d, x + v * lanes), m[v]);
  }
  for (size_t v = 0; v < kPanelVectors; ++v) hn::Store(m[v], d, max + v * lanes);
}

template <class T, class F>
void PanelSum(const T* a, const T* b, size_t n, const T* max, bool first, T* stored, T* partials) {
  const SoftmaxTag<T> d;
  using V = hn::Vec<decltype(d)>;
  constexpr size_t kNR = kPanelNR<T>, kSumStride = kPartials<T> * kNR;
  const size_t lanes = hn::Lanes(d);
  V m[kPanelVectors];
  for (size_t v = 0; v < kPanelVectors; ++v) {
    m[v] = F::kUsesMax ? hn::Load(d, max + v * lanes) : hn::Zero(d);
  }
  const auto add = [&](size_t i, bool first_term) HWY_ATTR {
    T* partial = partials + i % kPartials<T> * kNR;
    for (size_t v = 0; v < kPanelVectors; ++v, partial += lanes) {
      const size_t at = i * kNR + v * lanes;
      V sums[F::kSums];
      for (size_t s = 0; s < F::kSums; ++s) {
        sums[s] = first_term ? hn::Zero(d) : hn::Load(d, partial + s * kSumStride);
      }
      const V term = F::Add(d, hn::Load(d, a + at), F::kReadsB ? hn::Load(d, b + at) : hn::Zero(d),
                            m[v], sums);
      if (F::kStores) hn::Store(term, d, stored + at);
      for (size_t s = 0; s < F::kSums; ++s) hn::Store(sums[s], d, partial + s * kSumStride);
    }
  };
  size_t i = 0;
  for (; first && i < std::min(n, kPartials<T>); ++i) add(i, true);
  for (; i < n; ++i) add(i, false);
}

// RowTotal's tree, without the partial sums that no element went to.
template <class T, class F>
void PanelTotal(size_t n, T* partials, const T* max, T* totals) {
  const SoftmaxTag<T> d;
  using V = hn::Vec<decltype(d)>;
  constexpr size_t kNR = kPanelNR<T>;
  const size_t used = std::min(n, kPartials<T>);
  for (size_t v = 0; v < kPanelVectors; ++v) {
    V sums[F::kSums];
    for (size_t s = 0; s < F::kSums; ++s) {
      T* p = partials + s * kPartials<T> * kNR + v * hn::Lanes(d);
      for (size_t half = kPartials<T> / 2; half >= 1; half /= 2) {
        for (size_t j = 0; j < half && j + half < used; ++j) {
          hn::Store(hn::Add(hn::Load(d, p + j * kNR), hn::Load(d, p + (j + half) * kNR)), d,
                    p + j * kNR);
        }
      }
      sums[s] = hn::Add(hn::Load(d, p), hn::Zero(d));
    }
    const V m = F::kUsesMax ? hn::Load(d, max + v * hn::Lanes(d)) : hn::Zero(d);
    hn::Store(F::Total(d, sums, m), d, totals + v * hn::Lanes(d));
  }
}

template <class T, class F>
void PanelApply(const T* a, const T* b, size_t n, const T* max, const T* totals, T* out) {
  const SoftmaxTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  V m[kPanelVectors], t[kPanelVectors];
  for (size_t v = 0; v < kPanelVectors; ++v) {
    m[v] = F::kUsesMax ? hn::Load(d, max + v * lanes) : hn::Zero(d);
    t[v] = hn::Load(d, totals + v * lanes);
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t v = 0; v < kPanelVectors; ++v) {
      const size_t at = i * kPanelNR<T> + v * lanes;
      hn::Store(F::Apply(d, hn::Load(d, a + at), F::kReadsB ? hn::Load(d, b + at) : hn::Zero(d),
                         m[v], t[v]),
                d, out + at);
    }
  }
}

// ----------------------------------------------------------------------------------------- columns

constexpr ptrdiff_t kRowsAhead = 8;  // are fetched

// Row by row, as far as a row goes: a panel's own 64 bytes of each would keep no prefetcher busy.
template <class T>
void PackColumns(const T* from, ptrdiff_t step, const SoftmaxColumns& columns, T* panels, T* max) {
  constexpr size_t kNR = kPanelNR<T>;
  const SoftmaxTag<T> d;
  const size_t lanes = hn::Lanes(d), width = columns.width;
  const size_t padded = (width + kNR - 1) / kNR * kNR;
  if (max != nullptr) {
    const auto lowest = hn::Set(d, -std::numeric_limits<T>::infinity());
    for (size_t k = 0; k < padded; k += lanes) hn::Store(lowest, d, max + k);
  }
  for (size_t i = 0; i < columns.n; ++i, from += step) {
    const auto take = [&](size_t k, hn::Vec<decltype(d)> v) HWY_ATTR {
      hn::Store(v, d, panels + k / kNR * columns.size + i * kNR + k % kNR);
      if (max != nullptr) hn::Store(hn::Max(v, hn::Load(d, max + k)), d, max + k);
    };
    size_t k = 0;
    for (; k + lanes <= width; k += lanes) {
      hwy::Prefetch(from + kRowsAhead * step + k);
      take(k, hn::LoadU(d, from + k));
    }
    if (k < width) take(k, LoadFirst(d, from + k, width - k)), k += lanes;
    if (k < padded) take(k, hn::Zero(d));
  }
}

template <class T, class F>
void ApplyColumns(const T* a, const T* b, const SoftmaxColumns& columns, const T* max,
                  const T* totals, T* out, ptrdiff_t step, bool past_caches) {
  constexpr size_t kNR = kPanelNR<T>;
  const SoftmaxTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d), size = lanes * sizeof(T), width = columns.width;
  const bool aligned =
      reinterpret_cast<uintptr_t>(out) % size == 0 && static_cast<size_t>(step) % lanes == 0;
  const auto apply = [&](size_t i, size_t k) HWY_ATTR {
    const size_t at = k / kNR * columns.size + i * kNR + k % kNR;
    return F::Apply(d, hn::Load(d, a + at), F::kReadsB ? hn::Load(d, b + at) : hn::Zero(d),
                    F::kUsesMax ? hn::Load(d, max + k) : hn::Zero(d), hn::Load(d, totals + k));
  };
  for (size_t i = 0; i < columns.n; ++i, out += step) {
    size_t k = 0;
    if (past_caches && aligned) {
      for (; k + lanes <= width; k += lanes) hn::Stream(V(apply(i, k)), d, out + k);
    }
    for (; k + lanes <= width; k += lanes) {
      hwy::Prefetch(out + kRowsAhead * step + k);
      hn::StoreU(V(apply(i, k)), d, out + k);
    }
    if (k < width) StoreFirst(V(apply(i, k)), d, out + k, width - k);
  }
}

// -------------------------------------------------------------------------------------- short rows

// A panel of `count` rows, with zeros in the lanes of those that are missing.
template <class T>
HWY_INLINE void LoadPanel(const T* rows, size_t step, size_t count, size_t n, T* panel) {
  const SoftmaxTag<T> d;
  hn::Vec<decltype(d)> v[3];
  if (count < kPanelNR<T>) {
    SetZero(d, panel, n * kPanelNR<T>);
  } else if (n == 2 && step == 2) {
    for (size_t first = 0; first < kPanelNR<T>; first += hn::Lanes(d)) {
      hn::LoadInterleaved2(d, rows + 2 * first, v[0], v[1]);
      for (size_t i = 0; i < 2; ++i) hn::Store(v[i], d, panel + i * kPanelNR<T> + first);
    }
    return;
  } else if (n == 3 && step == 3) {
    for (size_t first = 0; first < kPanelNR<T>; first += hn::Lanes(d)) {
      hn::LoadInterleaved3(d, rows + 3 * first, v[0], v[1], v[2]);
      for (size_t i = 0; i < 3; ++i) hn::Store(v[i], d, panel + i * kPanelNR<T> + first);
    }
    return;
  }
  TransposeBlock(rows, step, count, n, panel, kPanelNR<T>);
}

template <class T>
HWY_INLINE void StorePanel(const T* panel, size_t step, size_t count, size_t n, T* rows) {
  constexpr size_t kSide = 16 / sizeof(T);
  const SoftmaxTag<T> d;
  const size_t lanes = hn::Lanes(d);
  if (count == kPanelNR<T> && n == step && (n == 2 || n == 3)) {
    for (size_t first = 0; first < kPanelNR<T>; first += lanes) {
      const auto v0 = hn::Load(d, panel + first), v1 = hn::Load(d, panel + kPanelNR<T> + first);
      if (n == 2) {
        hn::StoreInterleaved2(v0, v1, d, rows + 2 * first);
      } else {
        const auto v2 = hn::Load(d, panel + 2 * kPanelNR<T> + first);
        hn::StoreInterleaved3(v0, v1, v2, d, rows + 3 * first);
      }
    }
    return;
  }
  if (count < kPanelNR<T> || n < kSide) {
    return TransposeBlock(panel, kPanelNR<T>, n, count, rows, step);
  }
  for (size_t column = 0; column < n; column += kSide) {
    const size_t c = std::min(column, n - kSide);
    for (size_t first = 0; first < kPanelNR<T>; first += lanes) {
      hn::Vec<decltype(d)> block[kSide];
      for (size_t i = 0; i < kSide; ++i) {
        block[i] = hn::Load(d, panel + (c + i) * kPanelNR<T> + first);
      }
      TransposeSquares(d, block);
      for (size_t i = 0; i < kSide; ++i) {
        StoreBlocks(d, block[i], rows + (first + i) * step + c, kSide * step);
      }
    }
  }
}

template <class T, class F, bool kReduces>
void ShortRows(const SoftmaxRows<T>& rows, T* scratch) {
  constexpr size_t kNR = kPanelNR<T>;
  T* const a = scratch;
  T* const b = a + rows.n * kNR;
  T* const partials = b + rows.n * kNR;
  T* const max = partials + F::kSums * kPartials<T> * kNR;
  T* const totals = max + kNR;
  for (size_t row = 0; row < rows.count; row += kNR) {
    const size_t count = std::min(kNR, rows.count - row);
    const auto at = static_cast<ptrdiff_t>(row);
    LoadPanel(rows.a + at * rows.a_step, rows.a_step, count, rows.n, a);
    if (F::kReadsB) LoadPanel(rows.b + at * rows.b_step, rows.b_step, count, rows.n, b);
    if (F::kUsesMax) PanelMax<T>(a, rows.n, true, max);
    PanelSum<T, F>(a, b, rows.n, max, true, a, partials);
    PanelTotal<T, F>(rows.n, partials, max, totals);
    T* const out = rows.out + at * rows.out_step;
    if constexpr (kReduces) {
      for (size_t r = 0; r < count; ++r) out[r * rows.out_step] = totals[r];
    } else {
      PanelApply<T, F>(a, b, rows.n, max, totals, a);
      StorePanel(a, rows.out_step, count, rows.n, out);
    }
  }
}

// -------------------------------------------------------------------------------------------- mask

// Lanes whose byte is not 0.
template <class D>
HWY_INLINE hn::Mask<D> LoadMask(D d, const uint8_t* bytes) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint32_t, D> words;
  const auto narrow = hn::PromoteTo(words, hn::LoadU(hn::Rebind<uint8_t, D>(), bytes));
  if constexpr (sizeof(hn::TFromD<D>) == 8) {
    return hn::RebindMask(d, hn::Ne(hn::PromoteTo(du, narrow), hn::Zero(du)));
  } else {
    return hn::RebindMask(d, hn::Ne(narrow, hn::Zero(du)));
  }
}

template <class T>
void Select(const uint8_t* mask, const T* from, size_t n, T fill, T* to) {
  const SoftmaxTag<T> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto kept = LoadMask(d, mask + i);
    hn::StoreU(hn::IfThenElse(kept, hn::LoadU(d, from + i), hn::Set(d, fill)), d, to + i);
  }
  for (; i < n; ++i) to[i] = mask[i] ? from[i] : fill;
}

// ---------------------------------------------------------------------------------------- Jacobian

// 0 - y_i·y_j off the diagonal: the product commutes, so the matrix is symmetric, and a zero is +0.
// On it y_i·(1 - y_i), where the difference is exact from y_i = 1/2 on. The last vector of a row
// overlaps the one before.
template <class T>
void Jacobian(const T* rows, size_t count, const T* columns, size_t n, ptrdiff_t diagonal, T* out,
              ptrdiff_t out_stride) {
  const SoftmaxTag<T> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t r = 0; r < count; ++r, out += out_stride) {
    const auto y = hn::Set(d, rows[r]);
    const auto product = [&](auto column)
                             HWY_ATTR { return hn::NegMulAdd(y, column, hn::Zero(d)); };
    size_t c = 0;
    for (; c + lanes <= n; c += lanes) {
      hn::StoreU(product(hn::LoadU(d, columns + c)), d, out + c);
    }
    if (c < n && n >= lanes) {
      hn::StoreU(product(hn::LoadU(d, columns + n - lanes)), d, out + n - lanes);
    } else if (c < n) {
      StoreFirst(product(LoadFirst(d, columns, n)), d, out, n);
    }
    const ptrdiff_t at = static_cast<ptrdiff_t>(r) + diagonal;
    if (at >= 0 && at < static_cast<ptrdiff_t>(n)) out[at] = rows[r] * (T(1) - rows[r]);
  }
}

// ------------------------------------------------------------------------------------------- table

template <class T, class F>
constexpr SoftmaxPhases<T> RowPhases() {
  return {F::kUsesMax ? RowMax<T> : nullptr, RowSum<T, F>, RowTotal<T, F>, RowApply<T, F>};
}

template <class T, class F>
constexpr SoftmaxPhases<T> PanelPhases() {
  return {F::kUsesMax ? PanelMax<T> : nullptr, PanelSum<T, F>, PanelTotal<T, F>, PanelApply<T, F>};
}

// The phases of an op whose results are the totals.
template <class T, class F>
constexpr SoftmaxPhases<T> RowSums() {
  return {RowMax<T>, RowSum<T, F>, RowTotal<T, F>, nullptr};
}

template <class T, class F>
constexpr SoftmaxPhases<T> PanelSums() {
  return {PanelMax<T>, PanelSum<T, F>, PanelTotal<T, F>, nullptr};
}

template <class T>
constexpr SoftmaxKernels<T> kSoftmax{
    kPartials<T>,
    kPanelNR<T>,
    CopyBlock<T>,
    TransposeBlock<T>,
    Select<T>,
    {RowPhases<T, SoftmaxFormula>(), RowPhases<T, LogSoftmaxFormula>(),
     RowPhases<T, SoftmaxBackwardFormula>(), RowPhases<T, LogSoftmaxBackwardFormula>(),
     RowSums<T, LogSumExpFormula>()},
    {PanelPhases<T, SoftmaxFormula>(), PanelPhases<T, LogSoftmaxFormula>(),
     PanelPhases<T, SoftmaxBackwardFormula>(), PanelPhases<T, LogSoftmaxBackwardFormula>(),
     PanelSums<T, LogSumExpFormula>()},
    {ShortRows<T, SoftmaxFormula, false>, ShortRows<T, LogSoftmaxFormula, false>,
     ShortRows<T, SoftmaxBackwardFormula, false>, ShortRows<T, LogSoftmaxBackwardFormula, false>,
     ShortRows<T, LogSumExpFormula, true>},
    {RowSumAhead<T, SoftmaxFormula>, nullptr, nullptr, nullptr, nullptr},
    PackColumns<T>,
    {ApplyColumns<T, SoftmaxFormula>, ApplyColumns<T, LogSoftmaxFormula>,
     ApplyColumns<T, SoftmaxBackwardFormula>, ApplyColumns<T, LogSoftmaxBackwardFormula>, nullptr},
    {RowStream<T, SoftmaxFormula>, RowStream<T, LogSoftmaxFormula>,
     RowStream<T, SoftmaxBackwardFormula>, RowStream<T, LogSoftmaxBackwardFormula>, nullptr},
    Flush,
    Jacobian<T>};

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_SOFTMAX_INL_H_
