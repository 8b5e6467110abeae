#include "bindings/array.h"
namespace lanewise::bindings {
void BindPool(py::module_&) {}
}  // namespace lanewise::bindings
