/// @file
/// The only array type of the public API: a view of somebody else's memory.
#ifndef LANEWISE_TENSOR_H_
#define LANEWISE_TENSOR_H_

#include <cstdint>
#include <initializer_list>
#include <vector>

namespace lanewise {

/// The element types. What an op makes of each is said beside it.
enum class DType : uint8_t {
  kBool,  ///< one byte, 0 or 1
  kInt8,
  kUInt8,
  kInt16,
  kUInt16,
  kInt32,
  kUInt32,
  kInt64,
  kUInt64,
  kFloat16,   ///< IEEE 754 binary16
  kBFloat16,  ///< the upper half of a binary32
  kFloat32,
  kFloat64,
};
/// The number of element types.
constexpr int kDTypes = 13;

/// A binary16 as it lies in memory; ops compute with it in float32.
struct Float16 {
  uint16_t bits;  ///< sign, 5 bits of exponent, 10 of mantissa
};
/// The upper half of a binary32 as it lies in memory; ops compute with it in float32.
struct BFloat16 {
  uint16_t bits;  ///< sign, 8 bits of exponent, 7 of mantissa
};

/// DTypeOf<T>::value is the DType of every C++ type T that an array may hold.
template <class T>
struct DTypeOf;
/// @cond
template <DType kDType>
struct DTypeConstant {
  static constexpr DType value = kDType;
};
// clang-format off
template <> struct DTypeOf<bool> : DTypeConstant<DType::kBool> {};
template <> struct DTypeOf<int8_t> : DTypeConstant<DType::kInt8> {};
template <> struct DTypeOf<uint8_t> : DTypeConstant<DType::kUInt8> {};
template <> struct DTypeOf<int16_t> : DTypeConstant<DType::kInt16> {};
template <> struct DTypeOf<uint16_t> : DTypeConstant<DType::kUInt16> {};
template <> struct DTypeOf<int32_t> : DTypeConstant<DType::kInt32> {};
template <> struct DTypeOf<uint32_t> : DTypeConstant<DType::kUInt32> {};
template <> struct DTypeOf<int64_t> : DTypeConstant<DType::kInt64> {};
template <> struct DTypeOf<uint64_t> : DTypeConstant<DType::kUInt64> {};
template <> struct DTypeOf<Float16> : DTypeConstant<DType::kFloat16> {};
template <> struct DTypeOf<BFloat16> : DTypeConstant<DType::kBFloat16> {};
template <> struct DTypeOf<float> : DTypeConstant<DType::kFloat32> {};
template <> struct DTypeOf<double> : DTypeConstant<DType::kFloat64> {};
// clang-format on
/// @endcond

/// The size of each axis.
using Shape = std::vector<int64_t>;

/// A non-owning view: element i is at data + Σ i[a]·strides[a] elements (not bytes). Strides may be
/// negative or 0 for inputs; an output's elements must not overlap. Memory must be aligned to the
/// element type and in native byte order, and outlive the call. Copying a view copies no data.
struct TensorView {
  static constexpr int kMaxRank = 64;  ///< NumPy's own limit

  void* data = nullptr;           ///< element 0 of every axis
  DType dtype = DType::kFloat32;  ///< of every element
  int rank = 0;                   ///< number of axes, at most kMaxRank
  int64_t shape[kMaxRank];        ///< the first `rank` entries count
  int64_t strides[kMaxRank];      ///< in elements; the first `rank` entries count

  /// A view without axes of no memory at all.
  TensorView() {}

  /// A C-contiguous view, for inputs and outputs alike (ops never write their inputs).
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

  /// The shape as a vector.
  Shape sizes() const { return Shape(shape, shape + rank); }
};

}  // namespace lanewise

#endif  // LANEWISE_TENSOR_H_
