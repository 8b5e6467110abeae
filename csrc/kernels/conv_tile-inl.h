// The register tile of the direct convolution. Included once per SIMD target.
//
// MR rows × 2 vectors of accumulators, and per term one load of each panel vector and one broadcast
// per row. Two FMA pipes of latency 4 want at least 8 chains; 16 registers hold 6×2 accumulators,
// 2 panel vectors and a broadcast, 32 registers 12×2 (and 12 row pointers still fit beside the
// panel's and the counter in 15 general registers).
#if defined(LANEWISE_KERNELS_CONV_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_CONV_TILE_INL_H_
#undef LANEWISE_KERNELS_CONV_TILE_INL_H_
#else
#define LANEWISE_KERNELS_CONV_TILE_INL_H_
#endif

#include <array>
#include <type_traits>
#include <utility>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/unroll.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr size_t kConvMR = 12;
#else
constexpr size_t kConvMR = 6;
#endif
constexpr size_t kConvNV = 2;  // vectors per row of the tile

// a·b + c; integers modulo 2^bits.
template <class V>
HWY_INLINE V MultiplyAdd(V a, V b, V c) {
  if constexpr (std::is_floating_point_v<hn::TFromV<V>>) {
    return hn::MulAdd(a, b, c);
  } else {
    return hn::Add(hn::Mul(a, b), c);
  }
}

// With `kChain` the sums in memory are the chain's beginning, else they are added at its end.
template <class T, size_t MR, size_t NV, bool kChain>
void ConvTile(const ConvOperands<T>& operands, bool first, T* HWY_RESTRICT sums) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d), nr = kConvNV * lanes;
  const size_t row_step = operands.row_step, panel_step = operands.panel_step;
  const size_t row_end = operands.depth * row_step;
  V sum[MR][NV];
  LANEWISE_UNROLL
  for (size_t i = 0; i < MR; ++i) {
    LANEWISE_UNROLL
    for (size_t v = 0; v < NV; ++v) {
      sum[i][v] = first || !kChain ? hn::Zero(d) : hn::Load(d, sums + i * nr + v * lanes);
    }
  }
  const T* const* rows = operands.rows;
  for (size_t s = 0; s < operands.segments; ++s, rows += operands.row_stride) {
    const T* HWY_RESTRICT panel = operands.panels[s];
    const T* HWY_RESTRICT row[MR];
    LANEWISE_UNROLL
    for (size_t i = 0; i < MR; ++i) row[i] = rows[i];
    for (size_t k = 0; k < row_end; k += row_step, panel += panel_step) {
      V lane[NV];
      LANEWISE_UNROLL
      for (size_t v = 0; v < NV; ++v) lane[v] = hn::LoadU(d, panel + v * lanes);
      LANEWISE_UNROLL
      for (size_t i = 0; i < MR; ++i) {
        const V x = hn::Set(d, row[i][k]);
        LANEWISE_UNROLL
        for (size_t v = 0; v < NV; ++v) sum[i][v] = MultiplyAdd(x, lane[v], sum[i][v]);
      }
    }
  }
  LANEWISE_UNROLL
  for (size_t i = 0; i < MR; ++i) {
    LANEWISE_UNROLL
    for (size_t v = 0; v < NV; ++v) {
      T* const to = sums + i * nr + v * lanes;
      hn::Store(first || kChain ? sum[i][v] : hn::Add(hn::Load(d, to), sum[i][v]), d, to);
    }
  }
}

template <class T>
using ConvTileFunction = decltype(&ConvTile<T, 1, 1, true>);

// kConvTiles<T, NV, kChain>[MR - 1]
template <class T, size_t NV, bool kChain, size_t... I>
constexpr std::array<ConvTileFunction<T>, sizeof...(I)> ConvTiles(std::index_sequence<I...>) {
  return {ConvTile<T, I + 1, NV, kChain>...};
}
template <class T, size_t NV, bool kChain>
constexpr auto kConvTiles = ConvTiles<T, NV, kChain>(std::make_index_sequence<kConvMR>());

template <class T>
void ConvAccumulate(const ConvOperands<T>& operands, size_t count, bool half, bool first, T* sums) {
  const auto tile = half ? kConvTiles<T, 1, true>[count - 1] : kConvTiles<T, 2, true>[count - 1];
  tile(operands, first, sums);
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_CONV_TILE_INL_H_
