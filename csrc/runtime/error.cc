#include "runtime/error.h"

namespace lanewise {

std::string ToString(const Shape& shape) {
  std::ostringstream text;
  text << "(";
  for (size_t i = 0; i < shape.size(); ++i) text << (i ? ", " : "") << shape[i];
  text << (shape.size() == 1 ? ",)" : ")");
  return text.str();
}

const char* ToString(DType dtype) {
  constexpr const char* kNames[kDTypes] = {"bool",     "int8",    "uint8",  "int16",  "uint16",
                                           "int32",    "uint32",  "int64",  "uint64", "float16",
                                           "bfloat16", "float32", "float64"};
  return kNames[static_cast<int>(dtype)];
}

void CheckView(const char* op, const char* name, const TensorView& view, DType dtype,
               const Shape& shape) {
  if (view.dtype != dtype) {
    FailDType(op, ": ", name, " has dtype ", ToString(view.dtype), ", expected ", ToString(dtype));
  }
  if (view.sizes() != shape) {
    Fail(op, ": ", name, " has shape ", ToString(view.sizes()), ", expected ", ToString(shape));
  }
}

int64_t CheckedProduct(const char* op, int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) {
    Fail(op, ": ", a, " times ", b, " elements do not fit in 64 bits");
  }
  return product;
}

Shape CheckedShape(const char* op, Shape shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements = CheckedProduct(op, elements, size);
  return shape;
}

}  // namespace lanewise
