// Wording of errors: Fail("conv2d: stride is ", s, ", expected at least 1").
#ifndef LANEWISE_RUNTIME_ERROR_H_
#define LANEWISE_RUNTIME_ERROR_H_

#include <cstdint>
#include <sstream>
#include <string>

#include "lanewise/error.h"
#include "lanewise/tensor.h"

namespace lanewise {

std::string ToString(const Shape& shape);  // as Python prints a tuple: (3,) or (1, 8, 8, 3)
const char* ToString(DType dtype);

template <class... Parts>
std::string Concat(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

template <class... Parts>
[[noreturn]] void Fail(const Parts&... parts) {
  throw std::invalid_argument(Concat(parts...));
}

template <class... Parts>
[[noreturn]] void FailDType(const Parts&... parts) {
  throw DTypeError(Concat(parts...));
}

// `view`, named `name`, must have exactly this dtype and shape.
void CheckView(const char* op, const char* name, const TensorView& view, DType dtype,
               const Shape& shape);

// a·b for sizes; throws std::invalid_argument, naming the op, where the product leaves int64.
int64_t CheckedProduct(const char* op, int64_t a, int64_t b);

// `shape`, after the product of its sizes was checked in the same way.
Shape CheckedShape(const char* op, Shape shape);

}  // namespace lanewise

#endif  // LANEWISE_RUNTIME_ERROR_H_
