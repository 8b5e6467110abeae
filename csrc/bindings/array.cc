// The only file that knows NumPy's own C API: pybind11 has no names for allocation handlers (NEP
// 49).
#define NPY_NO_DEPRECATED_API NPY_1_25_API_VERSION
#define NPY_TARGET_VERSION NPY_1_25_API_VERSION
#include "bindings/array.h"

#include <numpy/arrayobject.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "lanewise/memory.h"

namespace lanewise::bindings {
namespace {

// ------------------------------------------------------------------------------- arrays that come

PyArrayObject* AsPyArray(PyObject* array) { return reinterpret_cast<PyArrayObject*>(array); }

// Of a type that every kernel's Source reads, aligned and in native byte order. Types of other
// packages, bfloat16 among them, are not told apart here.
bool IsPlain(PyObject* value) {
  if (!PyArray_CheckExact(value)) return false;
  PyArrayObject* const array = AsPyArray(value);
  const int type = PyArray_TYPE(array);
  const bool known =
      type <= NPY_DOUBLE || type == NPY_HALF;  // NPY_BOOL … NPY_ULONGLONG, float, double
  return known && PyArray_ISBEHAVED_RO(array);
}

// Of an array or a packed filter.
py::object DTypeOf(py::handle operand) {
  if (!PyArray_Check(operand.ptr())) return operand.attr("dtype");
  PyArrayObject* const array = AsPyArray(operand.ptr());
  return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(PyArray_DESCR(array)));
}

// A function of lanewise/_array.py.
py::object Python(const char* name) { return py::module_::import("lanewise._array").attr(name); }

py::dict Arrays(Operands operands) {
  py::dict arrays;
  for (const Operand& operand : operands) {
    if (!operand.array.is_none()) arrays[operand.name] = operand.array;
  }
  return arrays;
}

// ------------------------------------------------------------------------------------------- pool

// What an array calls that was made under our handler, through all its life. Memory of the pool and
// of malloc can be told apart, so that a resized array may have either.
void* Malloc(void*, size_t bytes) {
  void* const block = bytes >= kPoolThreshold ? AllocateBlock(bytes) : nullptr;
  return block != nullptr ? block : std::malloc(std::max<size_t>(bytes, 1));
}

void* Calloc(void*, size_t count, size_t bytes) { return std::calloc(count, bytes); }

void Free(void*, void* memory, size_t) {
  if (!FreeBlock(memory)) std::free(memory);
}

void* Realloc(void* context, void* memory, size_t bytes) {
  const size_t capacity = memory == nullptr ? 0 : BlockCapacity(memory);
  if (capacity == 0) return std::realloc(memory, std::max<size_t>(bytes, 1));
  if (bytes <= capacity && bytes >= capacity / 2) return memory;
  void* const moved = Malloc(context, bytes);
  if (moved == nullptr) return nullptr;
  std::memcpy(moved, memory, std::min(bytes, capacity));
  FreeBlock(memory);
  return moved;
}

PyDataMem_Handler handler{"lanewise", 1, {nullptr, Malloc, Calloc, Realloc, Free}};

// Makes NumPy allocate by our handler while it lives: in this thread and context only.
class PoolHandler {
 public:
  PoolHandler() {
    // Arrays keep the capsule, so it lives as long as they do.
    static PyObject* const capsule = PyCapsule_New(&handler, "mem_handler", nullptr);
    if (capsule == nullptr) throw py::error_already_set();
    previous_ = PyDataMem_SetHandler(capsule);
    if (previous_ == nullptr) throw py::error_already_set();
  }
  ~PoolHandler() {
    // Also while an exception of the allocation is on its way, which must stay the current one.
    const py::error_scope keep;
    Py_XDECREF(PyDataMem_SetHandler(previous_));
    Py_DECREF(previous_);
  }
  PoolHandler(const PoolHandler&) = delete;
  PoolHandler& operator=(const PoolHandler&) = delete;

 private:
  PyObject* previous_;
};

bool FromPool(const Shape& shape, const py::dtype& dtype) {
  double bytes = static_cast<double>(dtype.itemsize());
  for (const int64_t size : shape) bytes *= static_cast<double>(size);
  return bytes >= static_cast<double>(kPoolThreshold) && GetPoolUsage().limit > 0;
}

// Null, and Python's error is set, where there is no such array.
PyObject* Empty(const Shape& shape, const py::dtype& dtype) {
  npy_intp sizes[TensorView::kMaxRank];
  if (shape.size() > TensorView::kMaxRank) {
    PyErr_SetString(PyExc_ValueError, "more axes than NumPy's arrays have");
    return nullptr;
  }
  std::copy(shape.begin(), shape.end(), sizes);
  PyArray_Descr* const descriptor = reinterpret_cast<PyArray_Descr*>(dtype.ptr());
  Py_INCREF(descriptor);  // NumPy takes a reference
  return PyArray_NewFromDescr(&PyArray_Type, descriptor, static_cast<int>(shape.size()), sizes,
                              nullptr, nullptr, 0, nullptr);
}

// ------------------------------------------------------------------------------------ results

// What most `out` are: exactly what NewArray would make. Of others _array.py knows which can do.
bool IsSimpleOut(PyObject* out, const Shape& shape, const py::dtype& dtype) {
  if (!PyArray_CheckExact(out)) return false;
  PyArrayObject* const array = AsPyArray(out);
  return reinterpret_cast<PyObject*>(PyArray_DESCR(array)) == dtype.ptr() &&
         PyArray_CHKFLAGS(array, NPY_ARRAY_CARRAY) && PyArray_ISNOTSWAPPED(array) &&
         PyArray_NDIM(array) == static_cast<int>(shape.size()) &&
         std::equal(shape.begin(), shape.end(), PyArray_DIMS(array));
}

// Whether the ranges of memory that they reach over have bytes in common, as np.may_share_memory
// has it.
bool MayShareMemory(PyArrayObject* a, PyArrayObject* b) {
  if (PyArray_SIZE(a) == 0 || PyArray_SIZE(b) == 0) return false;
  const auto reach = [](PyArrayObject* array) {
    const char *begin = PyArray_BYTES(array), *end = begin + PyArray_ITEMSIZE(array);
    for (int axis = 0; axis < PyArray_NDIM(array); ++axis) {
      const npy_intp last = (PyArray_DIM(array, axis) - 1) * PyArray_STRIDE(array, axis);
      (last < 0 ? begin : end) += last;
    }
    return std::pair(begin, end);
  };
  const auto [a_begin, a_end] = reach(a);
  const auto [b_begin, b_end] = reach(b);
  return a_begin < b_end && b_begin < a_end;
}

// Whether both are arrays, and each element of one lies where the same element of the other does.
bool SameElements(py::handle a, py::handle b) {
  if (!py::isinstance<py::array>(a)) return false;
  const auto first = py::reinterpret_borrow<py::array>(a),
             second = py::reinterpret_borrow<py::array>(b);
  return first.data() == second.data() && first.ndim() == second.ndim() &&
         first.dtype().equal(second.dtype()) &&
         std::equal(first.shape(), first.shape() + first.ndim(), second.shape()) &&
         std::equal(first.strides(), first.strides() + first.ndim(), second.strides());
}

}  // namespace

py::array AsArray(const char* op, const char* name, py::handle value) {
  if (IsPlain(value.ptr())) return py::reinterpret_borrow<py::array>(value);
  return Python("as_array")(op, name, value);
}

py::array AsArrayOf(const char* op, const char* name, py::handle value, const py::dtype& dtype) {
  const py::array array = AsArray(op, name, value);
  if (array.dtype().is(dtype)) return array;
  return Python("cast_array")(op, name, array, dtype, py::arg("copy") = true);
}

void CheckKind(const char* op, const char* name, const py::array& array, const char* kinds,
               const char* expected) {
  const py::dtype dtype = array.dtype();
  if (std::strchr(kinds, dtype.kind()) != nullptr) return;
  throw py::type_error(std::string(op) + ": " + name + " has dtype " + std::string(py::str(dtype)) +
                       ", expected " + expected);
}

py::dtype ResultType(const char* op, Operands operands) {
  const py::object first = DTypeOf(operands.begin()->array);
  for (const Operand& operand : operands) {
    if (!DTypeOf(operand.array).is(first)) return Python("result_type")(op, **Arrays(operands));
  }
  return first;
}

py::dtype FloatResultType(const char* op, Operands operands) {
  const py::dtype dtype = ResultType(op, operands);
  const char kind = dtype.kind();
  return kind == 'i' || kind == 'u' || kind == 'b' ? py::dtype::of<double>() : dtype;
}

py::array NewArray(const char* op, const Shape& shape, const py::dtype& dtype) {
  PyObject* array = nullptr;
  if (FromPool(shape, dtype)) {
    const PoolHandler pool;
    array = Empty(shape, dtype);
  } else {
    array = Empty(shape, dtype);
  }
  if (array == nullptr) {
    if (!PyErr_ExceptionMatches(PyExc_ValueError)) throw py::error_already_set();
    const std::string message = std::string(op) + ": no array can have the result's shape " +
                                py::repr(Tuple(shape)).cast<std::string>();
    py::raise_from(PyExc_ValueError, message.c_str());
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::array>(array);
}

py::array Result(const char* op, py::handle out, const Shape& shape, const py::dtype& dtype,
                 Operands operands) {
  if (out.is_none()) return NewArray(op, shape, dtype);
  py::dict others;
  bool fits = IsSimpleOut(out.ptr(), shape, dtype);
  for (const Operand& operand : operands) {
    if (!PyArray_Check(operand.array.ptr())) continue;
    if (operand.may_be_out && SameElements(out, operand.array)) continue;
    others[operand.name] = operand.array;
    fits = fits && !MayShareMemory(AsPyArray(out.ptr()), AsPyArray(operand.array.ptr()));
  }
  if (!fits) Python("check_out")(op, out, Tuple(shape), dtype, **others);
  return py::reinterpret_borrow<py::array>(out);
}

void BindArray(py::module_& m) {
  if (_import_array() < 0) throw py::error_already_set();
  m.def("set_pool_limit", &SetPoolLimit, py::arg("bytes"));
  m.def("release_pool", &ReleasePool, py::call_guard<py::gil_scoped_release>());
  m.def("pool_usage", [] {
    const PoolUsage usage = GetPoolUsage();
    return py::make_tuple(usage.limit, usage.waiting, usage.in_use);
  });
}

}  // namespace lanewise::bindings
