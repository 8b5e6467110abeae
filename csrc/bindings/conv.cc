#include "bindings/array.h"
namespace lanewise::bindings {
void BindConv(py::module_&) {}
}  // namespace lanewise::bindings
