#include "bindings/options.h"

#include <cstring>
#include <optional>

namespace lanewise::bindings {
namespace {

constexpr Choice<Layout> kLayouts1d[] = {{"NWC", Layout::kNHWC}, {"NCW", Layout::kNCHW}};
constexpr Choice<Layout> kLayouts2d[] = {{"NHWC", Layout::kNHWC}, {"NCHW", Layout::kNCHW}};
constexpr Choice<PaddingRule> kPaddingRules[] = {{"valid", PaddingRule::kExplicit},
                                                 {"same", PaddingRule::kSame},
                                                 {"same_lower", PaddingRule::kSameLower},
                                                 {"full", PaddingRule::kFull}};

constexpr Choice<Metric> kMetrics[] = {
    {"euclidean", Metric::kEuclidean},     {"sqeuclidean", Metric::kSqEuclidean},
    {"manhattan", Metric::kManhattan},     {"chebyshev", Metric::kChebyshev},
    {"minkowski", Metric::kMinkowski},     {"cosine", Metric::kCosine},
    {"correlation", Metric::kCorrelation}, {"hamming", Metric::kHamming},
    {"canberra", Metric::kCanberra},       {"braycurtis", Metric::kBrayCurtis},
    {"jaccard", Metric::kJaccard},         {"dot", Metric::kDot}};

std::string Repr(py::handle value) {
  return py::repr(value).attr("encode")("utf-8", "backslashreplace").cast<std::string>();
}

std::string Message(const Caller& caller, const char* name, py::handle value,
                    const std::string& expected) {
  return std::string(caller.op) + ": " + name + " is " + Repr(value) + ", expected " + expected;
}

[[noreturn]] void Fail(const Caller& caller, const char* name, py::handle value,
                       const std::string& expected) {
  throw py::value_error(Message(caller, name, value, expected));
}

[[noreturn]] void FailType(const Caller& caller, const char* name, py::handle value,
                           const std::string& expected) {
  throw py::type_error(Message(caller, name, value, expected));
}

[[noreturn]] void FailAxis(const Caller& caller, py::handle axis, int axes) {
  const py::object type = py::module_::import("numpy").attr("exceptions").attr("AxisError");
  PyErr_SetObject(type.ptr(), type(axis, axes, caller.op).ptr());
  throw py::error_already_set();
}

// Nothing where `value` is not an integer, or not one of 64 bits. Other errors that its __index__
// raises go on.
std::optional<int64_t> Integer(py::handle value) {
  py::object index;
  if (!PyLong_CheckExact(value.ptr())) {
    index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
    if (!index) {
      if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw py::error_already_set();
      PyErr_Clear();
      return std::nullopt;
    }
    value = index;
  }
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value.ptr(), &overflow);
  if (overflow != 0) return std::nullopt;
  return number;
}

// Whether it is an integer, of however many bits.
bool IsInteger(py::handle value) {
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!index) PyErr_Clear();
  return static_cast<bool>(index);
}

// The elements of a sequence or other iterable; nothing where `value` is none.
std::optional<py::tuple> Elements(py::handle value) {
  if (PyTuple_CheckExact(value.ptr())) return py::reinterpret_borrow<py::tuple>(value);
  PyObject* const tuple = PySequence_Tuple(value.ptr());
  if (tuple == nullptr) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw py::error_already_set();
    PyErr_Clear();
    return std::nullopt;
  }
  return py::reinterpret_steal<py::tuple>(tuple);
}

// Two integers, or one twice.
std::optional<PerAxis<int64_t>> Pair(py::handle value) {
  if (const auto both = Integer(value)) return PerAxis<int64_t>{*both, *both};
  const auto elements = Elements(value);
  if (!elements || elements->size() != 2) return std::nullopt;
  const auto first = Integer((*elements)[0]), second = Integer((*elements)[1]);
  if (!first || !second) return std::nullopt;
  return PerAxis<int64_t>{*first, *second};
}

// The padding of each spatial axis as (before, after): {height's, width's}.
std::optional<PerAxis<PerAxis<int64_t>>> Entries(int spatial, py::handle value) {
  if (const auto all = Integer(value)) {
    const int64_t rows = spatial == 2 ? *all : 0;
    return PerAxis<PerAxis<int64_t>>{{{rows, rows}, {*all, *all}}};
  }
  const auto elements = Elements(value);
  if (!elements || elements->size() != static_cast<size_t>(spatial)) return std::nullopt;
  PerAxis<PerAxis<int64_t>> entries{};
  for (int axis = 2 - spatial; axis < 2; ++axis) {
    const auto entry = Pair((*elements)[axis + spatial - 2]);
    if (!entry) return std::nullopt;
    entries[axis] = *entry;
  }
  return entries;
}

}  // namespace

namespace detail {

bool Is(py::handle value, const char* name) {
  if (name == nullptr) return value.is_none();
  if (!PyUnicode_Check(value.ptr())) return false;
  const char* const text = PyUnicode_AsUTF8(value.ptr());
  if (text == nullptr) PyErr_Clear();  // a lone surrogate
  return text != nullptr && std::strcmp(text, name) == 0;
}

void FailChoice(const Caller& caller, const char* name, py::handle value,
                const std::string& names) {
  Fail(caller, name, value, names);
}

std::vector<py::object> NamesOf(const Caller& caller, const char* name, py::handle value) {
  if (PyUnicode_Check(value.ptr())) return {py::reinterpret_borrow<py::object>(value)};
  const auto elements = Elements(value);
  if (!elements) FailType(caller, name, value, "a name or a sequence of names");
  if (elements->empty()) Fail(caller, name, value, "at least one name");
  std::vector<py::object> names;
  for (const py::handle one : *elements) names.push_back(py::reinterpret_borrow<py::object>(one));
  return names;
}

void FailTwice(const Caller& caller, const char* name, py::handle value) {
  Fail(caller, name, value, "no name twice");
}

}  // namespace detail

PerAxis<int64_t> ParsePerAxis(const Caller& caller, const char* name, py::handle value) {
  std::optional<PerAxis<int64_t>> sizes;
  if (caller.spatial == 2) {
    sizes = Pair(value);
  } else if (const auto width = Integer(value)) {
    sizes = {1, *width};
  } else if (const auto elements = Elements(value); elements && elements->size() == 1) {
    if (const auto only = Integer((*elements)[0])) sizes = {1, *only};
  }
  if (!sizes) Fail(caller, name, value, "an int or one int per spatial axis");
  return *sizes;
}

Padding ParsePadding(const Caller& caller, py::handle value) {
  if (PyUnicode_Check(value.ptr())) {
    for (const auto& [name, rule] : kPaddingRules) {
      if (detail::Is(value, name)) return {rule, {0, 0}, {0, 0}};
    }
    Fail(caller, "padding", value,
         "'valid', 'same', 'same_lower', 'full', an int, or one int or (before, after) per spatial "
         "axis");
  }
  const auto entries = Entries(caller.spatial, value);
  if (!entries) {
    Fail(caller, "padding", value,
         "a name, an int, or one int or (before, after) per spatial axis");
  }
  const auto& [rows, columns] = *entries;
  return {PaddingRule::kExplicit, {rows[0], columns[0]}, {rows[1], columns[1]}};
}

int64_t ParseIndex(const Caller& caller, const char* name, py::handle value) {
  if (const auto number = Integer(value)) return *number;
  if (IsInteger(value)) Fail(caller, name, value, "an int of 64 bits");
  FailType(caller, name, value, "an int");
}

Shape ParseSizes(const Caller& caller, const char* name, py::handle value, const char* expected) {
  const auto elements = Elements(value);
  if (!elements) FailType(caller, name, value, expected);
  Shape sizes;
  for (const py::handle element : *elements) {
    const auto size = Integer(element);
    if (!size && !IsInteger(element)) {
      FailType(caller, name, value, expected);
    }
    if (!size || *size < 0) Fail(caller, name, value, "sizes in [0, 2^63)");
    sizes.push_back(*size);
  }
  return sizes;
}

Layout ParseLayout(const Caller& caller, py::handle value) {
  return ParseChoice(caller, "layout", value, caller.spatial == 2 ? kLayouts2d : kLayouts1d);
}

std::vector<int> ParseAxes(const Caller& caller, py::handle value, int axes) {
  const bool several = PyTuple_Check(value.ptr());
  const size_t count = several ? PyTuple_GET_SIZE(value.ptr()) : 1;
  std::vector<int> parsed;
  parsed.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const py::handle entry = several ? PyTuple_GET_ITEM(value.ptr(), i) : value.ptr();
    const auto axis = Integer(entry);
    if (!axis && !IsInteger(entry)) {
      FailType(caller, "axis", value, "an int or a tuple of ints");
    }
    if (!axis || *axis < -axes || *axis >= axes) FailAxis(caller, entry, axes);
    parsed.push_back(static_cast<int>(*axis));
  }
  return parsed;
}

DistanceOptions ParseDistance(const Caller& caller, py::handle metric, double p) {
  return {ParseChoice(caller, "metric", metric, kMetrics), p};
}

bool ParseFlag(py::handle value) {
  const int truth = PyObject_IsTrue(value.ptr());
  if (truth < 0) throw py::error_already_set();
  return truth != 0;
}

}  // namespace lanewise::bindings
