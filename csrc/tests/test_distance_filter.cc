// The filter of ops/distance, which has no public function of its own: that it never loses a
// neighbour, and that it does discard.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "lanewise/distance.h"
#include "ops/distance/filter.h"
#include "testing.h"

namespace lanewise::distance {
namespace {

// Rows of y, and of x, which follow them.
template <class T>
struct Data {
  const char* name;
  std::vector<T> values;
};

constexpr int64_t kY = 300, kX = 29;

template <class T>
std::vector<Data<T>> Examples(int64_t d) {
  std::mt19937 random(static_cast<uint32_t>(d));
  std::normal_distribution<double> normal;
  std::vector<Data<T>> examples;
  const auto add = [&](const char* name, const auto& f) {
    std::vector<T> values((kY + kX) * d);
    for (int64_t i = 0; i < kY + kX; ++i) {
      for (int64_t k = 0; k < d; ++k) values[i * d + k] = static_cast<T>(f(i, k));
    }
    examples.push_back({name, std::move(values)});
  };
  add("normal", [&](int64_t, int64_t) { return normal(random); });
  add("clusters", [&](int64_t i, int64_t k) {
    return 10 * std::sin(double(i % 7 * 100 + k)) + 1e-3 * normal(random);
  });
  add("far from the origin", [&](int64_t, int64_t) { return 1e6 + normal(random); });
  add("integers", [&](int64_t, int64_t) { return std::floor(100 * normal(random)); });
  add("duplicates", [&](int64_t i, int64_t k) { return std::cos(double(i % 5 * 50 + k)); });
  add("constant", [&](int64_t, int64_t) { return 3; });
  add("denormal", [&](int64_t, int64_t) {
    return 100 * normal(random) * double(std::numeric_limits<T>::denorm_min());
  });
  add("small", [&](int64_t, int64_t) {
    return normal(random) * std::sqrt(double(std::numeric_limits<T>::min()));
  });
  add("huge", [&](int64_t, int64_t) {
    return 0.2 * normal(random) * double(std::numeric_limits<T>::max());
  });
  add("large", [&](int64_t, int64_t) {
    return normal(random) * std::sqrt(double(std::numeric_limits<T>::max())) / 100;
  });
  add("outliers", [&](int64_t i, int64_t) { return normal(random) * (i % 37 == 5 ? 1e4 : 1); });
  add("infinite and NaN", [&](int64_t i, int64_t k) {
    if (i % 41 == 7 && k == 0) return std::numeric_limits<double>::infinity();
    return i % 43 == 9 && k == d - 1 ? std::nan("") : normal(random);
  });
  // Products of the largest absolute value that norms allow.
  add("antipodes", [&](int64_t i, int64_t) { return (i % 2 ? 1 : -1) * (1 + 1e-5 * double(i)); });
  add("one axis", [&](int64_t i, int64_t k) { return k == 0 ? std::pow(0.9, double(i)) : 0; });
  // Rows that differ by less than what they are rounded to.
  add("fine", [&](int64_t i, int64_t k) {
    return std::sin(double(k)) + 1e-6 * double(i) * normal(random) + (i == 0 ? 1e3 : 0);
  });
  return examples;
}

// What must hold of survivors for the k nearest of each row of x, for a filter that takes rows of
// y in two blocks. Returns how many there are.
template <class T>
int64_t CheckSurvivors(const Data<T>& data, int64_t d, Metric metric, size_t k) {
  const bool squared = metric == Metric::kSqEuclidean;
  const TensorView y(data.values.data(), {kY, d}), x(data.values.data() + kY * d, {kX, d});
  std::vector<T> distances(kX * kY);
  PairwiseDistances(x, y, metric, {distances.data(), {kX, kY}});

  const DistanceFilterKernels& kernels = DistanceFilterKernelsFor(ActiveTarget());
  const int64_t block = 190;
  std::vector<std::byte> memory(Filter<T>::ScratchBytes(kernels, d, kX, block) + 64);
  Scratch scratch(memory.data() + (-reinterpret_cast<uintptr_t>(memory.data()) & uintptr_t{63}), 0);
  Filter<T> filter(kernels, d, kX, block, scratch);
  const Matrix<T> x_rows(x, 0), y_rows(y, 0);
  if (!filter.SetX(y_rows, kY, x_rows, 0, kX)) return -1;
  std::vector<std::vector<int64_t>> found(kX);
  std::vector<T> thresholds(kX);
  int64_t count = 0;
  for (int64_t i = 0; i < kX; ++i) {
    std::vector<T> sorted;
    for (int64_t j = 0; j < kY; ++j) {
      const T distance = distances[i * kY + j];
      sorted.push_back(std::isnan(distance) ? std::numeric_limits<T>::infinity() : distance);
    }
    std::sort(sorted.begin(), sorted.end());
    thresholds[i] = sorted[k - 1];
  }
  for (int64_t begin = 0; begin < kY; begin += block) {
    filter.SetY(y_rows, begin, std::min(kY, begin + block));
    for (int64_t i = 0; i < kX; ++i) {
      if (filter.Tests(i)) filter.SetLimit(i, FarthestBelow(thresholds[i], squared, d));
    }
    for (int64_t o = 0; o < filter.outlier_count(); ++o) {
      for (auto& of_row : found) of_row.push_back(filter.outliers()[o]);
    }
    std::vector<int64_t> last(kX, begin - 1);
    bool in_order = true;
    filter.ForEachSurvivor([&](int64_t i, int64_t j) {
      in_order = in_order && i >= 0 && i < kX && filter.Tests(i) && j > last[i] &&
                 j < std::min(kY, begin + block);
      last[i] = j;
      found[i].push_back(j);
      ++count;
      return true;
    });
    CHECK(in_order);
  }
  int64_t lost = 0;
  for (int64_t i = 0; i < kX; ++i) {
    for (int64_t j = 0; j < kY; ++j) {
      if (!(distances[i * kY + j] <= thresholds[i])) continue;
      lost += filter.Tests(i) && std::count(found[i].begin(), found[i].end(), j) != 1;
    }
  }
  CHECK(lost == 0);
  return count;
}

}  // namespace

TEST_CASE_TEMPLATE("the distance filter loses no neighbour", T, float, double) {
  for (const std::string& target : AvailableSimdTargets()) {
    SetSimdTarget(target);
    for (const int64_t d : {1, 2, 17, 64, 129}) {
      for (const Data<T>& data : Examples<T>(d)) {
        for (const Metric metric : {Metric::kEuclidean, Metric::kSqEuclidean}) {
          for (const size_t k : {1, 7}) {
            CAPTURE(target);
            CAPTURE(d);
            const std::string name = data.name;
            CAPTURE(name);
            const int64_t count = CheckSurvivors(data, d, metric, k);
            if (name == "normal" || name == "far from the origin" || name == "integers" ||
                name == "outliers") {
              if (d >= 16 && name != "outliers") CHECK(count >= int64_t(kX * k));
              if (d >= 16 && count >= 0) CHECK(count <= int64_t(kX * k * 3 / 2));
            }
            if (name == "antipodes" && d >= 16) CHECK(count <= kX * kY / 2 + kX);
          }
        }
      }
    }
  }
  SetSimdTarget("");
}

TEST_CASE("the distance filter takes no part where its bounds say nothing") {
  CHECK(std::isinf(FarthestBelow(1.0f, false, int64_t{1} << 20)));
  CHECK(std::isinf(FarthestBelow(std::nanf(""), false, 16)));
  CHECK(std::isinf(FarthestBelow(std::numeric_limits<float>::infinity(), true, 16)));
  CHECK(FarthestBelow(0.0f, true, 16) > 0);
  CHECK(FarthestBelow(4.0, true, 16) == doctest::Approx(2));
}

}  // namespace lanewise::distance
