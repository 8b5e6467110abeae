// Sums of the direct gradient by filters, from tiles to the result.
#include "ops/conv_backward/filter_direct_store.h"

#include <algorithm>

#include "runtime/target.h"

namespace lanewise {

template <class T>
TileWriter<T>::TileWriter(const FilterGradient<T>& g, const FilterDirectPlan& plan)
    : g_(g), plan_(plan), kernels_(ConvKernelsFor<T>(ActiveTarget())) {}

// The tiles of a unit of x, filter row and piece t of it, for the units of dy of a box; they are
// `step` elements apart.
template <class T>
void TileWriter<T>::WriteTiles(const Sink<T>& to, const TileBox& box, int64_t x, int64_t t,
                               const T* tiles, int64_t step) const {
  const FilterStrides& strides = g_.dw_strides;
  const int64_t c = plan_.shape.group_c, k = plan_.shape.group_k, y_tile = plan_.tiling.y_tile;
  // Elements of x's side, which are numbered (s, c).
  const int64_t past = plan_.tiling.joined ? plan_.shape.w.window * c : c;
  const int64_t first = (plan_.tiling.joined ? t : x) * plan_.tiling.x_tile;
  const int64_t nx = std::min(plan_.tiling.x_tile, past - first);
  for (int64_t i = 0, n; i < nx; i += n) {
    const int64_t s = plan_.tiling.joined ? (first + i) / c : t, channel = (first + i) % c;
    const Sink<T> at = to + (s * strides.s + channel * strides.c);
    n = plan_.tiling.swapped ? std::min(nx - i, c - channel) : 1;
    for (int64_t y = box.y; y < box.y_end; ++y) {
      const int64_t ny = std::min(y_tile, k - y * y_tile);
      const T* const tile = tiles + (y - box.y) * step;
      const Sink<T> filters = at + y * y_tile * strides.k;
      if (!plan_.tiling.swapped) {
        filters.Write(tile + i * plan_.nr, ny, strides.k);
      } else if (strides.k == 1 && strides.c >= 0 && to.native()) {
        kernels_.transpose(tile + i, plan_.nr, ny, n, filters.InPlace(), strides.c);
      } else {
        for (int64_t j = 0; j < ny; ++j) {
          (filters + j * strides.k).Write(tile + j * plan_.nr + i, n, strides.c);
        }
      }
    }
  }
}

// Whether filters are written as [k][c][tap], transposed.
template <class T>
bool TileWriter<T>::WritesPlanes(const TileBox& box) const {
  const FilterStrides& strides = g_.dw_strides;
  const int64_t taps = plan_.shape.taps();
  return g_.dw.native() && !plan_.tiling.swapped && !plan_.tiling.joined && strides.k > 1 &&
         strides.c == taps && (plan_.shape.w.window == 1 || strides.s == 1) &&
         (plan_.shape.h.window == 1 || strides.r == plan_.shape.w.window) && taps <= kElements &&
         box.rows() * box.taps() == taps;
}

template <class T>
void TileWriter<T>::WritePlanes(const Sink<T>& to, int64_t x, int64_t y, const T* tiles,
                                T* chunk) const {
  const int64_t taps = plan_.shape.taps(), c = x * plan_.tiling.x_tile, k = y * plan_.tiling.y_tile;
  const int64_t nx = std::min(plan_.tiling.x_tile, plan_.shape.group_c - c);
  const int64_t ny = std::min(plan_.tiling.y_tile, plan_.shape.group_k - k),
                most = kElements / taps;
  for (int64_t i = 0; i < nx; i += most) {
    const int64_t count = std::min(most, nx - i);
    for (int64_t tap = 0; tap < taps; ++tap) {
      kernels_.copy(tiles + tap * plan_.tile + i * plan_.nr, plan_.nr, count, ny,
                    chunk + tap * plan_.nr, taps * plan_.nr);
    }
    kernels_.transpose(chunk, plan_.nr, count * taps, ny,
                       (to + ((c + i) * taps + k * g_.dw_strides.k)).InPlace(), g_.dw_strides.k);
  }
}

template <class T>
void TileWriter<T>::Write(int64_t bank, int64_t group, const TileBox& box, const T* sums,
                          T* chunk) const {
  const Sink<T> to = g_.dw + (bank * g_.dw_strides.n + group * g_.dw_strides.g);
  const bool planes = WritesPlanes(box);
  for (int64_t x = box.x; x < box.x_end; ++x) {
    for (int64_t y = box.y; y < box.y_end && planes; ++y) {
      WritePlanes(to, x, y, sums + box.Index(y, x, 0, 0) * plan_.tile, chunk);
    }
    for (int64_t r = box.r; r < box.r_end && !planes; ++r) {
      for (int64_t t = box.t; t < box.t_end; ++t) {
        WriteTiles(to + r * g_.dw_strides.r, box, x, t,
                   sums + box.Index(box.y, x, r, t) * plan_.tile,
                   (box.Index(1, 0, 0, 0) - box.Index(0, 0, 0, 0)) * plan_.tile);
      }
    }
  }
}

template class TileWriter<float>;
template class TileWriter<double>;
template class TileWriter<int32_t>;
template class TileWriter<int64_t>;

}  // namespace lanewise
