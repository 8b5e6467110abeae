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

TEST_CASE("softmax: a row that holds a NaN, or nothing but -inf, is NaN") {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> x{1, std::nanf(""), 3, -inf, -inf, -inf};
  std::vector<float> y(6);
  Softmax(TensorView(x.data(), {2, 3}), {1}, nullptr, TensorView(y.data(), {2, 3}));
  for (const float value : y) CHECK(std::isnan(value));
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
