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

// Elements of two arrays, which may be strided.
struct NeighborOffsets {
  int64_t distances, indices;
};

// Memory of any type for the distances, which are rounded to it, and of int64 for the indices.
// Written and read again, a neighbour whose distance that type holds is the same.
template <class T>
class NeighborMemory {
 public:
  NeighborMemory(const TensorView& distances, const TensorView& indices)
      : distances_(distances),
        stored_(distances),
        indices_(Data<int64_t>(indices)),
        strides_{distances.strides[distances.rank - 1], indices.strides[indices.rank - 1]} {}

  // neighbors[0, n) to elements `begin` and those after it on the last axes.
  template <class Bits>
  void Write(const Neighbor<Bits>* neighbors, int64_t n, const NeighborOffsets& begin) const {
    T distances[kChunk];
    int64_t indices[kChunk];
    for (int64_t i = 0; i < n; i += kChunk) {
      const int64_t count = std::min(kChunk, n - i);
      for (int64_t j = 0; j < count; ++j) {
        distances[j] = neighbors[i + j].template distance<T>();
        indices[j] = neighbors[i + j].index();
      }
      const auto [distance_at, index_at] = At(begin, i);
      distances_.Write(distances, count, distance_at, strides_.distances);
      Scatter(indices, count, indices_ + index_at, strides_.indices);
    }
  }

  // The same for one, i elements after `begin`.
  template <class Bits>
  void Set(Neighbor<Bits> neighbor, int64_t i, const NeighborOffsets& begin) const {
    const auto [distance_at, index_at] = At(begin, i);
    const T distance = neighbor.template distance<T>();
    if (T* memory = distances_.InPlace(distance_at)) {
      *memory = distance;
    } else {
      distances_.Write(&distance, 1, distance_at, 1);
    }
    indices_[index_at] = neighbor.index();
  }
  template <class Bits>
  Neighbor<Bits> Get(int64_t i, const NeighborOffsets& begin) const {
    const auto [distance_at, index_at] = At(begin, i);
    T distance;
    if (const T* memory = distances_.InPlace(distance_at)) {
      distance = *memory;
    } else {
      (stored_ + distance_at).Read(1, 1, &distance);
    }
    return Neighbor<Bits>::Of(distance, indices_[index_at]);
  }

 private:
  NeighborOffsets At(const NeighborOffsets& begin, int64_t i) const {
    return {begin.distances + i * strides_.distances, begin.indices + i * strides_.indices};
  }

  const Results<T> distances_;
  const Source<T> stored_;
  int64_t* const indices_;
  const NeighborOffsets strides_;
};

// The rows (…, k) of one matrix of the batch.
template <class T>
class NeighborResults {
 public:
  NeighborResults(const TensorView& distances, const TensorView& indices,
                  const NeighborOffsets& begin)
      : memory_(distances, indices),
        begin_(begin),
        strides_{distances.strides[distances.rank - 2], indices.strides[indices.rank - 2]} {}

  template <class Bits>
  void Write(int64_t row, const Neighbor<Bits>* neighbors, int64_t n) const {
    memory_.Write(neighbors, n, BeginOf(row));
  }
  template <class Bits>
  void Set(int64_t row, int64_t i, Neighbor<Bits> neighbor) const {
    memory_.Set(neighbor, i, BeginOf(row));
  }
  template <class Bits>
  Neighbor<Bits> Get(int64_t row, int64_t i) const {
    return memory_.template Get<Bits>(i, BeginOf(row));
  }

 private:
  NeighborOffsets BeginOf(int64_t row) const {
    return {begin_.distances + row * strides_.distances, begin_.indices + row * strides_.indices};
  }

  const NeighborMemory<T> memory_;
  const NeighborOffsets begin_, strides_;
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_NEIGHBOR_RESULTS_H_
