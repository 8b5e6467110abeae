// Between NumPy arrays and TensorViews. Every binding follows one pattern:
//   arrays, options (options.h), result, views (GIL held) -> release the GIL -> call -> return.
// Most arguments are plain arrays of one type, and are seen to be so here, in no time. All others
// are for lanewise/_array.py to convert or to refuse.
#ifndef LANEWISE_BINDINGS_ARRAY_H_
#define LANEWISE_BINDINGS_ARRAY_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <initializer_list>

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

// An argument by its name. Where arrays are asked for, None and packed filters do not count.
struct Operand {
  const char* name;
  py::handle array;
  bool may_be_out = false;  // element by element
};
using Operands = std::initializer_list<Operand>;

// `value` as an array that View takes; copied only where it is misaligned, byte-swapped or none.
// TypeError for what is not of real numbers.
py::array AsArray(const char* op, const char* name, py::handle value);

// The same for a small operand that does not promote the result: copied unless it is of its type.
// TypeError where that is no "same_kind" cast.
py::array AsArrayOf(const char* op, const char* name, py::handle value, const py::dtype& dtype);

// TypeError unless the kind of the array's dtype is one of `kinds`, which `expected` words.
void CheckKind(const char* op, const char* name, const py::array& array, const char* kinds,
               const char* expected);

// np.result_type of the arrays; TypeError where there is none.
py::dtype ResultType(const char* op, Operands operands);
// The same, where integers and bool become float64.
py::dtype FloatResultType(const char* op, Operands operands);

// A new, uninitialised array, of the pool's memory where it is large. ValueError, in the name of
// `op`, where no array can have this shape; MemoryError.
py::array NewArray(const char* op, const Shape& shape, const py::dtype& dtype);
// The same, or `out` unless that is None: it must then be able to hold the result and overlap none
// of the operands.
py::array Result(const char* op, py::handle out, const Shape& shape, const py::dtype& dtype,
                 Operands operands);

// Calls `run`, which touches no Python object, while other threads may.
template <class F>
void Released(const F& run) {
  const py::gil_scoped_release release;
  run();
}

// One per op, in the file of its name.
void BindRuntime(py::module_& m);
void BindArray(py::module_& m);
void BindConv(py::module_& m);
void BindConvBackward(py::module_& m);
void BindPool(py::module_& m);
void BindSoftmax(py::module_& m);
void BindCrossEntropy(py::module_& m);
void BindDistance(py::module_& m);
void BindNeighbors(py::module_& m);

}  // namespace lanewise::bindings

#endif  // LANEWISE_BINDINGS_ARRAY_H_
