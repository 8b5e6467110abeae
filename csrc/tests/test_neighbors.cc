#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lanewise/neighbors.h"
#include "testing.h"

namespace lanewise {

namespace {

constexpr int64_t kM = 70, kN = 700, kD = 3;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The distances of integers, many of which are equal, and a NaN in one row of y.
template <class T>
struct Points {
  std::vector<T> x = testing::Integers<T>(kM * kD), y = testing::Integers<T>(kN * kD, 2);
  std::vector<T> distances = std::vector<T>(kM * kN);

  explicit Points(Metric metric) {
    y[17 * kD] = std::numeric_limits<T>::quiet_NaN();
    PairwiseDistances(X(), Y(), metric, {distances.data(), {kM, kN}});
  }
  TensorView X() const { return {x.data(), {kM, kD}}; }
  TensorView Y() const { return {y.data(), {kN, kD}}; }
  T at(int64_t i, int64_t j) const { return distances[i * kN + j]; }
  std::vector<int64_t> Order(int64_t i) const {
    std::vector<int64_t> order(kN);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return at(i, a) < at(i, b) || (!std::isnan(at(i, a)) && std::isnan(at(i, b)));
    });
    return order;
  }
};

bool Same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

template <class T>
void CheckNearest(Metric metric, int64_t k) {
  CAPTURE(int(metric));
  CAPTURE(k);
  const Points<T> points(metric);
  // Results in every second element of both axes.
  std::vector<T> distances(4 * kM * k, T(-1));
  std::vector<int64_t> indices(4 * kM * k, -1);
  TensorView d(distances.data(), {kM, k}), i(indices.data(), {kM, k});
  for (TensorView* view : {&d, &i}) view->strides[0] = 4 * k, view->strides[1] = 2;
  NearestNeighbors(points.X(), points.Y(), k, metric, d, i);
  for (int64_t row = 0; row < kM; ++row) {
    const std::vector<int64_t> order = points.Order(row);
    for (int64_t j = 0; j < k; ++j) {
      REQUIRE(indices[row * 4 * k + 2 * j] == order[j]);
      REQUIRE(Same(distances[row * 4 * k + 2 * j], points.at(row, order[j])));
      REQUIRE(indices[row * 4 * k + 2 * j + 1] == -1);
      REQUIRE(distances[row * 4 * k + 2 * j + 1] == -1);
    }
  }
  if (k > 1) return;
  PairwiseArgmin(points.X(), points.Y(), metric, {distances.data(), {kM}}, {indices.data(), {kM}});
  for (int64_t row = 0; row < kM; ++row) CHECK(indices[row] == points.Order(row)[0]);
}

// Memory for what a search finds.
template <class T>
struct Found {
  std::vector<T> distances;
  std::vector<int64_t> indices;

  std::function<NeighborViews(int64_t)> Allocator() {
    return [this](int64_t count) {
      distances.resize(count);
      indices.resize(count);
      return NeighborViews{{distances.data(), {count}}, {indices.data(), {count}}};
    };
  }
};

template <class T>
void CheckRadius(Metric metric, double radius) {
  CAPTURE(int(metric));
  CAPTURE(radius);
  const Points<T> points(metric);
  std::vector<int64_t> indptr(kM + 1);
  Found<T> found;
  RadiusNeighbors(points.X(), points.Y(), radius, metric, DTypeOf<T>::value,
                  {indptr.data(), {kM + 1}}, found.Allocator());
  int64_t at = 0;
  for (int64_t row = 0; row < kM; ++row) {
    REQUIRE(indptr[row] == at);
    for (int64_t j = 0; j < kN; ++j) {
      if (!(points.at(row, j) <= radius)) continue;
      REQUIRE(found.indices[at] == j);
      REQUIRE(found.distances[at++] == points.at(row, j));
    }
  }
  CHECK(indptr[kM] == at);
  CHECK(static_cast<int64_t>(found.indices.size()) == at);
}

}  // namespace

TEST_CASE("neighbours: the first of a stable order of all distances") {
  testing::EverywhereDo([] {
    for (const Metric metric : {Metric::kEuclidean, Metric::kManhattan, Metric::kCosine}) {
      for (const int64_t k : {int64_t{1}, int64_t{2}, int64_t{30}, kN}) {
        CheckNearest<float>(metric, k);
        CheckNearest<double>(metric, k);
      }
      for (const double radius : {0.0, 1.0, 3.1, kInfinity}) {
        CheckRadius<float>(metric, radius);
        CheckRadius<double>(metric, radius);
      }
    }
  });
}

TEST_CASE("neighbours: progress ascends to 1, and what it throws is thrown") {
  const std::vector<float> x = testing::Integers<float>(4000 * 60);
  const TensorView rows(x.data(), {4000, 60});
  std::vector<float> distances(4000);
  std::vector<int64_t> indices(4001);
  const TensorView d(distances.data(), {4000}), i(indices.data(), {4000});
  std::vector<double> shares;
  const auto note = [&](double share) { shares.push_back(share); };
  PairwiseArgmin(rows, rows, {{Metric::kMinkowski, 3.3}, note}, d, i);
  CHECK(std::is_sorted(shares.begin(), shares.end()));
  CHECK(shares.front() > 0);
  CHECK(shares.back() == 1);
  const auto stop = [](double) { throw std::runtime_error("enough"); };
  CHECK_THROWS_AS(PairwiseArgmin(rows, rows, {{Metric::kMinkowski, 3.3}, stop}, d, i),
                  std::runtime_error);
  Found<float> found;
  CHECK_THROWS_AS(RadiusNeighbors(rows, rows, 1, {{Metric::kMinkowski, 3.3}, stop}, DType::kFloat32,
                                  {indices.data(), {4001}}, found.Allocator()),
                  std::runtime_error);
  CHECK(found.indices.empty());
  const auto none = [](int64_t) -> NeighborViews { throw std::bad_alloc(); };
  CHECK_THROWS_AS(RadiusNeighbors(rows, rows, 1, Metric::kEuclidean, DType::kFloat32,
                                  {indices.data(), {4001}}, none),
                  std::bad_alloc);
}

TEST_CASE("neighbours: more rows of y than 32 bits count") {
  // Zeros that are one page of memory again and again, but for the last two rows.
  const int64_t n = (int64_t{1} << 32) + 2;
  const size_t bytes = n * sizeof(float);
  void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  madvise(memory, bytes, MADV_HUGEPAGE);
  float* const rows = static_cast<float*>(memory);
  rows[n - 2] = rows[n - 1] = 1;
  const float query = 3;
  float distance = 0;
  int64_t index = -1;
  PairwiseArgmin({&query, {1, 1}}, {rows, {n, 1}}, Metric::kManhattan, {&distance, {1}},
                 {&index, {1}});
  CHECK(distance == 2);
  CHECK(index == n - 2);
  munmap(memory, bytes);
}

TEST_CASE("neighbours: wrong views and options are refused") {
  std::vector<float> a(12), distances(8, -1);
  std::vector<int64_t> indices(8, -1);
  std::vector<double> b(12);
  const TensorView x(a.data(), {4, 3}), wide(b.data(), {4, 3});
  const TensorView d(distances.data(), {4, 2}), i(indices.data(), {4, 2});
  CHECK_THROWS_AS(NearestNeighborsShape({4, 3}, {4, 3}, 0), std::invalid_argument);
  CHECK_THROWS_AS(NearestNeighborsShape({4, 3}, {4, 3}, 5), std::invalid_argument);
  CHECK_THROWS_AS(NearestNeighborsShape({4, 3}, {4, 2}, 1), std::invalid_argument);
  CHECK_THROWS_AS(PairwiseArgminShape({4, 3}, {0, 3}), std::invalid_argument);
  CHECK(NearestNeighborsShape({5, 1, 4, 3}, {2, 6, 3}, 6) == Shape{5, 2, 4, 6});
  CHECK(PairwiseArgminShape({5, 1, 4, 3}, {2, 6, 3}) == Shape{5, 2, 4});
  CHECK_THROWS_AS(NearestNeighbors(x, x, 3, Metric::kEuclidean, d, i), std::invalid_argument);
  CHECK_THROWS_AS(NearestNeighbors(x, x, 2, Metric::kDot, d, i), std::invalid_argument);
  CHECK_THROWS_AS(NearestNeighbors(x, wide, 2, Metric::kEuclidean, d, i), DTypeError);
  CHECK_THROWS_AS(NearestNeighbors(x, x, 2, Metric::kEuclidean, d, d), std::invalid_argument);
  Found<float> found;
  const TensorView indptr(indices.data(), {5});
  const auto search = [&](const TensorView& y, double radius, Metric metric) {
    RadiusNeighbors(x, y, radius, metric, DType::kFloat32, indptr, found.Allocator());
  };
  CHECK_THROWS_AS(search(x, -1, Metric::kEuclidean), std::invalid_argument);
  CHECK_THROWS_AS(search(x, std::nan(""), Metric::kEuclidean), std::invalid_argument);
  CHECK_THROWS_AS(search(x, 1, Metric::kDot), std::invalid_argument);
  CHECK_THROWS_AS(search(wide, 1, Metric::kEuclidean), DTypeError);
  CHECK(found.indices.empty());
  for (const float value : distances) CHECK(value == -1);
  for (const int64_t value : indices) CHECK(value == -1);
}

}  // namespace lanewise
