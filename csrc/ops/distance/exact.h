// One distance at a time, where the kernels' square sums would under- or overflow.
#ifndef LANEWISE_OPS_DISTANCE_EXACT_H_
#define LANEWISE_OPS_DISTANCE_EXACT_H_

#include <cstdint>

namespace lanewise {

// A row of d coordinates, `stride` elements apart.
template <class T>
struct Row {
  const T* data;
  int64_t stride;
  T operator[](int64_t k) const { return data[k * stride]; }
};

// float32 is computed in float64, whose range holds every square; float64 is scaled by a power of
// two that brings the largest difference (or coordinate) near 1.
template <class T>
T ExactEuclidean(Row<T> x, Row<T> y, int64_t d);
template <class T>
T ExactCosine(Row<T> x, Row<T> y, int64_t d);

}  // namespace lanewise

#endif  // LANEWISE_OPS_DISTANCE_EXACT_H_
