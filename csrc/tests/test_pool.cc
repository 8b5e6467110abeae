#include <algorithm>
#include <cmath>
#include <limits>

#include "lanewise/pool.h"
#include "testing.h"

namespace lanewise {

TEST_CASE_TEMPLATE("max_pool2d: values and first indices, NHWC", T, float, double) {
  const int64_t h = 11, w = 13, c = 19;
  const auto x = testing::Integers<T>(h * w * c);
  PoolOptions options;
  options.window = {3, 2};
  options.stride = PerAxis<int64_t>{2, 1};
  const Shape shape = MaxPool2dShape({1, h, w, c}, options);
  REQUIRE(shape == Shape{1, 5, 12, c});
  testing::EverywhereDo([&] {
    std::vector<T> y(5 * 12 * c);
    std::vector<int64_t> indices(y.size());
    const TensorView index_view(indices.data(), {1, 5, 12, c});
    MaxPool2d(TensorView(x.data(), {1, h, w, c}), options, TensorView(y.data(), {1, 5, 12, c}),
              &index_view);
    size_t i = 0;
    for (int64_t oh = 0; oh < 5; ++oh) {
      for (int64_t ow = 0; ow < 12; ++ow) {
        for (int64_t k = 0; k < c; ++k, ++i) {
          T best = -std::numeric_limits<T>::infinity();
          int64_t where = -1;
          for (int64_t r = 0; r < 3; ++r) {
            for (int64_t s = 0; s < 2; ++s) {
              const int64_t pixel = (oh * 2 + r) * w + ow + s;
              if (x[pixel * c + k] > best) {
                best = x[pixel * c + k];
                where = pixel;
              }
            }
          }
          REQUIRE(y[i] == best);
          REQUIRE(indices[i] == where);
        }
      }
    }
  });
}

TEST_CASE("max_pool2d: NaN wins, padding does not") {
  const float nan = std::nanf("");
  const std::vector<float> x{-3, -5, nan, -7};
  PoolOptions options;
  options.window = {1, 2};
  options.stride = PerAxis<int64_t>{1, 1};
  options.padding = {PaddingRule::kExplicit, {0, 1}, {0, 0}};
  std::vector<float> y(4);
  MaxPool2d(TensorView(x.data(), {1, 1, 4, 1}), options, TensorView(y.data(), {1, 1, 4, 1}));
  CHECK(y[0] == -3);
  CHECK(y[1] == -3);
  CHECK(std::isnan(y[2]));
  CHECK(std::isnan(y[3]));
}

TEST_CASE("max_pool2d: a window without a pixel is refused") {
  PoolOptions options;
  options.window = {2, 2};
  options.padding = {PaddingRule::kExplicit, {3, 0}, {0, 0}};
  CHECK_THROWS_AS(MaxPool2dShape({1, 8, 8, 1}, options), std::invalid_argument);
}

TEST_CASE_TEMPLATE("min_pool2d: values and first indices of every type, padded, NCHW", T, int8_t,
                   uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t, float,
                   double) {
  const int64_t c = 3, h = 7, w = 37;
  std::vector<T> x;
  for (const int v : testing::Integers<int>(c * h * w)) x.push_back(static_cast<T>(v + 4));
  PoolOptions options;
  options.window = {3, 3};
  options.stride = PerAxis<int64_t>{1, 2};
  options.padding = {PaddingRule::kExplicit, {1, 1}, {1, 1}};
  options.layout = Layout::kNCHW;
  const Shape shape = MinPool2dShape({c, h, w}, options);
  REQUIRE(shape == Shape{c, 7, 19});
  testing::EverywhereDo([&] {
    std::vector<T> y(c * 7 * 19);
    std::vector<int64_t> indices(y.size());
    const TensorView index_view(indices.data(), {c, 7, 19});
    MinPool2d(TensorView(x.data(), {c, h, w}), options, TensorView(y.data(), {c, 7, 19}),
              &index_view);
    for (int64_t i = 0; i < c * 7 * 19; ++i) {
      const int64_t k = i / (7 * 19), oh = i / 19 % 7, ow = i % 19;
      int64_t where = -1;
      for (int64_t row = std::max<int64_t>(0, oh - 1); row < std::min(h, oh + 2); ++row) {
        for (int64_t s = -1; s < 2; ++s) {
          const int64_t column = ow * 2 + s;
          if (column < 0 || column >= w) continue;
          const int64_t pixel = row * w + column;
          if (where < 0 || x[k * h * w + pixel] < x[k * h * w + where]) where = pixel;
        }
      }
      REQUIRE(indices[i] == where);
      REQUIRE(y[i] == x[k * h * w + where]);
    }
  });
}

TEST_CASE("max_pool2d: NaN omitted") {
  const float nan = std::nanf("");
  const std::vector<float> x{nan, -5, nan, nan};
  PoolOptions options;
  options.window = {1, 2};
  options.nan_policy = NanPolicy::kOmit;
  std::vector<float> y(2);
  std::vector<int64_t> indices(2);
  const TensorView index_view(indices.data(), {1, 1, 2, 1});
  MaxPool2d(TensorView(x.data(), {1, 1, 4, 1}), options, TensorView(y.data(), {1, 1, 2, 1}),
            &index_view);
  CHECK(y[0] == -5);
  CHECK(std::isnan(y[1]));
  CHECK(indices == std::vector<int64_t>{1, 2});
}

TEST_CASE("avg_pool2d: pixels or padding too are counted; integers average in float64") {
  const std::vector<float> x{1, 2, 3, 4};
  const std::vector<uint8_t> bytes{255, 254, 3, 4};
  PoolOptions options;
  options.window = {2, 2};
  options.padding = {PaddingRule::kExplicit, {1, 1}, {1, 1}};
  REQUIRE(AvgPool2dShape({2, 2, 1}, options) == Shape{2, 2, 1});
  testing::EverywhereDo([&] {
    std::vector<float> y(4);
    AvgPool2d(TensorView(x.data(), {2, 2, 1}), options, TensorView(y.data(), {2, 2, 1}));
    CHECK(y == std::vector<float>{1, 2, 3, 4});
    options.count_include_pad = true;
    AvgPool2d(TensorView(x.data(), {2, 2, 1}), options, TensorView(y.data(), {2, 2, 1}));
    CHECK(y == std::vector<float>{0.25f, 0.5f, 0.75f, 1});
    options.count_include_pad = false;
    std::vector<double> mean(1);
    const TensorView mean_view(mean.data(), {1, 1, 1});
    GlobalAvgPool2d(TensorView(bytes.data(), {2, 2, 1}), Layout::kNHWC, mean_view);
    CHECK(mean[0] == 129);
  });
}

TEST_CASE("pooling in one dimension") {
  const std::vector<double> x{3, 1, 4, 1, 5, 9};
  PoolOptions options;
  options.window = {7, 2};  // the height does not count
  REQUIRE(MaxPool1dShape({6, 1}, options) == Shape{3, 1});
  std::vector<double> y(3);
  std::vector<int64_t> indices(3);
  const TensorView view(x.data(), {6, 1}), out(y.data(), {3, 1}), index(indices.data(), {3, 1});
  MaxPool1d(view, options, out, &index);
  CHECK(y == std::vector<double>{3, 4, 9});
  CHECK(indices == std::vector<int64_t>{0, 2, 5});
  MinPool1d(view, options, out);
  CHECK(y == std::vector<double>{1, 1, 5});
  AvgPool1d(view, options, out);
  CHECK(y == std::vector<double>{2, 2.5, 7});
}

TEST_CASE("pooling: errors name the op that was called, and types are checked") {
  PoolOptions options;
  options.window = {9, 9};
  CHECK_THROWS_WITH_AS(AvgPool1dShape({1, 4, 2}, options), doctest::Contains("avg_pool1d: a wind"),
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(MinPool2dShape({4}, options),
                       doctest::Contains("min_pool2d: x has shape (4,), expected 4 axes, or 3"),
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(GlobalMaxPool2dShape({1, 0, 3, 2}, Layout::kNHWC),
                       doctest::Contains("global_max_pool2d: x has shape (1, 0, 3, 2), whose"),
                       std::invalid_argument);
  const std::vector<int32_t> x(4);
  const std::vector<float> y(4);
  options.window = {1, 1};
  CHECK_THROWS_AS(AvgPool1d(TensorView(x.data(), {4, 1}), options, TensorView(y.data(), {4, 1})),
                  DTypeError);
  CHECK_THROWS_AS(MaxPool1d(TensorView(x.data(), {4, 1}), options, TensorView(y.data(), {4, 1})),
                  DTypeError);
}

}  // namespace lanewise
