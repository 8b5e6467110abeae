// Facts about element types, and the rule by which ops compute.
//
//   result                        computed in
//   float16, bfloat16, float32    float, rounded to the result's type once
//   float64                       double
//   bool, integers to 32 bits     int32_t  } modulo 2^bits, where signs do not matter; the result's
//   64-bit integers               int64_t  } type takes the low bits
//
// An operand may have any type that converts exactly to what is computed in.
#ifndef LANEWISE_RUNTIME_DTYPE_H_
#define LANEWISE_RUNTIME_DTYPE_H_

#include <cstdint>

#include "lanewise/tensor.h"

namespace lanewise {

inline int64_t ItemSize(DType dtype) {
  constexpr int8_t kSizes[kDTypes] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 2, 4, 8};
  return kSizes[static_cast<int>(dtype)];
}

inline bool IsFloat(DType dtype) { return dtype >= DType::kFloat16; }
inline bool IsInteger(DType dtype) { return !IsFloat(dtype) && dtype != DType::kBool; }

// Whether every value of `from` is one of `to`, by NumPy's "safe" rule (which lets 64-bit integers
// become float64).
bool CanCast(DType from, DType to);

// What results of `dtype` are computed in.
inline DType ComputeType(DType dtype) {
  if (dtype == DType::kFloat64) return dtype;
  if (IsFloat(dtype)) return DType::kFloat32;
  return ItemSize(dtype) == 8 ? DType::kInt64 : DType::kInt32;
}

// `f(C())` with C what floating-point results of `dtype` are computed in; integers have none here
// and must have been refused before.
template <class F>
void DispatchFloat(DType dtype, const F& f) {
  if (ComputeType(dtype) == DType::kFloat64) {
    f(double());
  } else {
    f(float());
  }
}

// The same for all four.
template <class F>
void Dispatch(DType dtype, const F& f) {
  switch (ComputeType(dtype)) {
    case DType::kInt32:
      return f(int32_t());
    case DType::kInt64:
      return f(int64_t());
    default:
      return DispatchFloat(dtype, f);
  }
}

}  // namespace lanewise

#endif  // LANEWISE_RUNTIME_DTYPE_H_
