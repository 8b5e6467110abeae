// Where the neighbours of each row go.
#ifndef LANEWISE_OPS_DISTANCE_NEIGHBOR_RESULTS_H_
#define LANEWISE_OPS_DISTANCE_NEIGHBOR_RESULTS_H_

#include <algorithm>
#include <cstdint>

#include "ops/distance/finish.h"
#include "ops/distance/neighbor.h"
#include "ops/elements.h"
#include "ops/strided.h"

namespace lanewise::distance {

// Of one batch element: the neighbours of row i are elements i·(row stride) + j·(stride), of the
// distances and of the indices. What is written is rounded to the distances' type; so written and
// read again, a neighbour is the same.
template <class T>
class NeighborResults {
 public:
  struct Offsets {
    int64_t distances, indices;
  };

  NeighborResults(const TensorView& distances, const TensorView& indices, const Offsets& begin)
      : distances_(distances),
        stored_(distances),
        indices_(Data<int64_t>(indices)),
        begin_(begin),
        row_strides_{distances.strides[distances.rank - 2], indices.strides[indices.rank - 2]},
        strides_{distances.strides[distances.rank - 1], indices.strides[indices.rank - 1]} {}

  // Neighbours [0, n) of a row.
  template <class Bits>
  void Write(int64_t row, const Neighbor<Bits>* neighbors, int64_t n) const {
    T distances[kChunk];
    int64_t indices[kChunk];
    for (int64_t i = 0; i < n; i += kChunk) {
      const int64_t count = std::min(kChunk, n - i);
      for (int64_t j = 0; j < count; ++j) {
        distances[j] = neighbors[i + j].template distance<T>();
        indices[j] = neighbors[i + j].index();
      }
      const auto [distance_at, index_at] = At(row, i);
      distances_.Write(distances, count, distance_at, strides_.distances);
      Scatter(indices, count, indices_ + index_at, strides_.indices);
    }
  }

  template <class Bits>
  void Set(int64_t row, int64_t i, Neighbor<Bits> neighbor) const {
    const auto [distance_at, index_at] = At(row, i);
    const T distance = neighbor.template distance<T>();
    if (T* memory = distances_.InPlace(distance_at)) {
      *memory = distance;
    } else {
      distances_.Write(&distance, 1, distance_at, 1);
    }
    indices_[index_at] = neighbor.index();
  }

  template <class Bits>
  Neighbor<Bits> Get(int64_t row, int64_t i) const {
    const auto [distance_at, index_at] = At(row, i);
    T distance;
    if (const T* memory = distances_.InPlace(distance_at)) {
      distance = *memory;
    } else {
      (stored_ + distance_at).Read(1, 1, &distance);
    }
    return Neighbor<Bits>::Of(distance, indices_[index_at]);
  }

 private:
  Offsets At(int64_t row, int64_t i) const {
    const auto at = [&](auto Offsets::*which) {
      return begin_.*which + row * row_strides_.*which + i * strides_.*which;
    };
    return {at(&Offsets::distances), at(&Offsets::indices)};
  }

  const Results<T> distances_;
  const Source<T> stored_;
  int64_t* const indices_;
  const Offsets begin_, row_strides_, strides_;
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_NEIGHBOR_RESULTS_H_
