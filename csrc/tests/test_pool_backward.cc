#include <algorithm>
#include <numeric>

#include "lanewise/pool.h"
#include "testing.h"

namespace lanewise {

TEST_CASE_TEMPLATE("max_pool2d_backward: what each window has goes to its winner", T, int8_t,
                   uint8_t, int16_t, uint16_t, int32_t, uint32_t, int64_t, uint64_t, float,
                   double) {
  const int64_t n = 2, h = 9, w = 11, oh = 4, ow = 5, c = 19;
  std::vector<T> dy;
  for (const int v : testing::Integers<int>(n * oh * ow * c)) dy.push_back(static_cast<T>(v));
  std::vector<int64_t> indices;
  for (const int v : testing::Integers<int>(n * oh * ow * c, 2)) indices.push_back(11 * (v + 4));
  std::vector<T> expected(n * h * w * c);
  for (int64_t i = 0; i < n * oh * ow * c; ++i) {
    T& pixel = expected[(i / (oh * ow * c) * h * w + indices[i]) * c + i % c];
    pixel = static_cast<T>(pixel + dy[i]);
  }
  const TensorView dy_view(dy.data(), {n, oh, ow, c});
  const TensorView index_view(indices.data(), {n, oh, ow, c});
  REQUIRE(MaxPool2dBackwardShape({n, oh, ow, c}, {n, oh, ow, c}, {n, h, w, c}, Layout::kNHWC) ==
          Shape{n, h, w, c});
  testing::EverywhereDo([&] {
    for (const bool out_is_new : {false, true}) {
      std::vector<T> dx(n * h * w * c, T(7));
      MaxPool2dBackward(dy_view, index_view, Layout::kNHWC, TensorView(dx.data(), {n, h, w, c}),
                        out_is_new);
      REQUIRE(dx == expected);
    }
  });
}

TEST_CASE("max_pool2d_backward: one large image, both layouts") {
  const int64_t h = 300, w = 301, oh = 150, ow = 150, c = 4;
  const auto dy = testing::Integers<float>(oh * ow * c);
  std::vector<int64_t> indices(dy.size());
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = int64_t(i) * 7919 % (h * w);
  std::vector<float> pixels(h * w * c), planes(h * w * c);
  for (int64_t i = 0; i < oh * ow * c; ++i) {
    pixels[indices[i] * c + i % c] += dy[i];
    planes[i / (oh * ow) * h * w + indices[i]] += dy[i];
  }
  testing::EverywhereDo([&] {
    std::vector<float> dx(h * w * c);
    MaxPool2dBackward(TensorView(dy.data(), {oh, ow, c}), TensorView(indices.data(), {oh, ow, c}),
                      Layout::kNHWC, TensorView(dx.data(), {h, w, c}));
    REQUIRE(dx == pixels);
    MaxPool2dBackward(TensorView(dy.data(), {c, oh, ow}), TensorView(indices.data(), {c, oh, ow}),
                      Layout::kNCHW, TensorView(dx.data(), {c, h, w}));
    REQUIRE(dx == planes);
  });
}

TEST_CASE("max_pool2d_backward: a bad index is named before anything is written") {
  const std::vector<float> dy(12);
  std::vector<int64_t> indices(12);
  indices[7] = 20;
  std::vector<float> dx(60, 7);
  testing::EverywhereDo([&] {
    CHECK_THROWS_WITH_AS(
        MaxPool2dBackward(TensorView(dy.data(), {2, 2, 3}), TensorView(indices.data(), {2, 2, 3}),
                          Layout::kNHWC, TensorView(dx.data(), {4, 5, 3})),
        "max_pool2d_backward: indices[1, 0, 1] is 20, which is no place in a plane of 4 x 5",
        std::out_of_range);
    CHECK(std::count(dx.begin(), dx.end(), 7) == 60);
  });
}

TEST_CASE("avg_pool2d_backward: windows of ones, divided by what each counts") {
  const int64_t h = 9, w = 40, c = 17;
  PoolOptions options;
  options.window = {3, 5};
  options.stride = PerAxis<int64_t>{2, 1};
  options.padding = {PaddingRule::kExplicit, {1, 2}, {1, 2}};
  options.count_include_pad = true;
  const Shape small = AvgPool2dShape({h, w, c}, options);
  REQUIRE(AvgPool2dBackwardShape(small, {h, w, c}, options) == Shape{h, w, c});
  const std::vector<float> dy(small[0] * small[1] * c, 15);
  testing::EverywhereDo([&] {
    std::vector<float> dx(h * w * c);
    AvgPool2dBackward(TensorView(dy.data(), {small[0], small[1], c}), options,
                      TensorView(dx.data(), {h, w, c}));
    for (int64_t i = 0; i < h * w * c; ++i) {
      const int64_t row = i / (w * c), column = i / c % w;
      const int64_t rows = row % 2 == 0 ? 1 : 2;  // windows begin at rows -1, 1, 3, …
      const int64_t columns =
          5 - std::max<int64_t>(0, 2 - column) - std::max<int64_t>(0, column - (w - 3));
      REQUIRE(dx[i] == float(rows * columns));
    }
  });
}

TEST_CASE("gradients of pooling: shapes and types are checked in their own names") {
  PoolOptions options;
  options.window = {2, 2};
  CHECK_THROWS_WITH_AS(AvgPool2dBackwardShape({2, 3, 1}, {4, 4, 1}, options),
                       doctest::Contains("avg_pool2d_backward: dy has shape (2, 3, 1), expected "
                                         "(2, 2, 1) for input_shape (4, 4, 1)"),
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(MaxPool2dBackwardShape({2, 3, 2}, {2, 3, 2}, {4, 4, 1}, Layout::kNHWC),
                       doctest::Contains("max_pool2d_backward: dy has shape (2, 3, 2), expected"),
                       std::invalid_argument);
  const std::vector<float> dy(4), dx(16);
  const TensorView from(dy.data(), {2, 2, 1}), to(dx.data(), {4, 4, 1});
  CHECK_THROWS_AS(MaxPool2dBackward(from, from, Layout::kNHWC, to), DTypeError);
}

}  // namespace lanewise
