// lanewise._core: the table of contents. Its signatures are written down in _core.pyi.
#include "bindings/array.h"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  namespace b = lanewise::bindings;
  m.doc() = "lanewise's kernels. Use them through the lanewise package, which checks arguments.";

  // std::invalid_argument is a ValueError and std::bad_alloc a MemoryError already.
  pybind11::register_exception_translator([](std::exception_ptr error) {
    try {
      std::rethrow_exception(error);
    } catch (const lanewise::DTypeError& e) {
      pybind11::set_error(PyExc_TypeError, e.what());
    }
  });

  b::BindRuntime(m);
  b::BindArray(m);
  b::BindConv(m);
  b::BindConvBackward(m);
  b::BindPool(m);
  b::BindSoftmax(m);
  b::BindCrossEntropy(m);
  b::BindDistance(m);
  b::BindNeighbors(m);
}
