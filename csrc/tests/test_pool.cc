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

}  // namespace lanewise
