// Which distances of a tile are small enough to be neighbours. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_NEIGHBORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_NEIGHBORS_INL_H_
#undef LANEWISE_KERNELS_NEIGHBORS_INL_H_
#else
#define LANEWISE_KERNELS_NEIGHBORS_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Vectors of which a row of a tile has a whole number.
template <class T>
using NeighborTag = hn::CappedTag<T, 32 / sizeof(T)>;

// The bits of a mask of at most 8 lanes.
template <class D, class M>
HWY_INLINE uint64_t MaskBits(D d, M mask) {
  static_assert(hn::MaxLanes(D()) <= 8);
  uint8_t bytes[8] = {};  // StoreMaskBits may write so many
  hn::StoreMaskBits(d, mask, bytes);
  return bytes[0];
}

template <class T>
bool Below(const DistanceTile<T>& tile, uint64_t* below) {
  const NeighborTag<T> d;
  const hn::RebindToSigned<decltype(d)> keys;
  const size_t lanes = hn::Lanes(d);
  const uint64_t columns = ~uint64_t{0} >> (64 - tile.n);
  const auto nan = hn::Set(keys, kNanKey<T>);
  const auto is_below = [&](const T* distances, auto limit) HWY_ATTR {
    const auto key = hn::Min(hn::BitCast(keys, hn::Abs(hn::Load(d, distances))), nan);
    return hn::Lt(key, limit);
  };
  bool any = false;
  for (size_t i = 0; i < tile.rows; ++i) {
    const T* row = tile.distances + i * tile.nr;
    const auto limit = hn::Set(keys, tile.limits[i]);
    auto one = is_below(row, limit);
    for (size_t j = lanes; j < tile.n; j += lanes) one = hn::Or(one, is_below(row + j, limit));
    below[i] = 0;
    if (HWY_LIKELY(hn::AllFalse(keys, one))) continue;  // nearly always, once limits are tight
    for (size_t j = 0; j < tile.n; j += lanes) {
      below[i] |= MaskBits(keys, is_below(row + j, limit)) << j;
    }
    below[i] &= columns;
    any |= below[i] != 0;
  }
  return any;
}

template <class T>
constexpr NeighborKernels<T> kNeighbors{Below<T>};

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_NEIGHBORS_INL_H_
