// The only array type of the public API: a view of somebody else's memory.
#ifndef LANEWISE_TENSOR_H_
#define LANEWISE_TENSOR_H_

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace lanewise {

enum class DType : uint8_t { kFloat32, kFloat64, kInt64 };

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kFloat32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kFloat64;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kInt64;
};

using Shape = std::vector<int64_t>;

// A non-owning view: element i is at data + Σ i[a]·strides[a] elements (not bytes). Strides may be
// negative or 0 for inputs; an output's elements must not overlap. Memory must be aligned to the
// element type and in native byte order, and outlive the call. Copying a view copies no data.
struct TensorView {
  static constexpr int kMaxRank = 64;  // NumPy's own limit

  void* data = nullptr;
  DType dtype = DType::kFloat32;
  int rank = 0;
  int64_t shape[kMaxRank];    // the first `rank` entries count
  int64_t strides[kMaxRank];  // in elements

  TensorView() {}

  // A C-contiguous view, for inputs and outputs alike (ops never write their inputs).
  template <class T>
  TensorView(const T* contiguous, std::initializer_list<int64_t> sizes)
      : data(const_cast<T*>(contiguous)), dtype(DTypeOf<T>::value) {
    rank = static_cast<int>(sizes.size());
    int64_t stride = 1;
    for (int axis = rank; axis-- > 0;) {
      shape[axis] = sizes.begin()[axis];
      strides[axis] = stride;
      stride *= shape[axis];
    }
  }

  Shape sizes() const { return Shape(shape, shape + rank); }
};

}  // namespace lanewise

#endif  // LANEWISE_TENSOR_H_
