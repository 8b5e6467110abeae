/// @file
/// The exceptions that ops throw, all of them before the first element of an output is written.
///
/// | exception | when | in Python |
/// |---|---|---|
/// | `std::invalid_argument` | a shape or an option that the op cannot take | `ValueError` |
/// | `std::out_of_range` | a label that is no class | `IndexError` |
/// | lanewise::DTypeError | an element type that the op does not take | `TypeError` |
/// | `std::bad_alloc` | no memory for scratch or packed operands | `MemoryError` |
///
/// The message names the op, the argument and what was seen.
#ifndef LANEWISE_ERROR_H_
#define LANEWISE_ERROR_H_

#include <stdexcept>

/// Deep-learning and metric-learning kernels on plain memory.
namespace lanewise {

/// An element type that the op does not take.
class DTypeError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

}  // namespace lanewise

#endif  // LANEWISE_ERROR_H_
