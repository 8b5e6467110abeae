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

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/kernels.h"
#include "kernels/pairs-inl.h"
#include "kernels/unroll.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kConvMR = kVectorRegisters == 32 ? 12 : 6;
constexpr size_t kConvNV = 2;  // vectors per row of the tile
// What a tile multiplies: numbers, or pairs of int16 in lanes of 32 bits, whose two products are
// exact there.
struct Int16Pair {};
template <class E>
using LaneOf = std::conditional_t<std::is_same_v<E, Int16Pair>, int32_t, E>;

// Terms at a time. With two, GCC's moves of what the general registers cannot hold (12 pointers,
// the panel's and the counter) come half as often; on AVX-512, where they take one of the FMA's
// ports, the tile runs at 98 % of the peak instead of 90 %. Integers gain nothing.
template <class E>
constexpr size_t kConvTerms = kConvMR == 12 && std::is_floating_point_v<E> ? 2 : 1;

// a·b + c; integers modulo 2^bits.
template <class V>
HWY_INLINE V MultiplyAdd(V a, V b, V c) {
  if constexpr (std::is_floating_point_v<hn::TFromV<V>>) {
    return hn::MulAdd(a, b, c);
  } else {
    return hn::Add(hn::Mul(a, b), c);
  }
}

// The sums of a tile, in registers: [MR][NV] vectors of memory's [MR][nr].
template <class E, size_t MR, size_t NV>
struct ConvSums {
  using T = LaneOf<E>;
  using D = hn::ScalableTag<T>;
  using V = hn::Vec<D>;
  V sum[MR][NV];

  // Not left to the compiler: GCC makes an implicit one for the baseline instead of the target, and
  // then cannot inline NEON's vectors into it.
  HWY_INLINE ConvSums() {}

  HWY_INLINE void Zero() {
    LANEWISE_UNROLL
    for (size_t i = 0; i < MR; ++i) {
      LANEWISE_UNROLL
      for (size_t v = 0; v < NV; ++v) sum[i][v] = hn::Zero(D());
    }
  }
  HWY_INLINE void Load(const T* from) {
    const size_t lanes = hn::Lanes(D()), nr = kConvNV * lanes;
    LANEWISE_UNROLL
    for (size_t i = 0; i < MR; ++i) {
      LANEWISE_UNROLL
      for (size_t v = 0; v < NV; ++v) sum[i][v] = hn::Load(D(), from + i * nr + v * lanes);
    }
  }
  // N terms: row(i, t) times the vectors at panel + t·step.
  template <size_t N, class Row>
  HWY_INLINE void Add(const Row& row, const T* HWY_RESTRICT panel, size_t step) {
    const size_t lanes = hn::Lanes(D());
    V lane[N][NV];
    LANEWISE_UNROLL
    for (size_t t = 0; t < N; ++t) {
      LANEWISE_UNROLL
      for (size_t v = 0; v < NV; ++v) lane[t][v] = hn::LoadU(D(), panel + t * step + v * lanes);
    }
    LANEWISE_UNROLL
    for (size_t i = 0; i < MR; ++i) {
      LANEWISE_UNROLL
      for (size_t t = 0; t < N; ++t) {
        const V x = hn::Set(D(), row(i, t));
        LANEWISE_UNROLL
        for (size_t v = 0; v < NV; ++v) {
          if constexpr (std::is_same_v<E, Int16Pair>) {
            sum[i][v] = MultiplyAddPairs(x, lane[t][v], sum[i][v]);
          } else {
            sum[i][v] = MultiplyAdd(x, lane[t][v], sum[i][v]);
          }
        }
      }
    }
  }
  HWY_INLINE void Store(T* HWY_RESTRICT to) const {
    const size_t lanes = hn::Lanes(D()), nr = kConvNV * lanes;
    LANEWISE_UNROLL
    for (size_t i = 0; i < MR; ++i) {
      LANEWISE_UNROLL
      for (size_t v = 0; v < NV; ++v) hn::Store(sum[i][v], D(), to + i * nr + v * lanes);
    }
  }
  // Bias, activation and store.
  template <bool kBiasPerRow>
  HWY_INLINE void Finish(const ConvResults<T>& results) {
    const size_t lanes = hn::Lanes(D());
    V bias[NV];
    LANEWISE_UNROLL
    for (size_t v = 0; v < NV && !kBiasPerRow; ++v) {
      bias[v] = hn::LoadU(D(), results.bias + v * lanes);
    }
    LANEWISE_UNROLL
    for (size_t i = 0; i < MR; ++i) {
      LANEWISE_UNROLL
      for (size_t v = 0; v < NV; ++v) {
        sum[i][v] = hn::Add(sum[i][v], kBiasPerRow ? hn::Set(D(), results.bias[i]) : bias[v]);
      }
    }
    if (results.relu) {
      LANEWISE_UNROLL
      for (size_t i = 0; i < MR; ++i) {
        LANEWISE_UNROLL
        for (size_t v = 0; v < NV; ++v) {
          sum[i][v] = Activate<Activation::kRelu>(D(), sum[i][v]);
        }
      }
    }
    T* HWY_RESTRICT to = results.out;
    LANEWISE_UNROLL
    for (size_t i = 0; i < MR; ++i, to += results.stride) {
      LANEWISE_UNROLL
      for (size_t v = 0; v < NV; ++v) hn::StoreU(sum[i][v], D(), to + v * lanes);
    }
  }
  HWY_INLINE void AddTo(T* HWY_RESTRICT to) {
    const size_t lanes = hn::Lanes(D()), nr = kConvNV * lanes;
    LANEWISE_UNROLL
    for (size_t i = 0; i < MR; ++i) {
      LANEWISE_UNROLL
      for (size_t v = 0; v < NV; ++v) {
        sum[i][v] = hn::Add(hn::Load(D(), to + i * nr + v * lanes), sum[i][v]);
      }
    }
    Store(to);
  }
};

// Rows through pointers, one panel of all terms: ConvKernels::accumulate. With `kChain` the sums in
// memory are the chain's beginning, else they are added at its end. With `kFetch` it asks for what
// lies behind the last row.
template <class E, size_t MR, size_t NV, bool kChain, bool kFetch = false, class T = LaneOf<E>>
void ConvTile(const T* const* rows, size_t row_stride, size_t segments, size_t depth,
              const T* HWY_RESTRICT panel, bool first, T* HWY_RESTRICT sums,
              [[maybe_unused]] const ConvResults<T>* results) {
  const size_t nr = kConvNV * hn::Lanes(hn::ScalableTag<T>());
  constexpr size_t kTerms = kConvTerms<E>;
  ConvSums<E, MR, NV> tile;
  if (first || !kChain) {
    tile.Zero();
  } else {
    tile.Load(sums);
  }
  for (size_t s = 0; s < segments; ++s, rows += row_stride) {
    const T* HWY_RESTRICT row[MR];
    LANEWISE_UNROLL
    for (size_t i = 0; i < MR; ++i) row[i] = rows[i];
    [[maybe_unused]] const T* ahead = row[MR - 1] + depth;
    size_t k = 0;
    const auto at = [&](size_t i, size_t t) HWY_ATTR { return row[i][k + t]; };
    for (; k + kTerms <= depth; k += kTerms, panel += kTerms * nr) {
      if constexpr (kFetch) {
        // As many bytes as this step reads of the rows.
        hwy::Prefetch(ahead);
        hwy::Prefetch(ahead + 64 / sizeof(T));
        ahead += MR * kTerms;
      }
      tile.template Add<kTerms>(at, panel, nr);
    }
    for (; k < depth; ++k, panel += nr) tile.template Add<1>(at, panel, nr);
  }
  if constexpr (kChain && std::is_floating_point_v<T>) {
    if (results != nullptr) return tile.template Finish<false>(*results);
  }
  if (first || kChain) {
    tile.Store(sums);
  } else {
    tile.AddTo(sums);
  }
}

// Rows packed term by term, panels wherever they are: ConvKernels::accumulate_packed.
template <class E, size_t MR, size_t NV, bool kFetch = false, class T = LaneOf<E>>
void ConvTilePacked(const T* HWY_RESTRICT rows, const T* const* panels, size_t panel_step,
                    size_t segments, size_t depth, bool first, T* HWY_RESTRICT sums,
                    [[maybe_unused]] const ConvResults<T>* results) {
  constexpr size_t kTerms = kConvTerms<E>;
  ConvSums<E, MR, NV> tile;
  if (first) {
    tile.Zero();
  } else {
    tile.Load(sums);
  }
  for (size_t s = 0; s < segments; ++s) {
    const T* HWY_RESTRICT panel = panels[s];
    size_t k = 0;
    const auto at = [&](size_t i, size_t t) HWY_ATTR { return rows[t * kConvMR + i]; };
    for (; k + kTerms <= depth; k += kTerms) {
      if constexpr (kFetch) {
        const size_t nr = kConvNV * hn::Lanes(hn::ScalableTag<T>());
        LANEWISE_UNROLL
        for (size_t t = 0; t < kTerms; ++t) {
          hwy::Prefetch(panel + t * panel_step + nr);
          hwy::Prefetch(panel + t * panel_step + nr + nr / 2);
        }
      }
      tile.template Add<kTerms>(at, panel, panel_step);
      panel += kTerms * panel_step;
      rows += kTerms * kConvMR;
    }
    for (; k < depth; ++k, panel += panel_step, rows += kConvMR) {
      tile.template Add<1>(at, panel, panel_step);
    }
  }
  if constexpr (std::is_floating_point_v<T>) {
    if (results != nullptr) return tile.template Finish<true>(*results);
  }
  tile.Store(sums);
}

template <class E>
using ConvTileFunction = decltype(&ConvTile<E, 1, 1, true>);
template <class E>
using ConvTilePackedFunction = decltype(&ConvTilePacked<E, 1, 1>);

// kConvTiles<E, NV, kChain>[MR - 1] and kConvTilesPacked<E, NV>[MR - 1]. Tiles that are added at
// their end are Winograd's, whose rows are one run of memory and mostly outgrow L2: 256 channels at
// 14² take 4.8 instead of 5.1 ms if they are fetched (8 images, one core with AVX-512).
template <class E, size_t NV, bool kChain, size_t... I>
constexpr std::array<ConvTileFunction<E>, sizeof...(I)> ConvTiles(std::index_sequence<I...>) {
  return {ConvTile < E, I + 1, NV, kChain, !kChain && kConvTerms<E> == 2 > ...};
}
template <class E, size_t NV, size_t... I>
constexpr std::array<ConvTilePackedFunction<E>, sizeof...(I)> ConvTilesPacked(
    std::index_sequence<I...>) {
  return {ConvTilePacked<E, I + 1, NV>...};
}
template <class E, size_t NV, bool kChain>
constexpr auto kConvTiles = ConvTiles<E, NV, kChain>(std::make_index_sequence<kConvMR>());
template <class E, size_t NV>
constexpr auto kConvTilesPacked = ConvTilesPacked<E, NV>(std::make_index_sequence<kConvMR>());

template <class E, class T = LaneOf<E>>
void ConvAccumulate(const T* const* rows, size_t row_stride, size_t count, size_t segments,
                    size_t depth, const T* panel, bool half, bool first,
                    [[maybe_unused]] bool fetch, T* sums, const ConvResults<T>* results) {
  auto tile = half ? kConvTiles<E, 1, true>[count - 1] : kConvTiles<E, 2, true>[count - 1];
  if constexpr (kConvTerms<E> == 2) {
    if (fetch && count == kConvMR && !half) tile = ConvTile<E, kConvMR, 2, true, true>;
  }
  tile(rows, row_stride, segments, depth, panel, first, sums, results);
}

template <class E, class T = LaneOf<E>>
void ConvAccumulatePacked(const T* rows, size_t count, const T* const* panels, size_t panel_step,
                          size_t segments, size_t depth, bool half, bool first,
                          [[maybe_unused]] bool fetch, T* sums, const ConvResults<T>* results) {
  auto tile = half ? kConvTilesPacked<E, 1>[count - 1] : kConvTilesPacked<E, 2>[count - 1];
  if constexpr (kConvTerms<E> == 2) {
    if (fetch && count == kConvMR && !half) tile = ConvTilePacked<E, kConvMR, 2, true>;
  }
  tile(rows, panels, panel_step, segments, depth, first, sums, results);
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_CONV_TILE_INL_H_
