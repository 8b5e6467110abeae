#include "bindings/array.h"
namespace lanewise::bindings {
void BindSoftmax(py::module_&) {}
}  // namespace lanewise::bindings
