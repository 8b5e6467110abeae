// Filters' gradients over strips, of depthwise convolutions and those in groups of few channels.
// Included once per SIMD target.
//
// A tile has one vector of channels and an accumulator for each of its taps. Loads are what is
// scarce: where each multiply-add reads x from memory, tiles of 12 taps reach half of the peak with
// AVX-512 and 70 % with AVX2. So a vector of x serves up to four neighbouring pixels under as many
// neighbouring taps (RunTile). Other taps, as those of dilated windows, take a load each (TapTile):
// 12 taps' distances, both pointers and the end of the line are 15 general registers.
#if defined(LANEWISE_KERNELS_CONV_STRIPS_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_CONV_STRIPS_BACKWARD_INL_H_
#undef LANEWISE_KERNELS_CONV_STRIPS_BACKWARD_INL_H_
#else
#define LANEWISE_KERNELS_CONV_STRIPS_BACKWARD_INL_H_
#endif

#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "hwy/highway.h"
#include "kernels/conv_tile-inl.h"
#include "kernels/kernels.h"
#include "kernels/unroll.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kMostTaps = 12;
// Of GCC's copies of the last pixels' loop, the kernels would be twice as large.
#ifdef __clang__
#define LANEWISE_ROLLED _Pragma("clang loop unroll(disable)")
#else
#define LANEWISE_ROLLED _Pragma("GCC unroll 1")
#endif

// Whether there are tiles for runs: where memory gives fewer vectors than there could be
// multiply-adds, and for the type that networks are trained in.
template <class T>
constexpr bool kRunsPay = std::is_same_v<T, float>&& HWY_TARGET != HWY_SSE4;
// 10 sums, these pixels of dy and a vector of x are in 16 registers.
constexpr size_t kRunPixels = 4;

// Adds N terms of each of the sums of NR runs.
template <size_t N, class T, size_t NR, size_t NS, class V>
HWY_INLINE void AddPixels(const T* const (&x)[NR], const T* HWY_RESTRICT dy, int64_t dy_step,
                          V (&sum)[NR][NS]) {
  const hn::ScalableTag<T> d;
  V slope[N];
  LANEWISE_UNROLL
  for (size_t p = 0; p < N; ++p) slope[p] = hn::LoadU(d, dy + static_cast<int64_t>(p) * dy_step);
  LANEWISE_UNROLL
  for (size_t r = 0; r < NR; ++r) {
    LANEWISE_UNROLL
    for (size_t i = 0; i < NS + N - 1; ++i) {
      const V v = hn::Load(d, x[r] + i * hn::Lanes(d));
      LANEWISE_UNROLL
      for (size_t p = 0; p < N; ++p) {
        if (p <= i && i - p < NS) sum[r][i - p] = MultiplyAdd(slope[p], v, sum[r][i - p]);
      }
    }
  }
}

// NR runs of NS taps.
template <class T, size_t NR, size_t NS>
void RunTile(const TapSums<T>& s, const size_t* HWY_RESTRICT offsets, T* HWY_RESTRICT sums) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d), columns = s.columns;
  const int64_t dy_step = s.dy_step;
  hn::Vec<decltype(d)> sum[NR][NS];
  LANEWISE_UNROLL
  for (size_t r = 0; r < NR; ++r) {
    LANEWISE_UNROLL
    for (size_t t = 0; t < NS; ++t) sum[r][t] = hn::Zero(d);
  }
  for (size_t i = 0; i < s.rows; ++i) {
    // A pointer per run, so that GCC makes constants of the distances within a run.
    const T* x[NR];
    LANEWISE_UNROLL
    for (size_t r = 0; r < NR; ++r) {
      x[r] = s.x + static_cast<int64_t>(i) * s.x_row + offsets[r * NS];
    }
    const T* HWY_RESTRICT dy = s.dy + static_cast<int64_t>(i) * s.dy_row;
    size_t j = 0;
    for (; j + kRunPixels <= columns; j += kRunPixels) {
      AddPixels<kRunPixels>(x, dy, dy_step, sum);
      LANEWISE_UNROLL
      for (size_t r = 0; r < NR; ++r) x[r] += kRunPixels * lanes;
      dy += static_cast<int64_t>(kRunPixels) * dy_step;
    }
    LANEWISE_ROLLED
    for (; j < columns; ++j, dy += dy_step) {
      AddPixels<1>(x, dy, dy_step, sum);
      LANEWISE_UNROLL
      for (size_t r = 0; r < NR; ++r) x[r] += lanes;
    }
  }
  LANEWISE_UNROLL
  for (size_t r = 0; r < NR; ++r) {
    LANEWISE_UNROLL
    for (size_t t = 0; t < NS; ++t, sums += lanes) {
      hn::Store(hn::Add(hn::Load(d, sums), sum[r][t]), d, sums);
    }
  }
}

template <class T, size_t N>
void TapTile(const TapSums<T>& s, const size_t* HWY_RESTRICT offsets, T* HWY_RESTRICT sums) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d), length = s.columns * lanes;
  const int64_t dy_step = s.dy_step;
  size_t offset[N];
  hn::Vec<decltype(d)> sum[N];
  LANEWISE_UNROLL
  for (size_t t = 0; t < N; ++t) {
    offset[t] = offsets[t];
    sum[t] = hn::Zero(d);
  }
  const T* line = s.x;
  const T* dy_line = s.dy;
  for (size_t i = 0; i < s.rows; ++i, line += s.x_row, dy_line += s.dy_row) {
    const T* HWY_RESTRICT dy = dy_line;
    for (const T* HWY_RESTRICT x = line; x != line + length; x += lanes, dy += dy_step) {
      const auto slope = hn::LoadU(d, dy);
      LANEWISE_UNROLL
      for (size_t t = 0; t < N; ++t) {
        sum[t] = MultiplyAdd(slope, hn::Load(d, x + offset[t]), sum[t]);
      }
    }
  }
  LANEWISE_UNROLL
  for (size_t t = 0; t < N; ++t) {
    hn::Store(hn::Add(hn::Load(d, sums + t * lanes), sum[t]), d, sums + t * lanes);
  }
}

template <class T>
using TapTileFunction = void (*)(const TapSums<T>&, const size_t*, T*);

template <class T, size_t... I>
constexpr std::array<TapTileFunction<T>, sizeof...(I)> TapTiles(std::index_sequence<I...>) {
  return {TapTile<T, I + 1>...};
}
template <class T>
constexpr auto kTapTiles = TapTiles<T>(std::make_index_sequence<kMostTaps>());

constexpr size_t kShortestRun = 3, kLongestRun = 8;
template <class T>
constexpr TapTileFunction<T> kRunTiles[] = {RunTile<T, 1, 3>, RunTile<T, 1, 4>, RunTile<T, 1, 5>,
                                            RunTile<T, 1, 6>, RunTile<T, 1, 7>, RunTile<T, 1, 8>};
// Several short runs at once: two multiply-adds a cycle take 8 chains.
template <class T>
constexpr TapTileFunction<T> kRunsTiles[] = {RunTile<T, 3, 3>, RunTile<T, 2, 4>, RunTile<T, 2, 5>};

// Taps [begin, end) in tiles of nearly equal numbers of at most `most`.
template <class T>
HWY_INLINE void AddTiles(const TapSums<T>& s, size_t begin, size_t end, size_t most,
                         const TapTileFunction<T>* tiles, size_t least) {
  const size_t lanes = hn::Lanes(hn::ScalableTag<T>()), n = end - begin;
  const size_t count = (n + most - 1) / most;
  for (size_t i = 0; i < count; ++i) {
    const size_t from = begin + i * n / count, to = begin + (i + 1) * n / count;
    tiles[to - from - least](s, s.offsets + from, s.sums + from * lanes);
  }
}

template <class T>
void AddTaps(const TapSums<T>& s) {
  if constexpr (kRunsPay<T>) {
    if (s.run >= kShortestRun) {
      const size_t lanes = hn::Lanes(hn::ScalableTag<T>());
      const size_t taps = s.run == 3 ? 9 : s.run <= 5 ? 2 * s.run : s.taps + 1;
      size_t t = 0;
      for (; t + taps <= s.taps; t += taps) {
        kRunsTiles<T>[s.run - kShortestRun](s, s.offsets + t, s.sums + t * lanes);
      }
      for (; t < s.taps; t += s.run) {
        AddTiles(s, t, t + s.run, kLongestRun, kRunTiles<T>, kShortestRun);
      }
      return;
    }
  }
  AddTiles(s, 0, s.taps, kMostTaps, kTapTiles<T>.data(), 1);
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_CONV_STRIPS_BACKWARD_INL_H_
