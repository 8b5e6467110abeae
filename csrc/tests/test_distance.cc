#include <cmath>
#include <limits>

#include "lanewise/distance.h"
#include "testing.h"

namespace lanewise {

namespace {

// The definitions, one row against another, for integers: sums are exact.
template <class T>
double Plain(Metric metric, const T* x, const T* y, int64_t d) {
  double differ = 0, absolute = 0, square = 0, cube = 0, largest = 0, dot = 0, x2 = 0, y2 = 0;
  double shares = 0, sums = 0, both = 0, either = 0;
  for (int64_t k = 0; k < d; ++k) {
    const double a = x[k], b = y[k], t = std::abs(a - b), size = std::abs(a) + std::abs(b);
    differ += a != b;
    absolute += t;
    square += t * t;
    cube += t * t * t;
    largest = std::max(largest, t);
    dot += a * b;
    x2 += a * a;
    y2 += b * b;
    shares += size == 0 ? 0 : t / size;
    sums += std::abs(a + b);
    both += a != 0 && b != 0;
    either += a != 0 || b != 0;
  }
  switch (metric) {
    case Metric::kEuclidean:
      return std::sqrt(square);
    case Metric::kSqEuclidean:
      return square;
    case Metric::kManhattan:
      return absolute;
    case Metric::kChebyshev:
      return largest;
    case Metric::kMinkowski:  // p = 3
      return std::cbrt(cube);
    case Metric::kCosine:
      return 1 - dot / std::sqrt(x2 * y2);
    case Metric::kCorrelation: {
      std::vector<double> a(x, x + d), b(y, y + d);
      for (std::vector<double>* row : {&a, &b}) {
        double mean = 0;
        for (const double value : *row) mean += value / static_cast<double>(d);
        for (double& value : *row) value -= mean;
      }
      return Plain(Metric::kCosine, a.data(), b.data(), d);
    }
    case Metric::kHamming:
      return differ / static_cast<double>(d);
    case Metric::kCanberra:
      return shares;
    case Metric::kBrayCurtis:
      return absolute / sums;
    case Metric::kJaccard:
      return (either - both) / either;
    case Metric::kDot:
      return dot;
  }
  return 0;
}

constexpr Metric kMetrics[] = {Metric::kEuclidean,   Metric::kSqEuclidean, Metric::kManhattan,
                               Metric::kChebyshev,   Metric::kMinkowski,   Metric::kCosine,
                               Metric::kCorrelation, Metric::kHamming,     Metric::kCanberra,
                               Metric::kBrayCurtis,  Metric::kJaccard,     Metric::kDot};

}  // namespace

TEST_CASE_TEMPLATE("distances of integers, of all pairs and of pairs", T, float, double) {
  const int64_t m = 29, n = 35, d = 70;
  const auto x = testing::Integers<T>(m * d, 1), y = testing::Integers<T>(n * d, 2);
  const TensorView vx(x.data(), {m, d}), vy(y.data(), {n, d}), vy_m(y.data(), {m, d});
  testing::EverywhereDo([&] {
    for (const Metric metric : kMetrics) {
      CAPTURE(static_cast<int>(metric));
      std::vector<T> all(m * n), pairs(m);
      PairwiseDistances(vx, vy, {metric, 3}, TensorView(all.data(), {m, n}));
      PairedDistances(vx, vy_m, {metric, 3}, TensorView(pairs.data(), {m}));
      for (int64_t i = 0; i < m; ++i) {
        CHECK(pairs[i] == all[i * n + i]);
        for (int64_t j = 0; j < n; ++j) {
          const double expected = Plain(metric, &x[i * d], &y[j * d], d);
          // Sums of integers are exact; shares, centring, and up to four roundings after a sum are
          // not, of results that are below 100 where they are inexact.
          const double off = 100 * double(d) * std::numeric_limits<T>::epsilon();
          REQUIRE(std::abs(all[i * n + j] - expected) <= off);
        }
      }
    }
  });
}

TEST_CASE_TEMPLATE("euclidean and manhattan distances of integers are exact", T, float, double) {
  const int64_t m = 29, n = 35, d = 70;
  const auto x = testing::Integers<T>(m * d, 1), y = testing::Integers<T>(n * d, 2);
  testing::EverywhereDo([&] {
    for (const Metric metric : {Metric::kSqEuclidean, Metric::kManhattan, Metric::kEuclidean}) {
      std::vector<T> out(m * n);
      PairwiseDistances({x.data(), {m, d}}, {y.data(), {n, d}}, metric, {out.data(), {m, n}});
      for (int64_t i = 0; i < m; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          REQUIRE(out[i * n + j] == static_cast<T>(Plain(metric, &x[i * d], &y[j * d], d)));
        }
      }
    }
  });
}

TEST_CASE("distances of narrow and mixed types are those of their values") {
  const int64_t m = 9, n = 20, d = 33;
  const auto x = testing::Integers<float>(m * d, 1);
  const auto y = testing::Integers<int8_t>(n * d, 2);
  const std::vector<float> wide(y.begin(), y.end());
  std::vector<float> expected(m * n), mixed(m * n);
  std::vector<Float16> narrow(m * n);
  for (const Metric metric : kMetrics) {
    PairwiseDistances({x.data(), {m, d}}, {wide.data(), {n, d}}, {metric, 3},
                      {expected.data(), {m, n}});
    PairwiseDistances({x.data(), {m, d}}, {y.data(), {n, d}}, {metric, 3}, {mixed.data(), {m, n}});
    CHECK(mixed == expected);
  }
  CHECK_THROWS_AS(
      PairwiseDistances({x.data(), {m, d}}, {y.data(), {n, d}}, {}, {narrow.data(), {m, n}}),
      DTypeError);  // float16 does not hold float32
  std::vector<Float16> half(n);
  PairedDistances({y.data(), {n, d}}, {y.data() + d, {1, d}}, Metric::kChebyshev,
                  {half.data(), {n}});
  CHECK(half[1].bits == 0);
  CHECK(half[0].bits == 0x4800);  // 8
}

TEST_CASE_TEMPLATE("metrics of true coordinates are quotients of exact counts", T, float, double) {
  for (const int64_t d : {1, 63, 64, 65, 1984, 2000}) {
    CAPTURE(d);
    const int64_t m = 9, n = 35;
    const auto number = testing::Integers<T>(m * d, 1), other = testing::Integers<T>(n * d, 2);
    // As bools; their type is that of bytes, since a vector<bool> has none of its own.
    const auto truth = [](const std::vector<T>& values) {
      std::vector<uint8_t> bytes;
      for (const T value : values) bytes.push_back(value > 0);
      return bytes;
    };
    const std::vector<uint8_t> x = truth(number), y = truth(other);
    const auto bools = [](const std::vector<uint8_t>& bytes, int64_t rows, int64_t columns) {
      return TensorView(reinterpret_cast<const bool*>(bytes.data()), {rows, columns});
    };
    testing::EverywhereDo([&] {
      std::vector<T> of_numbers(m * n), hamming(m * n), pairs(m);
      PairwiseDistances({number.data(), {m, d}}, {other.data(), {n, d}}, Metric::kJaccard,
                        {of_numbers.data(), {m, n}});
      PairwiseDistances(bools(x, m, d), bools(y, n, d), Metric::kHamming, {hamming.data(), {m, n}});
      PairedDistances(bools(x, m, d), bools(y, m, d), Metric::kHamming, {pairs.data(), {m}});
      for (int64_t i = 0; i < m; ++i) {
        CHECK(pairs[i] == hamming[i * n + i]);
        for (int64_t j = 0; j < n; ++j) {
          int64_t both = 0, either = 0, differ = 0;
          for (int64_t k = 0; k < d; ++k) {
            const T a = number[i * d + k], b = other[j * d + k];
            both += a != 0 && b != 0;
            either += a != 0 || b != 0;
            differ += x[i * d + k] != y[j * d + k];
          }
          const T share = either == 0 ? T(0) : T(either - both) / T(either);
          REQUIRE(of_numbers[i * n + j] == share);
          REQUIRE(hamming[i * n + j] == T(differ) / T(d));
        }
      }
    });
  }
}

TEST_CASE("distances: leading axes broadcast") {
  CHECK(PairwiseDistancesShape({5, 1, 4, 3}, {2, 6, 3}) == Shape{5, 2, 4, 6});
  CHECK(PairedDistancesShape({5, 1, 4, 3}, {2, 1, 3}) == Shape{5, 2, 4});
  CHECK(PairedDistancesShape({3}, {3}) == Shape{});
}

TEST_CASE("distances: wrong views and options are refused") {
  std::vector<float> a(12), out(12);
  std::vector<double> b(12);
  const TensorView x(a.data(), {4, 3}), y(b.data(), {4, 3});
  CHECK_THROWS_AS(PairwiseDistancesShape({3}, {4, 3}), std::invalid_argument);
  CHECK_THROWS_AS(PairwiseDistancesShape({4, 2}, {4, 3}), std::invalid_argument);
  CHECK_THROWS_AS(PairedDistancesShape({}, {4, 3}), std::invalid_argument);
  CHECK_THROWS_AS(PairedDistancesShape({5, 3}, {4, 3}), std::invalid_argument);
  CHECK_THROWS_AS(PairwiseDistances(x, x, Metric::kDot, TensorView(out.data(), {4, 3})),
                  std::invalid_argument);
  std::vector<float> square(16);
  const TensorView to(square.data(), {4, 4});
  CHECK_THROWS_AS(PairwiseDistances(x, y, Metric::kDot, to), DTypeError);
  std::vector<int32_t> integers(16);
  CHECK_THROWS_AS(PairwiseDistances(x, x, Metric::kDot, TensorView(integers.data(), {4, 4})),
                  DTypeError);
  for (const double p : {-1.0, std::nan("")}) {
    CHECK_THROWS_AS(PairwiseDistances(x, x, {Metric::kMinkowski, p}, to), std::invalid_argument);
    CHECK_THROWS_AS(PairedDistances(x, x, {Metric::kMinkowski, p}, TensorView(out.data(), {4})),
                    std::invalid_argument);
  }
  CHECK_THROWS_AS(PairwiseDistances(x, x, static_cast<Metric>(99), to), std::invalid_argument);
}

}  // namespace lanewise
