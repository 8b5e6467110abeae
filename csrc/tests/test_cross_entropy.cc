#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "lanewise/cross_entropy.h"
#include "testing.h"

namespace lanewise {
namespace {

// Roundings on the path of one term: exp (1 ulp, twice u), its argument (|x - max| <= 8), the sum
// of 50 terms in any order, log1p, its weight, two steps to the loss; and the mean.
template <class T>
constexpr T kBound = (2 + 8 + 50 + 5 + 4 + 2) * std::numeric_limits<T>::epsilon() / 2;

constexpr int64_t kIgnored = 7;

}  // namespace

TEST_CASE_TEMPLATE("cross-entropy and its gradient along either axis", T, float, double) {
  const int64_t m = 23, n = 50;
  const auto x = testing::Integers<T>(m * n, 1);
  const std::vector<T> weight = [&] {
    std::vector<T> w(n);
    for (int64_t c = 0; c < n; ++c) w[c] = T(1 + c % 3);
    return w;
  }();
  testing::EverywhereDo([&] {
    for (const int axis : {0, 1}) {
      const int64_t rows = axis == 0 ? n : m, classes = axis == 0 ? m : n;
      std::vector<int32_t> labels(rows);
      for (int64_t i = 0; i < rows; ++i) labels[i] = static_cast<int32_t>(i * 5 % classes);
      const TensorView vx(x.data(), {m, n}), vw(weight.data(), {classes});
      std::vector<T> dx(m * n), losses(rows);
      T loss = 0;
      const TensorView vdx(dx.data(), {m, n});
      CrossEntropyOptions options;
      options.axes = {axis};
      options.weight = &vw;
      options.ignore_index = kIgnored;
      const TensorView target(labels.data(), {rows});
      CrossEntropy(vx, target, options, TensorView(&loss, {}), &vdx);
      options.reduction = Reduction::kNone;
      CrossEntropy(vx, target, options, TensorView(losses.data(), {rows}), nullptr);
      double total = 0, weights = 0;
      for (int64_t i = 0; i < rows; ++i) {
        if (labels[i] != kIgnored) weights += double(weight[labels[i]]);
      }
      for (int64_t i = 0; i < rows; ++i) {
        const auto at = [&](int64_t k) { return axis == 0 ? k * n + i : i * n + k; };
        double sum = 0;
        for (int64_t k = 0; k < classes; ++k) sum += std::exp(double(x[at(k)]));
        const bool ignored = labels[i] == kIgnored;
        const double w = ignored ? 0 : double(weight[labels[i]]);
        const double expected = w * (std::log(sum) - double(x[at(labels[i])]));
        REQUIRE(std::abs(losses[i] - expected) <= kBound<T> * (w + expected));
        total += expected;
        for (int64_t k = 0; k < classes; ++k) {
          const double p = std::exp(double(x[at(k)])) / sum;
          const double slope = w * (p - (k == labels[i])) / weights;
          REQUIRE(std::abs(dx[at(k)] - slope) <= kBound<T> * w / weights);
        }
      }
      CHECK(std::abs(loss - total / weights) <= kBound<T> * (1 + total / weights));
    }
  });
}

TEST_CASE_TEMPLATE("cross-entropy of probabilities is that of the labels they stand for", T, float,
                   double) {
  const int64_t m = 40, n = 9;
  const auto x = testing::Integers<T>(m * n, 3);
  std::vector<uint8_t> labels(m);
  std::vector<T> one_hot(m * n), by_label(m), by_share(m), p(m * n);
  for (int64_t i = 0; i < m; ++i) {
    labels[i] = static_cast<uint8_t>(i % n);
    one_hot[i * n + i % n] = 1;
  }
  const TensorView vx(x.data(), {m, n}), vp(p.data(), {m, n});
  const TensorView label_losses(by_label.data(), {m}), share_losses(by_share.data(), {m});
  testing::EverywhereDo([&] {
    CrossEntropyOptions options;
    options.reduction = Reduction::kNone;
    for (const double smoothing : {0.0, 0.25}) {
      options.label_smoothing = smoothing;
      options.from_probs = false;
      CrossEntropy(vx, TensorView(labels.data(), {m}), options, label_losses, nullptr);
      CrossEntropy(vx, TensorView(one_hot.data(), {m, n}), options, share_losses, nullptr);
      Softmax(vx, {1}, nullptr, vp);
      for (int64_t i = 0; i < m; ++i) {
        REQUIRE(std::abs(by_label[i] - by_share[i]) <= 2 * kBound<T> * (1 + by_label[i]));
      }
      options.from_probs = true;
      CrossEntropy(vp, TensorView(labels.data(), {m}), options, share_losses, nullptr);
      for (int64_t i = 0; i < m; ++i) {
        REQUIRE(std::abs(by_label[i] - by_share[i]) <= 2 * kBound<T> * (1 + by_label[i]));
      }
    }
  });
}

TEST_CASE("cross-entropy: a label that is no class is named, and nothing written") {
  const std::vector<float> x(12);
  const int64_t labels[] = {0, -3, 2, 9, 1, 0};
  float loss = 7;
  std::vector<float> dx(12, 7);
  const TensorView vdx(dx.data(), {2, 2, 3});
  CrossEntropyOptions options;
  options.axes = {1};
  std::string message;
  try {
    CrossEntropy(TensorView(x.data(), {2, 2, 3}), TensorView(labels, {2, 3}), options,
                 TensorView(&loss, {}), &vdx);
  } catch (const std::out_of_range& error) {
    message = error.what();
  }
  CHECK(message == "cross_entropy: target[0, 1] is -3, which is out of bounds for 2 classes");
  CHECK(loss == 7);
  for (const float value : dx) CHECK(value == 7);
}

TEST_CASE("cross-entropy: bad shapes, options and types are refused, and results left alone") {
  const std::vector<float> x(6);
  const std::vector<double> wide(6);
  const int32_t labels[2] = {};
  const bool flags[6] = {};
  float loss = 7;
  const TensorView vx(x.data(), {2, 3}), vt(labels, {2}), vloss(&loss, {});
  const auto refused = [&](const TensorView& target, const CrossEntropyOptions& options) {
    CHECK_THROWS_AS(CrossEntropy(vx, target, options, vloss, nullptr), std::invalid_argument);
  };
  CrossEntropyOptions axes, smoothing, weighted, ignoring;
  axes.axes = {0, 1};
  refused(vt, axes);
  smoothing.label_smoothing = 1.5;
  refused(vt, smoothing);
  smoothing.label_smoothing = std::nan("");
  refused(vt, smoothing);
  weighted.weight = &vt;
  refused(vt, weighted);
  ignoring.ignore_index = 0;
  refused(vx, ignoring);
  refused(TensorView(labels, {1, 2}), {});
  CHECK_THROWS_AS(CrossEntropy(vx, TensorView(flags, {2, 3}), {}, vloss, nullptr), DTypeError);
  CHECK_THROWS_AS(CrossEntropy(vx, TensorView(wide.data(), {2, 3}), {}, vloss, nullptr),
                  DTypeError);
  CHECK_THROWS_AS(CrossEntropy(TensorView(wide.data(), {2, 3}), vt, {}, vloss, nullptr),
                  DTypeError);
  const TensorView transposed(x.data(), {3, 2});
  CHECK_THROWS_AS(CrossEntropy(vx, vt, {}, vloss, &transposed), std::invalid_argument);
  CHECK(loss == 7);
}

TEST_CASE("cross-entropy: of nothing") {
  float loss = 7;
  const TensorView none(&loss, {0, 3}), no_labels(&loss, {0}), vloss(&loss, {});
  CrossEntropyOptions options;
  CrossEntropy(none, none, options, vloss, nullptr);
  CHECK(std::isnan(loss));
  options.reduction = Reduction::kSum;
  CrossEntropy(none, none, options, vloss, nullptr);
  CHECK(loss == 0);
  CHECK(CrossEntropyShape({2, 3, 4}, options) == Shape{});
  options.reduction = Reduction::kNone;
  options.axes = {1};
  CHECK(CrossEntropyShape({2, 3, 4}, options) == Shape{2, 4});
}

}  // namespace lanewise
