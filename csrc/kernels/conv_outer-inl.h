// The register tile of filters' gradients: sums of outer products of a few rows and two vectors of
// lanes, one for each pixel. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_CONV_OUTER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_CONV_OUTER_INL_H_
#undef LANEWISE_KERNELS_CONV_OUTER_INL_H_
#else
#define LANEWISE_KERNELS_CONV_OUTER_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
#include "kernels/conv_tile-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class T, size_t MR, size_t NV, bool kFetch = false>
void OuterTile(const T* const* rows, size_t row_step, const T* const* lanes, size_t lane_step,
               size_t segments, size_t depth, bool first, T* HWY_RESTRICT sums,
               [[maybe_unused]] const char* fetch) {
  ConvSums<T, MR, NV> tile;
  tile.Zero();
  for (size_t s = 0; s < segments; ++s) {
    const T* HWY_RESTRICT row = rows[s];
    const T* HWY_RESTRICT lane = lanes[s];
    const auto at = [&](size_t i, size_t) HWY_ATTR { return row[i]; };
    for (size_t k = 0; k < depth; ++k, row += row_step, lane += lane_step) {
      if constexpr (kFetch) {
        __builtin_prefetch(fetch, 0, 2);
        fetch += 64;
      }
      tile.template Add<1>(at, lane, lane_step);
    }
  }
  if (first) {
    tile.Store(sums);
  } else {
    tile.AddTo(sums);
  }
}

template <class T>
using OuterTileFunction = decltype(&OuterTile<T, 1, 1>);

// Rows are computed in thirds of a whole tile's.
template <class T, size_t NV>
constexpr OuterTileFunction<T> kOuterTiles[] = {
    OuterTile<T, kConvMR / 3, NV>, OuterTile<T, kConvMR / 3 * 2, NV>, OuterTile<T, kConvMR, NV>};

template <class T>
void Outer(const T* const* rows, size_t row_step, size_t count, const T* const* lanes,
           size_t lane_step, bool half, size_t segments, size_t depth, bool first, T* sums) {
  const size_t third = (count - 1) / (kConvMR / 3);
  const auto tile = half ? kOuterTiles<T, 1>[third] : kOuterTiles<T, 2>[third];
  tile(rows, row_step, lanes, lane_step, segments, depth, first, sums, nullptr);
}

template <class T>
void OuterFetching(const T* const* rows, size_t row_step, const T* const* lanes, size_t lane_step,
                   size_t segments, size_t depth, bool first, T* sums, const void* fetch) {
  OuterTile<T, kConvMR, 2, true>(rows, row_step, lanes, lane_step, segments, depth, first, sums,
                                 static_cast<const char*>(fetch));
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_CONV_OUTER_INL_H_
