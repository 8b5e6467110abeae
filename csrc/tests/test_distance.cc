#include <cmath>

#include "lanewise/distance.h"
#include "testing.h"

namespace lanewise {

TEST_CASE_TEMPLATE("pairwise distances of integers are exact", T, float, double) {
  const int64_t m = 29, n = 35, d = 70;
  const auto x = testing::Integers<T>(m * d, 1), y = testing::Integers<T>(n * d, 2);
  testing::EverywhereDo([&] {
    std::vector<T> square(m * n), manhattan(m * n), root(m * n);
    const TensorView vx(x.data(), {m, d}), vy(y.data(), {n, d});
    PairwiseDistances(vx, vy, Metric::kSqEuclidean, TensorView(square.data(), {m, n}));
    PairwiseDistances(vx, vy, Metric::kManhattan, TensorView(manhattan.data(), {m, n}));
    PairwiseDistances(vx, vy, Metric::kEuclidean, TensorView(root.data(), {m, n}));
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        T squares = 0, absolutes = 0;
        for (int64_t k = 0; k < d; ++k) {
          const T t = x[i * d + k] - y[j * d + k];
          squares += t * t;
          absolutes += std::abs(t);
        }
        REQUIRE(square[i * n + j] == squares);
        REQUIRE(manhattan[i * n + j] == absolutes);
        REQUIRE(root[i * n + j] == std::sqrt(squares));
      }
    }
  });
}

TEST_CASE("pairwise distances: leading axes broadcast") {
  CHECK(PairwiseDistancesShape({5, 1, 4, 3}, {2, 6, 3}) == Shape{5, 2, 4, 6});
}

TEST_CASE("pairwise distances: wrong views are refused") {
  std::vector<float> a(12), out(12);
  std::vector<double> b(12);
  const TensorView x(a.data(), {4, 3}), y(b.data(), {4, 3});
  CHECK_THROWS_AS(PairwiseDistancesShape({3}, {4, 3}), std::invalid_argument);
  CHECK_THROWS_AS(PairwiseDistancesShape({4, 2}, {4, 3}), std::invalid_argument);
  CHECK_THROWS_AS(PairwiseDistances(x, x, Metric::kDot, TensorView(out.data(), {4, 3})),
                  std::invalid_argument);
  std::vector<float> square(16);
  CHECK_THROWS_AS(PairwiseDistances(x, y, Metric::kDot, TensorView(square.data(), {4, 4})),
                  DTypeError);
}

}  // namespace lanewise
