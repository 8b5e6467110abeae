// The exceptions that ops throw. All are thrown before the first element of an output is written.
//   std::invalid_argument   a shape or an option that the op cannot take (ValueError in Python)
//   lanewise::DTypeError    an element type that the op does not take (TypeError)
//   std::bad_alloc          no memory for scratch or packed operands (MemoryError)
#ifndef LANEWISE_ERROR_H_
#define LANEWISE_ERROR_H_

#include <stdexcept>

namespace lanewise {

class DTypeError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

}  // namespace lanewise

#endif  // LANEWISE_ERROR_H_
