#include "ops/distance/arguments.h"

#include <algorithm>
#include <string>

#include "runtime/error.h"

namespace lanewise::distance {

Shape BroadcastLeadingAxes(const char* op, const Shape& x, const Shape& y, int inner) {
  const auto fail = [&](const char* what) {
    Fail(op, ": ", what, ": x has shape ", ToString(x), " and y has shape ", ToString(y));
  };
  const size_t fewest = static_cast<size_t>(inner);
  if (std::min(x.size(), y.size()) < fewest) {
    fail(inner == 2 ? "x and y need at least 2 axes (…, rows, coordinates)"
                    : "x and y need at least 1 axis (…, coordinates)");
  }
  if (x.back() != y.back()) fail("x and y need the same number of coordinates (last axis)");
  Shape shape(std::max(x.size(), y.size()) - fewest);
  for (size_t back = 1; back <= shape.size(); ++back) {
    const size_t from_end = back + fewest;
    const int64_t a = from_end <= x.size() ? x[x.size() - from_end] : 1;
    const int64_t b = from_end <= y.size() ? y[y.size() - from_end] : 1;
    if (a != b && a != 1 && b != 1) fail("leading axes do not broadcast");
    shape[shape.size() - back] = a == 1 ? b : a;
  }
  return shape;
}

void CheckFloat(const char* op, const char* name, DType dtype) {
  if (IsFloat(dtype)) return;
  FailDType(op, ": ", name, " has dtype ", ToString(dtype), ", expected a floating-point type");
}

void CheckHolds(const char* op, std::string_view whose, DType dtype, const char* name, DType from) {
  if (CanCast(from, dtype)) return;
  FailDType(op, ": ", name, " has dtype ", ToString(from), ", which ", whose, " dtype ",
            ToString(dtype), " does not hold exactly");
}

void CheckOperands(const char* op, const TensorView& x, const TensorView& y, DType dtype,
                   const char* name) {
  CheckFloat(op, name, dtype);
  const std::string whose = std::string(name) + "'s";
  CheckHolds(op, whose, dtype, "x", x.dtype);
  CheckHolds(op, whose, dtype, "y", y.dtype);
}

void CheckArguments(const char* op, const TensorView& x, const TensorView& y, const Shape& shape,
                    const TensorView& out, const char* name) {
  CheckOperands(op, x, y, out.dtype, name);
  CheckView(op, name, out, out.dtype, shape);
}

}  // namespace lanewise::distance
