#include <array>
#include <cmath>
#include <limits>

#include "lanewise/distance.h"
#include "testing.h"

namespace lanewise {
namespace {

// ∂d/∂x of one coordinate, for integers, whose sums are exact; d is the distance of their rows, and
// `size` Σ |x + y|.
double Slope(Metric metric, double x, double y, double d, double size) {
  const double t = x - y, sign = (t > 0) - (t < 0), sum_sign = (x + y > 0) - (x + y < 0);
  const double both = std::abs(x) + std::abs(y);
  switch (metric) {
    case Metric::kEuclidean:
      return d == 0 ? 0 : t / d;
    case Metric::kSqEuclidean:
      return 2 * t;
    case Metric::kManhattan:
      return sign;
    case Metric::kChebyshev:
      return std::abs(t) == d ? sign : 0;
    case Metric::kMinkowski:  // p = 3
      return d == 0 ? 0 : sign * (t / d) * (t / d);
    case Metric::kCanberra:
      return t == 0 ? 0 : sign * (1 + (x * y > 0) - (x * y < 0)) * std::abs(y) / (both * both);
    case Metric::kBrayCurtis:
      return (sign - d * sum_sign) / size;
    default:
      return y;  // dot
  }
}

constexpr Metric kMetrics[] = {Metric::kEuclidean,  Metric::kSqEuclidean, Metric::kManhattan,
                               Metric::kChebyshev,  Metric::kMinkowski,   Metric::kCanberra,
                               Metric::kBrayCurtis, Metric::kDot};

template <class T>
void CheckPairwise(Metric metric, int64_t m, int64_t n, int64_t d) {
  std::vector<T> x = testing::Integers<T>(m * d, 1), y = testing::Integers<T>(n * d, 2);
  const std::vector<T> grad = testing::Integers<T>(m * n, 3);
  std::vector<T> distances(m * n), dx(m * d), dy(n * d);
  const DistanceOptions options(metric, 3);
  PairwiseDistances({x.data(), {m, d}}, {y.data(), {n, d}}, options, {distances.data(), {m, n}});
  PairwiseDistancesBackward({grad.data(), {m, n}}, {x.data(), {m, d}}, {y.data(), {n, d}},
                            {distances.data(), {m, n}}, options, {dx.data(), {m, d}},
                            {dy.data(), {n, d}});
  std::vector<double> expected_x(m * d), expected_y(n * d);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double size = 0;
      for (int64_t k = 0; k < d; ++k) size += std::abs(x[i * d + k] + y[j * d + k]);
      for (int64_t k = 0; k < d; ++k) {
        const double a = x[i * d + k], b = y[j * d + k], far = distances[i * n + j];
        expected_x[i * d + k] += grad[i * n + j] * Slope(metric, a, b, far, size);
        expected_y[j * d + k] += grad[i * n + j] * Slope(metric, b, a, far, size);
      }
    }
  }
  // Terms are of size 40 at most.
  const double off = 40 * double(std::max(m, n) + 30) * std::numeric_limits<T>::epsilon();
  for (int64_t i = 0; i < m * d; ++i) REQUIRE(std::abs(dx[i] - expected_x[i]) <= off);
  for (int64_t i = 0; i < n * d; ++i) REQUIRE(std::abs(dy[i] - expected_y[i]) <= off);
}

TEST_CASE("gradients of pairwise_distances are those of the definitions") {
  testing::EverywhereDo([] {
    for (const Metric metric : kMetrics) {
      CAPTURE(static_cast<int>(metric));
      for (const auto& [m, n, d] :
           {std::array<int64_t, 3>{1, 1, 3}, {7, 5, 3}, {13, 70, 17}, {70, 130, 33}}) {
        CheckPairwise<float>(metric, m, n, d);
        CheckPairwise<double>(metric, m, n, d);
      }
    }
  });
}

TEST_CASE("the gradient of a row that meets many pairs is the sum of theirs") {
  const int64_t n = 300, d = 5;
  const std::vector<float> x = testing::Integers<float>(d), y = testing::Integers<float>(n * d, 5);
  const std::vector<float> grad = testing::Integers<float>(n, 6);
  std::vector<float> distances(n), dx(d), dy(n * d);
  testing::EverywhereDo([&] {
    PairedDistances({x.data(), {d}}, {y.data(), {n, d}}, Metric::kSqEuclidean,
                    {distances.data(), {n}});
    PairedDistancesBackward({grad.data(), {n}}, {x.data(), {d}}, {y.data(), {n, d}},
                            {distances.data(), {n}}, Metric::kSqEuclidean, {dx.data(), {d}},
                            {dy.data(), {n, d}});
    for (int64_t k = 0; k < d; ++k) {  // integers: exact
      float sum = 0;
      for (int64_t i = 0; i < n; ++i) sum -= dy[i * d + k];
      REQUIRE(dx[k] == sum);
    }
  });
}

TEST_CASE("gradients of distances refuse what does not fit before they write") {
  const std::vector<float> x(6), y(12), grad(8);
  std::vector<float> dx(6, 7), dy(12, 7);
  const auto call = [&](const TensorView& g, const TensorView& d, const DistanceOptions& options,
                        const TensorView& out) {
    PairwiseDistancesBackward(g, {x.data(), {2, 3}}, {y.data(), {4, 3}}, d, options, out,
                              {dy.data(), {4, 3}});
  };
  const TensorView good(grad.data(), {2, 4}), bad(grad.data(), {4, 2}), out(dx.data(), {2, 3});
  CHECK_THROWS_AS(call(bad, good, Metric::kEuclidean, out), std::invalid_argument);
  CHECK_THROWS_AS(call(good, bad, Metric::kEuclidean, out), std::invalid_argument);
  CHECK_THROWS_AS(call(good, good, Metric::kEuclidean, {dx.data(), {3, 2}}), std::invalid_argument);
  CHECK_THROWS_AS(call(good, good, Metric::kHamming, out), std::invalid_argument);
  CHECK_THROWS_AS(call(good, good, {Metric::kMinkowski, 0}, out), std::invalid_argument);
  const std::vector<double> wide(8);
  CHECK_THROWS_AS(call({wide.data(), {2, 4}}, good, Metric::kEuclidean, out), DTypeError);
  for (const float value : dx) CHECK(value == 7);
  for (const float value : dy) CHECK(value == 7);
}

}  // namespace
}  // namespace lanewise
