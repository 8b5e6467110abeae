// One row of y as the neighbour of a row of x: its distance and index in one integer, whose order
// is the order of neighbours. That is total, by (is NaN, distance, index), so that which are the
// nearest does not depend on the order in which they are found.
#ifndef LANEWISE_OPS_DISTANCE_NEIGHBOR_H_
#define LANEWISE_OPS_DISTANCE_NEIGHBOR_H_

#include <algorithm>
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

template <class T>
T DistanceOf(DistanceKey<T> key) {
  T distance;
  std::memcpy(&distance, &key, sizeof(distance));
  return distance;
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
    return DistanceOf<T>(key<T>());
  }
  int64_t index() const { return static_cast<int64_t>(bits & ((Bits{1} << kIndexBits) - 1)); }
  bool operator<(Neighbor other) const { return bits < other.bits; }
};

// Not inlined: these are large.
template <class Bits>
[[gnu::noinline]] void Sort(Neighbor<Bits>* begin, Neighbor<Bits>* end) {
  std::sort(begin, end);
}
// Brings the `count` first to the front, in any order but that the last of them is last.
template <class Bits>
[[gnu::noinline]] void BringForward(Neighbor<Bits>* begin, Neighbor<Bits>* end, int64_t count) {
  std::nth_element(begin, begin + (count - 1), end);
}

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_NEIGHBOR_H_
