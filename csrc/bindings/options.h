// From Python's spellings of options to the C++ API's. Each error is worded in the name of the op
// that was called, and tells what was given.
#ifndef LANEWISE_BINDINGS_OPTIONS_H_
#define LANEWISE_BINDINGS_OPTIONS_H_

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lanewise/distance.h"
#include "lanewise/tensor.h"
#include "lanewise/window.h"

namespace lanewise::bindings {

namespace py = pybind11;

// The op that was called, and along how many axes its windows slide: a single one is the width.
struct Caller {
  const char* op;
  int spatial = 2;
};

// An int for all spatial axes, or one for each.
PerAxis<int64_t> ParsePerAxis(const Caller& caller, const char* name, py::handle value);
// A rule's name, an int, or for each spatial axis an int or (before, after).
Padding ParsePadding(const Caller& caller, py::handle value);
// Anything with __index__.
int64_t ParseIndex(const Caller& caller, const char* name, py::handle value);
// A sequence of sizes; `expected` is what errors say in its place.
Shape ParseSizes(const Caller& caller, const char* name, py::handle value,
                 const char* expected = "a sequence of ints");
// "NHWC" or "NCHW", without the H along a single axis.
Layout ParseLayout(const Caller& caller, py::handle value);
// An int, or a tuple of ints: axes of an array that has so many. AxisError where it has no such
// one.
std::vector<int> ParseAxes(const Caller& caller, py::handle value, int axes);
// A metric's name, and minkowski's exponent.
DistanceOptions ParseDistance(const Caller& caller, py::handle metric, double p);
// As bool(value) has it.
bool ParseFlag(py::handle value);

template <class Code>
struct Choice {
  const char* name;
  Code code;
};

namespace detail {
bool Is(py::handle value, const char* name);
[[noreturn]] void FailChoice(const Caller& caller, const char* name, py::handle value,
                             const std::string& names);
// The names that `value` is or holds, at least one.
std::vector<py::object> NamesOf(const Caller& caller, const char* name, py::handle value);
[[noreturn]] void FailTwice(const Caller& caller, const char* name, py::handle value);
}  // namespace detail

// One of a table's names. A table whose first name is null takes None for it.
template <class Code, size_t n>
Code ParseChoice(const Caller& caller, const char* name, py::handle value,
                 const Choice<Code> (&choices)[n]) {
  std::string names;
  for (const Choice<Code>& choice : choices) {
    if (detail::Is(value, choice.name)) return choice.code;
  }
  for (const Choice<Code>& choice : choices) {
    if (!names.empty()) names += n == 2 ? " or " : ", ";
    names += choice.name == nullptr ? "None" : "'" + std::string(choice.name) + "'";
  }
  detail::FailChoice(caller, name, value, n == 2 ? names : "one of " + names);
}

// A table's name or several of them, none twice.
template <class Code, size_t n>
std::vector<Code> ParseChoices(const Caller& caller, const char* name, py::handle value,
                               const Choice<Code> (&choices)[n]) {
  std::vector<Code> codes;
  for (const py::object& one : detail::NamesOf(caller, name, value)) {
    const Code code = ParseChoice(caller, name, one, choices);
    for (const Code& other : codes) {
      if (other == code) detail::FailTwice(caller, name, value);
    }
    codes.push_back(code);
  }
  return codes;
}

}  // namespace lanewise::bindings

#endif  // LANEWISE_BINDINGS_OPTIONS_H_
