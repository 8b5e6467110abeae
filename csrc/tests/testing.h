// Helpers of the C++ tests.
#ifndef LANEWISE_TESTS_TESTING_H_
#define LANEWISE_TESTS_TESTING_H_

#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lanewise/runtime.h"
#include "lanewise/tensor.h"

namespace lanewise::testing {

// Small integers in [-4, 4], the same on every run: sums of their products are exact.
template <class T>
std::vector<T> Integers(int64_t n, uint64_t seed = 1) {
  std::vector<T> values;
  for (int64_t i = 0; i < n; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    values.push_back(static_cast<T>(static_cast<int64_t>(seed >> 33) % 9 - 4));
  }
  return values;
}

// Runs `test` with every SIMD target and 1 to 3 threads.
inline void EverywhereDo(const std::function<void()>& test) {
  for (const std::string& target : AvailableSimdTargets()) {
    SetSimdTarget(target);
    REQUIRE(GetSimdTarget() == target);
    for (int threads = 1; threads <= 3; ++threads) {
      SetNumThreads(threads);
      test();
    }
  }
  SetSimdTarget("");
}

}  // namespace lanewise::testing

#endif  // LANEWISE_TESTS_TESTING_H_
