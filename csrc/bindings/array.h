// From NumPy arrays to TensorViews. Every binding follows one pattern:
//   views of the arguments (GIL held) -> release the GIL -> call -> done.
// No argument is ever converted: the Python layer has settled dtypes, and what it passes is taken
// as it is or refused with a TypeError.
#ifndef LANEWISE_BINDINGS_ARRAY_H_
#define LANEWISE_BINDINGS_ARRAY_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "lanewise/error.h"
#include "lanewise/tensor.h"

namespace lanewise::bindings {

namespace py = pybind11;

// bfloat16 is another package's type: 2 bytes of kind "V" and known by its name.
inline DType DTypeOfArray(const py::array& array) {
  const char kind = array.dtype().kind();
  const py::ssize_t size = array.itemsize();
  const auto of_size = [&](DType one, DType two, DType four, DType eight) {
    return size == 1 ? one : size == 2 ? two : size == 4 ? four : eight;
  };
  if (size <= 8 && (size & (size - 1)) == 0) {
    if (kind == 'f' && size > 1) {
      return of_size({}, DType::kFloat16, DType::kFloat32, DType::kFloat64);
    }
    if (kind == 'i') return of_size(DType::kInt8, DType::kInt16, DType::kInt32, DType::kInt64);
    if (kind == 'u') return of_size(DType::kUInt8, DType::kUInt16, DType::kUInt32, DType::kUInt64);
    if (kind == 'b') return DType::kBool;
  }
  const std::string name = py::str(array.dtype());
  if (name == "bfloat16") return DType::kBFloat16;
  throw DTypeError("lanewise._core: no kernel takes dtype " + name);
}

// The view borrows the array's memory: keep the array alive as long as the view.
inline TensorView View(const py::array& array) {
  TensorView view;
  view.dtype = DTypeOfArray(array);
  view.data = const_cast<void*>(array.data());
  view.rank = static_cast<int>(array.ndim());
  const py::ssize_t size = array.itemsize();
  for (int axis = 0; axis < view.rank; ++axis) {
    view.shape[axis] = array.shape(axis);
    view.strides[axis] = array.strides(axis) / size;
  }
  return view;
}

inline TensorView OutputView(py::array& array) {
  array.mutable_data();  // throws for a read-only array
  return View(array);
}

inline Shape ShapeOf(const py::array& array) {
  return Shape(array.shape(), array.shape() + array.ndim());
}

inline py::tuple Tuple(const Shape& shape) {
  py::tuple tuple(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) tuple[i] = shape[i];
  return tuple;
}

// One per op, in the file of its name.
void BindRuntime(py::module_& m);
void BindWindow(py::module_& m);
void BindConv(py::module_& m);
void BindPool(py::module_& m);
void BindSoftmax(py::module_& m);
void BindCrossEntropy(py::module_& m);
void BindDistance(py::module_& m);

}  // namespace lanewise::bindings

#endif  // LANEWISE_BINDINGS_ARRAY_H_
