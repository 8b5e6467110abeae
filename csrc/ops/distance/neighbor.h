// One row of y as the neighbour of a row of x: its distance and index in one integer, whose order
// is the order of neighbours. That is total, by (is NaN, distance, index), so that which are the
// nearest does not depend on the order in which they are found.
#ifndef LANEWISE_OPS_DISTANCE_NEIGHBOR_H_
#define LANEWISE_OPS_DISTANCE_NEIGHBOR_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/kernels.h"

namespace lanewise::distance {

__extension__ using Uint128 = unsigned __int128;

template <class T>
DistanceKey<T> KeyOf(T distance) {
  if (std::isnan(distance)) return kNanKey<T>;
  const T positive = std::abs(distance);
  DistanceKey<T> key;
  std::memcpy(&key, &positive, sizeof(key));
  return key;
}

// Bits is uint64_t, for float and indices below 2^32, or Uint128.
template <class Bits>
struct Neighbor {
  static constexpr int kIndexBits = 4 * sizeof(Bits);

  Bits bits;

  template <class T>
  static Neighbor Of(T distance, int64_t index) {
    return {static_cast<Bits>(KeyOf(distance)) << kIndexBits | static_cast<Bits>(index)};
  }
  // One after all that there are.
  static Neighbor Last() { return {~Bits{0}}; }

  template <class T>
  DistanceKey<T> key() const {
    return static_cast<DistanceKey<T>>(bits >> kIndexBits);
  }
  template <class T>
  T distance() const {
    const DistanceKey<T> positive = key<T>();
    T distance;
    std::memcpy(&distance, &positive, sizeof(distance));
    return distance;
  }
  int64_t index() const { return static_cast<int64_t>(bits & ((Bits{1} << kIndexBits) - 1)); }
  bool operator<(Neighbor other) const { return bits < other.bits; }
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_NEIGHBOR_H_
