// What the gradients of pooling are made of: ranges of indices, quotients, sums over windows, and
// results that are repeated. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_POOL_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_POOL_BACKWARD_INL_H_
#undef LANEWISE_KERNELS_POOL_BACKWARD_INL_H_
#else
#define LANEWISE_KERNELS_POOL_BACKWARD_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// f(d, i) for all vectors of n elements. The last overlaps the one before it, so f must give the
// same when it is called again; fewer elements than a vector are taken in shorter vectors.
template <size_t kLanes, class T, class F>
HWY_INLINE void ForVectors(size_t n, const F& f) {
  if constexpr (kLanes > 1) {
    if (n < kLanes) return ForVectors<kLanes / 2, T>(n, f);
  }
  const hn::CappedTag<T, kLanes> d;
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(d, i);
  if (i < n) f(d, n - kLanes);
}

template <class T, class F>
HWY_INLINE void ForVectors(size_t n, const F& f) {
  if (n > 0) ForVectors<hn::MaxLanes(hn::ScalableTag<T>()), T>(n, f);
}

// ---------------------------------------------------------------------------------------- maxima

// Four at a time: on AVX2 a minimum is a comparison and a blend, and the next waits for both.
inline void RangeOf(const int64_t* values, size_t runs, ptrdiff_t step, size_t len, int64_t* least,
                    int64_t* largest) {
  const hn::ScalableTag<int64_t> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  V low[4], high[4];
  for (size_t k = 0; k < 4; ++k) low[k] = hn::Set(d, *least), high[k] = hn::Set(d, *largest);
  const auto take = [&](size_t k, const int64_t* at) HWY_ATTR {
    const V v = hn::LoadU(d, at);
    low[k] = hn::Min(low[k], v);
    high[k] = hn::Max(high[k], v);
  };
  for (size_t r = 0; r < runs; ++r, values += step) {
    size_t i = 0;
    for (; i + 4 * lanes <= len; i += 4 * lanes) {
      for (size_t k = 0; k < 4; ++k) take(k, values + i + k * lanes);
    }
    for (; i + lanes <= len; i += lanes) take(0, values + i);
    for (; i < len; ++i) {
      *least = HWY_MIN(*least, values[i]);
      *largest = HWY_MAX(*largest, values[i]);
    }
  }
  for (size_t k = 0; k < 4; ++k) {
    *least = HWY_MIN(*least, hn::GetLane(hn::MinOfLanes(d, low[k])));
    *largest = HWY_MAX(*largest, hn::GetLane(hn::MaxOfLanes(d, high[k])));
  }
}

template <class T>
void Clear(T* to, size_t runs, ptrdiff_t step, size_t len) {
  if (len * sizeof(T) >= 2048) {
    for (size_t r = 0; r < runs; ++r, to += step) std::memset(to, 0, len * sizeof(T));
    return;
  }
  for (size_t r = 0; r < runs; ++r, to += step) {
    ForVectors<T>(len, [&](auto d, size_t i) HWY_ATTR { hn::StoreU(hn::Zero(d), d, to + i); });
  }
}

// -------------------------------------------------------------------------------------- averages

template <class T>
void Quotients(const T* from, ptrdiff_t step, size_t pixels, size_t depth, const T* divisors,
               T* HWY_RESTRICT to) {
  if (depth == 1 && step == 1) {
    return ForVectors<T>(pixels, [&](auto d, size_t i) HWY_ATTR {
      hn::StoreU(hn::Div(hn::LoadU(d, from + i), hn::LoadU(d, divisors + i)), d, to + i);
    });
  }
  for (size_t p = 0; p < pixels; ++p, from += step, to += depth) {
    const T divisor = divisors[p];
    ForVectors<T>(depth, [&](auto d, size_t i) HWY_ATTR {
      hn::StoreU(hn::Div(hn::LoadU(d, from + i), hn::Set(d, divisor)), d, to + i);
    });
  }
}

// The sums of 2 to 4 terms, in one pass and in the order of WindowSums.
template <size_t kTerms, class T>
HWY_INLINE void FewTerms(const T* HWY_RESTRICT x, size_t n, size_t distance, T* HWY_RESTRICT out) {
  const auto sum = [&](auto d, size_t i) HWY_ATTR {
    const auto term = [&](size_t k) HWY_ATTR { return hn::LoadU(d, x + i + k * distance); };
    auto total = hn::Add(term(0), term(1));
    if constexpr (kTerms == 3) total = hn::Add(term(0), hn::Add(term(1), term(2)));
    if constexpr (kTerms == 4) total = hn::Add(total, hn::Add(term(2), term(3)));
    hn::StoreU(total, d, out + i);
  };
  if (n >= hn::MaxLanes(hn::ScalableTag<T>())) return ForVectors<T>(n, sum);
  for (size_t i = 0; i < n; ++i) sum(hn::CappedTag<T, 1>(), i);
}

// out[i] = a[i] + b[i]; out may be a. Whole vectors, and the rest one by one, as a vector must not
// be added twice.
template <class T>
void AddRuns(const T* a, const T* b, size_t n, T* out) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  }
  for (; i < n; ++i) out[i] = a[i] + b[i];
}

template <class T>
void WindowSums(const T* x, size_t n, size_t distance, size_t terms, T* spare, T* out) {
  if (terms == 2) return FewTerms<2>(x, n, distance, out);
  if (terms == 3) return FewTerms<3>(x, n, distance, out);
  if (terms == 4) return FewTerms<4>(x, n, distance, out);
  const T* power = x;  // power[i] = the sum of `reach` terms from i on, in pairs of pairs of …
  size_t reach = 1, done = 0;
  for (;; reach *= 2) {
    if (terms & reach) {
      if (done == 0) {
        std::copy_n(power, n, out);
      } else {
        AddRuns(out, power + done * distance, n, out);
      }
      done += reach;
    }
    if (done == terms) return;
    // In place from the second time on: power[i] is read for the last time before it is written.
    const size_t needed = n + (terms - 2 * reach) * distance;
    AddRuns(power, power + reach * distance, needed, spare);
    power = spare;
  }
}

template <class T>
void Repeat(const T* from, size_t n, size_t depth, size_t times, T* to, ptrdiff_t pixel_step,
            ptrdiff_t step) {
  if (times == 1 && step == static_cast<ptrdiff_t>(depth)) {
    std::copy_n(from, n * depth, to);
  } else if (depth == 1 && times == 2 && step == 2 && pixel_step == 1) {
    const hn::ScalableTag<T> d;
    const size_t lanes = hn::Lanes(d);
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
      const auto v = hn::LoadU(d, from + i);
      hn::StoreInterleaved2(v, v, d, to + 2 * i);
    }
    for (; i < n; ++i) to[2 * i] = to[2 * i + 1] = from[i];
  } else if (depth == 1 && pixel_step == 1 && times > 4) {
    for (size_t p = 0; p < n; ++p, to += step) {
      const T value = from[p];
      ForVectors<T>(times,
                    [&](auto d, size_t i) HWY_ATTR { hn::StoreU(hn::Set(d, value), d, to + i); });
    }
  } else if (depth == 1 && times == 1 && step == 2 && pixel_step == 1) {
    const hn::ScalableTag<T> d;
    const size_t lanes = hn::Lanes(d);
    size_t i = 0;
    for (; i + lanes < n; i += lanes) {  // the row's other pixels stay as they are
      hn::Vec<decltype(d)> mine, between;
      hn::LoadInterleaved2(d, to + 2 * i, mine, between);
      hn::StoreInterleaved2(hn::LoadU(d, from + i), between, d, to + 2 * i);
    }
    for (; i < n; ++i) to[2 * i] = from[i];
  } else if (depth == 1) {
    for (size_t k = 0; k < times; ++k, to += pixel_step) {
      for (size_t p = 0; p < n; ++p) to[static_cast<ptrdiff_t>(p) * step] = from[p];
    }
  } else {
    for (size_t p = 0; p < n; ++p, from += depth, to += step) {
      T* pixel = to;
      for (size_t k = 0; k < times; ++k, pixel += pixel_step) {
        ForVectors<T>(depth, [&](auto d, size_t i)
                                 HWY_ATTR { hn::StoreU(hn::LoadU(d, from + i), d, pixel + i); });
      }
    }
  }
}

template <class T>
constexpr PoolBackwardKernels<T> MakePoolBackward() {
  PoolBackwardKernels<T> kernels{};
  kernels.range = RangeOf;
  kernels.clear = Clear<T>;
  if constexpr (!std::is_integral_v<T>) {
    kernels.quotients = Quotients<T>;
    kernels.window_sums = WindowSums<T>;
    kernels.add = AddRuns<T>;
    kernels.repeat = Repeat<T>;
  }
  return kernels;
}

template <class T>
constexpr PoolBackwardKernels<T> kPoolBackward = MakePoolBackward<T>();

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_POOL_BACKWARD_INL_H_
