// Walking and copying along arbitrary strides.
#ifndef LANEWISE_OPS_STRIDED_H_
#define LANEWISE_OPS_STRIDED_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lanewise/tensor.h"

namespace lanewise {

template <class T>
T* Data(const TensorView& view) {
  return static_cast<T*>(view.data);
}

inline TensorView ContiguousView(void* data, DType dtype, const Shape& shape) {
  TensorView view;
  view.data = data;
  view.dtype = dtype;
  view.rank = static_cast<int>(shape.size());
  int64_t stride = 1;
  for (int axis = view.rank; axis-- > 0; stride *= shape[axis]) {
    view.shape[axis] = shape[axis];
    view.strides[axis] = stride;
  }
  return view;
}

// to[i] = from[i·stride], i < n.
template <class T>
void Gather(const T* from, int64_t stride, int64_t n, T* to) {
  if (stride == 1) {
    std::memcpy(to, from, n * sizeof(T));
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * stride];
  }
}

// to[i·stride] = from[i], i < n.
template <class T>
void Scatter(const T* from, int64_t n, T* to, int64_t stride) {
  if (stride == 1) {
    std::memcpy(to, from, n * sizeof(T));
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * stride] = from[i];
  }
}

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// A range [0, total) cut into `count` nearly equal pieces whose borders are multiples of `unit`,
// each at most RoundUp(at_most, unit) long.
struct Split {
  int64_t total = 0, unit = 1, count = 0;

  Split() = default;
  // At least `at_least` pieces, as far as there are units.
  Split(int64_t total_, int64_t unit_, int64_t at_most, int64_t at_least = 1)
      : total(total_), unit(unit_) {
    const int64_t units = CeilDiv(total, unit);
    count = CeilDiv(units, std::max<int64_t>(1, CeilDiv(at_most, unit)));
    count = std::max(count, std::min(at_least, units));
  }
  int64_t begin(int64_t piece) const {
    return std::min(total, CeilDiv(total, unit) * piece / count * unit);
  }
  int64_t end(int64_t piece) const { return begin(piece + 1); }
  // No piece is longer than this.
  int64_t longest() const { return count == 0 ? 0 : CeilDiv(CeilDiv(total, unit), count) * unit; }
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_STRIDED_H_
