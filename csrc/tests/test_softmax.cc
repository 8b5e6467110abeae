#include <cmath>
#include <limits>

#include "lanewise/softmax.h"
#include "testing.h"

namespace lanewise {
namespace {

// Roundings on the path of one term: exp (1 ulp, twice u), its argument (|x - max| <= 8), the sum
// of 50 terms in any order, the reciprocal, the product.
template <class T>
constexpr T kBound = (2 + 8 + 50 + 4) * std::numeric_limits<T>::epsilon() / 2;

}  // namespace

TEST_CASE_TEMPLATE("softmax and its gradient along either axis", T, float, double) {
  const int64_t m = 23, n = 50;
  const auto x = testing::Integers<T>(m * n, 1), dy = testing::Integers<T>(m * n, 2);
  testing::EverywhereDo([&] {
    for (const int axis : {0, 1}) {
      const TensorView vx(x.data(), {m, n}), vdy(dy.data(), {m, n});
      std::vector<T> y(m * n), log_y(m * n), dx(m * n);
      const TensorView vy(y.data(), {m, n});
      Softmax(vx, {axis}, nullptr, vy);
      LogSoftmax(vx, {axis}, TensorView(log_y.data(), {m, n}));
      SoftmaxBackward(vdy, vy, {axis}, TensorView(dx.data(), {m, n}));
      const int64_t outer = axis == 0 ? n : m, length = axis == 0 ? m : n;
      for (int64_t i = 0; i < outer; ++i) {
        const auto at = [&](int64_t k) { return axis == 0 ? k * n + i : i * n + k; };
        double sum = 0, dot = 0;
        for (int64_t k = 0; k < length; ++k) sum += std::exp(double(x[at(k)]));
        for (int64_t k = 0; k < length; ++k) dot += double(dy[at(k)]) * double(y[at(k)]);
        for (int64_t k = 0; k < length; ++k) {
          const double p = std::exp(double(x[at(k)])) / sum;
          REQUIRE(std::abs(y[at(k)] - p) <= kBound<T> * p);
          REQUIRE(std::abs(log_y[at(k)] - std::log(p)) <= kBound<T> * (1 + std::abs(std::log(p))));
          const double gradient = double(y[at(k)]) * (double(dy[at(k)]) - dot);
          REQUIRE(std::abs(dx[at(k)] - gradient) <= kBound<T> * 8 * double(y[at(k)]));
        }
      }
    }
  });
}

TEST_CASE_TEMPLATE("softmax family along several axes, as along one", T, float, double) {
  const int64_t a = 3, b = 5, c = 40;
  const auto x = testing::Integers<T>(a * b * c, 3);
  testing::EverywhereDo([&] {
    // x with its axes a and c moved last.
    std::vector<T> flat(x.size()), y(x.size()), flat_y(x.size()), sums(b), flat_sums(b);
    const auto for_each = [&](const auto& f) {
      for (int64_t i = 0; i < a * b * c; ++i) f(i, (i / c % b * a + i / (b * c)) * c + i % c);
    };
    for_each([&](int64_t i, int64_t j) { flat[j] = x[i]; });
    const TensorView vx(x.data(), {a, b, c}), vflat(flat.data(), {b, a * c});
    Softmax(vx, {-1, 0}, nullptr, TensorView(y.data(), {a, b, c}));
    Softmax(vflat, {1}, nullptr, TensorView(flat_y.data(), {b, a * c}));
    for_each([&](int64_t i, int64_t j) { REQUIRE(y[i] == flat_y[j]); });
    LogSumExp(vx, {0, 2}, true, TensorView(sums.data(), {1, b, 1}));
    LogSumExp(vflat, {1}, false, TensorView(flat_sums.data(), {b}));
    CHECK(sums == flat_sums);
    for (int64_t i = 0; i < b; ++i) {
      double sum = 0;
      for (int64_t k = 0; k < a * c; ++k) sum += std::exp(double(flat[i * a * c + k]));
      // as above, with up to 120 terms, and log1p instead of the quotient
      const T bound = (2 + 8 + 120 + 5) * std::numeric_limits<T>::epsilon() / 2;
      CHECK(std::abs(sums[i] - std::log(sum)) <= bound * (1 + std::log(sum)));
    }
  });
}

TEST_CASE("softmax: what a mask excludes is 0, whatever x holds there") {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::nanf("");
  const std::vector<float> x{1, nan, 1, inf, 2, -inf, nan, 5, 7};
  const bool mask[] = {true, false, true};
  const bool rows[] = {true, false, true};
  std::vector<float> y(9, -1);
  const TensorView vx(x.data(), {3, 3}), vy(y.data(), {3, 3});
  const TensorView columns(mask, {3}), per_row(rows, {3, 1});
  testing::EverywhereDo([&] {
    Softmax(vx, {1}, &columns, vy);
    CHECK(y[0] == 0.5f);
    for (const int i : {1, 4, 7}) CHECK(y[i] == 0);
    for (const int i : {3, 5, 6, 8}) CHECK(std::isnan(y[i]));
    Softmax(vx, {1}, &per_row, vy);
    for (const int i : {3, 4, 5}) CHECK(y[i] == 0);
    for (const int i : {0, 1, 2}) CHECK(std::isnan(y[i]));
  });
}

TEST_CASE("softmax: narrow types are rounded once, to even") {
  // softmax of two equal numbers is 1/2; of x and x + log 3 it is 1/4 and 3/4.
  std::vector<Float16> half{{0x3c00}, {0x3c00}};
  std::vector<BFloat16> brain{{0x3f80}, {0x3f80}};
  const TensorView vhalf(half.data(), {2}), vbrain(brain.data(), {2});
  testing::EverywhereDo([&] {
    Softmax(vhalf, {0}, nullptr, vhalf);  // in place
    Softmax(vbrain, {0}, nullptr, vbrain);
    for (int i = 0; i < 2; ++i) {
      CHECK(half[i].bits == 0x3800);
      CHECK(brain[i].bits == 0x3f00);
    }
  });
}

TEST_CASE("softmax: the Jacobian") {
  const std::vector<double> y{0.125, 0.5, 0.375};
  std::vector<double> matrix(9);
  testing::EverywhereDo([&] {
    SoftmaxJacobian(TensorView(y.data(), {3}), {0}, TensorView(matrix.data(), {3, 3}));
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) CHECK(matrix[i * 3 + j] == y[i] * ((i == j) - y[j]));
    }
  });
  const int64_t many = int64_t{1} << 32;
  CHECK_THROWS_AS(SoftmaxJacobianShape({many}, {0}), std::invalid_argument);
  CHECK(SoftmaxJacobianShape({2, 3, 4}, {0, 2}) == Shape{3, 8, 8});
}

TEST_CASE("logsumexp of nothing, and of infinities") {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x{-inf, -inf, inf, 1, inf, std::nanf("")};
  std::vector<float> out(3, 7);
  const TensorView all(out.data(), {3});
  testing::EverywhereDo([&] {
    LogSumExp(TensorView(x.data(), {3, 2}), {1}, false, all);
    CHECK(out[0] == -inf);
    CHECK(out[1] == inf);
    CHECK(std::isnan(out[2]));
    LogSumExp(TensorView(x.data(), {3, 0}), {-1}, false, all);
    for (const float value : out) CHECK(value == -inf);
  });
  CHECK(LogSumExpShape({2, 3, 4}, {0, -1}, false) == Shape{3});
  CHECK(LogSumExpShape({2, 3, 4}, {0, -1}, true) == Shape{1, 3, 1});
}

TEST_CASE("softmax: a row that holds a NaN, or nothing but -inf, is NaN") {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x{1, std::nanf(""), 3, -inf, -inf, -inf};
  std::vector<float> y(6);
  Softmax(TensorView(x.data(), {2, 3}), {1}, nullptr, TensorView(y.data(), {2, 3}));
  for (const float value : y) CHECK(std::isnan(value));
}

TEST_CASE("softmax: bad axes, masks and types are refused, and out left alone") {
  const std::vector<float> x(6);
  const std::vector<double> wide(6);
  const std::vector<int32_t> integers(6);
  const bool mask[6] = {};
  std::vector<float> y(6, 7);
  const TensorView vx(x.data(), {2, 3}), vy(y.data(), {2, 3});
  CHECK_THROWS_AS(Softmax(vx, {2}, nullptr, vy), std::invalid_argument);
  CHECK_THROWS_AS(Softmax(vx, {-3}, nullptr, vy), std::invalid_argument);
  CHECK_THROWS_AS(Softmax(vx, {1, -1}, nullptr, vy), std::invalid_argument);
  const TensorView wrong(mask, {3, 2}), not_bool(integers.data(), {2, 3});
  CHECK_THROWS_AS(Softmax(vx, {1}, &wrong, vy), std::invalid_argument);
  CHECK_THROWS_AS(Softmax(vx, {1}, &not_bool, vy), DTypeError);
  CHECK_THROWS_AS(Softmax(TensorView(wide.data(), {2, 3}), {1}, nullptr, vy), DTypeError);
  CHECK_THROWS_AS(Softmax(vx, {1}, nullptr, not_bool), DTypeError);
  CHECK_THROWS_AS(LogSumExp(vx, {1}, false, vy), std::invalid_argument);
  CHECK_THROWS_AS(SoftmaxJacobian(vx, {1}, vy), std::invalid_argument);
  for (const float value : y) CHECK(value == 7);
}

TEST_CASE("softmax: unequal shapes are refused") {
  const std::vector<float> dy(6), y(6);
  std::vector<float> dx(6, 7);
  CHECK_THROWS_AS(SoftmaxBackward(TensorView(dy.data(), {2, 3}), TensorView(y.data(), {3, 2}), {1},
                                  TensorView(dx.data(), {2, 3})),
                  std::invalid_argument);
  for (const float value : dx) CHECK(value == 7);
}

}  // namespace lanewise
