// Adding to chosen pixels. Plain loops: a scatter instruction is no faster than the stores it makes
// (AVX-512: 0.70 ns per element either way).
#ifndef LANEWISE_OPS_POOL_SCATTER_H_
#define LANEWISE_OPS_POOL_SCATTER_H_

#include <cstdint>

namespace lanewise::pool {

// Gradients of windows and the pixels they go to: `windows` runs of `depth` channels.
template <class T>
struct PixelGradients {
  int64_t windows, depth;
  const T* dy;
  int64_t dy_step;  // between runs
  const int64_t* indices;
  int64_t index_step;
};

// to[(index - first)·step + c] += dy of channel c, one window after the other; integers modulo
// 2^bits.
template <class T>
void AddToPixels(const PixelGradients<T>& from, int64_t first, T* to, int64_t step);

// The same for indices in [first, first + count); others add nothing.
template <class T>
void AddToSomePixels(const PixelGradients<T>& from, int64_t first, int64_t count, T* to,
                     int64_t step);

// Distances between planes.
struct PlaneSteps {
  int64_t dy, indices, to;
};

// Runs of 1 in `planes` planes.
template <class T>
void AddToPlanes(PixelGradients<T> from, int64_t planes, const PlaneSteps& steps, T* to,
                 int64_t step);

}  // namespace lanewise::pool

#endif  // LANEWISE_OPS_POOL_SCATTER_H_
