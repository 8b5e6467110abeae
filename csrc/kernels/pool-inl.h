// Maxima over the taps of a window, with or without the place of the maximum. Included once per
// SIMD target.
#if defined(LANEWISE_KERNELS_POOL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_POOL_INL_H_
#undef LANEWISE_KERNELS_POOL_INL_H_
#else
#define LANEWISE_KERNELS_POOL_INL_H_
#endif

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

// How a kernel below reads and writes one vector: whole, or the first n lanes of it.
struct WholeVector {
  template <class D, class T>
  HWY_INLINE hn::Vec<D> Load(D d, const T* p) const {
    return hn::LoadU(d, p);
  }
  template <class D, class T>
  HWY_INLINE void Store(hn::Vec<D> v, D d, T* p) const {
    hn::StoreU(v, d, p);
  }
};

struct PartialVector {
  size_t n;
  template <class D, class T>
  HWY_INLINE hn::Vec<D> Load(D d, const T* p) const {
    return LoadFirst(d, p, n);
  }
  template <class D, class T>
  HWY_INLINE void Store(hn::Vec<D> v, D d, T* p) const {
    StoreFirst(v, d, p, n);
  }
};

// Where a vector begins: in the sources, in the result, and among its numbers.
struct Position {
  ptrdiff_t src, out, number;
  HWY_INLINE Position operator+(size_t j) const {
    const ptrdiff_t step = static_cast<ptrdiff_t>(j);
    return {src + step, out + step, number + step};
  }
};

// Calls taps.Do<V>(access, position) for V neighbouring vectors at a time, so that V loads share
// the load of a tap's pointer. A run's last vector overlaps the one before it and writes the same
// again: only runs shorter than a vector have a partial one.
template <size_t V, class T, class Taps>
HWY_INLINE void ForEachVector(const Runs& runs, const Taps& taps) {
  const size_t lanes = hn::Lanes(PoolTag<T>());
  for (size_t i = 0; i < runs.count; ++i) {
    const ptrdiff_t run = static_cast<ptrdiff_t>(i);
    const Position begin{run * runs.src_step, run * runs.out_step, run * runs.number_step};
    size_t j = 0;
    for (; j + V * lanes <= runs.len; j += V * lanes) {
      taps.template Do<V>(WholeVector(), begin + j);
    }
    for (; j + lanes <= runs.len; j += lanes) taps.template Do<1>(WholeVector(), begin + j);
    if (j == runs.len) continue;
    if (runs.len >= lanes) {
      taps.template Do<1>(WholeVector(), begin + (runs.len - lanes));
    } else {
      taps.template Do<1>(PartialVector{runs.len}, begin);
    }
  }
}

// max_t x_t. What Max makes of a NaN differs between targets, so NaNs are counted beside it.
template <class T>
struct MaxTaps {
  const T* const* src;
  size_t count;
  T* out;

  template <size_t V, class Access>
  HWY_INLINE void Do(Access access, Position at) const {
    const PoolTag<T> d;
    using Vec = hn::Vec<decltype(d)>;
    const size_t lanes = hn::Lanes(d);
    Vec largest[V];
    hn::Mask<decltype(d)> nan[V];
    for (size_t v = 0; v < V; ++v) {
      largest[v] = access.Load(d, src[0] + at.src + v * lanes);
      nan[v] = hn::IsNaN(largest[v]);
    }
    for (size_t t = 1; t < count; ++t) {
      const T* HWY_RESTRICT tap = src[t] + at.src;
      for (size_t v = 0; v < V; ++v) {
        const Vec x = access.Load(d, tap + v * lanes);
        largest[v] = hn::Max(x, largest[v]);
        nan[v] = hn::Or(nan[v], hn::IsNaN(x));
      }
    }
    for (size_t v = 0; v < V; ++v) {
      access.Store(hn::IfThenElse(nan[v], hn::NaN(d), largest[v]), d, out + at.out + v * lanes);
    }
  }
};

// max_t x_t with the id of the first t that has it:
//   (largest, number) = (x, id) where x > largest, or x is NaN and largest is not.
template <class T>
struct ArgMaxTaps {
  const T* const* src;
  const PoolNumber<T>* ids;
  size_t count;
  T* out;
  PoolNumber<T>* numbers;

  template <size_t V, class Access>
  HWY_INLINE void Do(Access access, Position at) const {
    const PoolTag<T> d;
    const hn::Rebind<PoolNumber<T>, decltype(d)> dn;
    using Vec = hn::Vec<decltype(d)>;
    const size_t lanes = hn::Lanes(d);
    Vec largest[V];
    hn::Vec<decltype(dn)> number[V];
    for (size_t v = 0; v < V; ++v) {
      largest[v] = access.Load(d, src[0] + at.src + v * lanes);
      number[v] = hn::Set(dn, ids[0]);
    }
    for (size_t t = 1; t < count; ++t) {
      const T* HWY_RESTRICT tap = src[t] + at.src;
      const auto id = hn::Set(dn, ids[t]);
      for (size_t v = 0; v < V; ++v) {
        const Vec x = access.Load(d, tap + v * lanes);
        const auto wins = hn::AndNot(hn::Le(x, largest[v]), hn::Eq(largest[v], largest[v]));
        largest[v] = hn::IfThenElse(wins, x, largest[v]);
        number[v] = hn::IfThenElse(hn::RebindMask(dn, wins), id, number[v]);
      }
    }
    for (size_t v = 0; v < V; ++v) {
      access.Store(largest[v], d, out + at.out + v * lanes);
      access.Store(number[v], dn, numbers + at.number + v * lanes);
    }
  }
};

// The same for x_t that carry numbers: of equal ones, and of NaNs, the smallest number wins.
template <class T>
struct MergeArgMaxTaps {
  const T* const* src;
  const PoolNumber<T>* const* src_numbers;
  const PoolNumber<T>* ids;
  size_t count;
  T* out;
  PoolNumber<T>* numbers;

  template <size_t V, class Access>
  HWY_INLINE void Do(Access access, Position at) const {
    const PoolTag<T> d;
    const hn::Rebind<PoolNumber<T>, decltype(d)> dn;
    const size_t lanes = hn::Lanes(d);
    for (size_t v = 0; v < V; ++v) {
      auto largest = access.Load(d, src[0] + at.src + v * lanes);
      auto number =
          hn::Add(access.Load(dn, src_numbers[0] + at.src + v * lanes), hn::Set(dn, ids[0]));
      for (size_t t = 1; t < count; ++t) {
        const auto x = access.Load(d, src[t] + at.src + v * lanes);
        const auto id =
            hn::Add(access.Load(dn, src_numbers[t] + at.src + v * lanes), hn::Set(dn, ids[t]));
        const auto larger = hn::AndNot(hn::Le(x, largest), hn::Eq(largest, largest));
        const auto level = hn::Or(hn::Eq(x, largest), hn::IsNaN(x));
        const auto before = hn::RebindMask(d, hn::Lt(id, number));
        const auto wins = hn::Or(larger, hn::And(level, before));
        largest = hn::IfThenElse(wins, x, largest);
        number = hn::IfThenElse(hn::RebindMask(dn, wins), id, number);
      }
      access.Store(largest, d, out + at.out + v * lanes);
      access.Store(number, dn, numbers + at.number + v * lanes);
    }
  }
};

template <class T>
void Max(const T* const* src, size_t taps, const Runs& runs, T* out) {
  // 4 vectors: 4 maxima and 4 masks of the 16 registers.
  ForEachVector<4, T>(runs, MaxTaps<T>{src, taps, out});
}

template <class T>
void ArgMax(const T* const* src, const PoolNumber<T>* ids, size_t taps, const Runs& runs, T* out,
            PoolNumber<T>* numbers) {
  ForEachVector<4, T>(runs, ArgMaxTaps<T>{src, ids, taps, out, numbers});
}

template <class T>
void MergeArgMax(const T* const* src, const PoolNumber<T>* const* src_numbers,
                 const PoolNumber<T>* ids, size_t taps, const Runs& runs, T* out,
                 PoolNumber<T>* numbers) {
  ForEachVector<1, T>(runs, MergeArgMaxTaps<T>{src, src_numbers, ids, taps, out, numbers});
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

template <class T>
constexpr PoolKernels<T> kPool = {
    HWY_MAX_BYTES / sizeof(T), Max<T>, ArgMax<T>, MergeArgMax<T>, Split<T>, Split<PoolNumber<T>>};

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_POOL_INL_H_
