#include "runtime/dtype.h"

namespace lanewise {
namespace {

// Bits that an integer's magnitude may need, or that a float's mantissa holds exactly.
int Digits(DType dtype) {
  constexpr int8_t kDigits[kDTypes] = {1, 7, 8, 15, 16, 31, 32, 63, 64, 11, 8, 24, 53};
  return kDigits[static_cast<int>(dtype)];
}

bool IsSigned(DType dtype) {
  return dtype == DType::kInt8 || dtype == DType::kInt16 || dtype == DType::kInt32 ||
         dtype == DType::kInt64;
}

}  // namespace

bool CanCast(DType from, DType to) {
  if (from == to) return true;
  if (to == DType::kFloat64) return true;
  if (from == DType::kFloat16 || from == DType::kBFloat16) return to == DType::kFloat32;
  if (IsFloat(from) || to == DType::kBool) return false;
  if (IsSigned(from) && !IsSigned(to) && !IsFloat(to)) return false;
  return Digits(from) <= Digits(to);
}

}  // namespace lanewise
