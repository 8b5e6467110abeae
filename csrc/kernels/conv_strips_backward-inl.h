// Filters' gradients over strips, of depthwise convolutions and those in groups of few channels.
// Included once per SIMD target.
//
// One vector of channels, and an accumulator for each of up to 12 taps. A pixel costs a load of dy,
// and for each tap a multiply-add that reads x from memory, which is aligned: as many loads as
// multiply-adds, which is what the ports of common CPUs have room for. So taps may be anywhere, and
// no window's form needs a kernel of its own. 12 taps' distances, both pointers and the end of the
// line are 15 general registers; 16 vector registers hold 12 sums, dy and x.
#if defined(LANEWISE_KERNELS_CONV_STRIPS_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_CONV_STRIPS_BACKWARD_INL_H_
#undef LANEWISE_KERNELS_CONV_STRIPS_BACKWARD_INL_H_
#else
#define LANEWISE_KERNELS_CONV_STRIPS_BACKWARD_INL_H_
#endif

#include <cstddef>
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

template <class T, size_t... I>
HWY_INLINE void AddTapTile(size_t n, const TapSums<T>& s, const size_t* offsets, T* sums,
                           std::index_sequence<I...>) {
  using Tile = void (*)(const TapSums<T>&, const size_t*, T*);
  static constexpr Tile kTiles[] = {TapTile<T, I + 1>...};
  kTiles[n - 1](s, offsets, sums);
}

// In tiles of nearly equal numbers of taps: 25 are 9, 8 and 8, as two multiply-adds a cycle take 8
// chains.
template <class T>
void AddTaps(const TapSums<T>& s) {
  const size_t tiles = (s.taps + kMostTaps - 1) / kMostTaps;
  const size_t lanes = hn::Lanes(hn::ScalableTag<T>());
  for (size_t i = 0; i < tiles; ++i) {
    const size_t begin = i * s.taps / tiles, end = (i + 1) * s.taps / tiles;
    AddTapTile(end - begin, s, s.offsets + begin, s.sums + begin * lanes,
               std::make_index_sequence<kMostTaps>());
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_CONV_STRIPS_BACKWARD_INL_H_
