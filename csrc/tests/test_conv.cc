#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>

#include "lanewise/conv.h"
#include "testing.h"

namespace lanewise {
namespace {

// The definition, one output at a time; NHWC.
template <class T>
T Reference(const std::vector<T>& x, const Shape& xs, const std::vector<T>& w, const Shape& ws,
            const Conv2dOptions& options, int64_t n, int64_t oh, int64_t ow, int64_t k) {
  const int64_t group_k = ws[3] / options.groups, first_c = k / group_k * ws[2];
  T sum = 0;
  for (int64_t r = 0; r < ws[0]; ++r) {
    for (int64_t s = 0; s < ws[1]; ++s) {
      const int64_t ih =
          oh * options.stride[0] - options.padding.before[0] + r * options.dilation[0];
      const int64_t iw =
          ow * options.stride[1] - options.padding.before[1] + s * options.dilation[1];
      if (ih < 0 || ih >= xs[1] || iw < 0 || iw >= xs[2]) continue;
      for (int64_t c = 0; c < ws[2]; ++c) {
        sum += x[((n * xs[1] + ih) * xs[2] + iw) * xs[3] + first_c + c] *
               w[((r * ws[1] + s) * ws[2] + c) * ws[3] + k];
      }
    }
  }
  return sum;
}

template <class T>
void CheckConv(const Shape& xs, const Shape& ws, const Conv2dOptions& options) {
  const auto x = testing::Integers<T>(xs[0] * xs[1] * xs[2] * xs[3], 1);
  const auto w = testing::Integers<T>(ws[0] * ws[1] * ws[2] * ws[3], 2);
  const auto bias = testing::Integers<T>(ws[3], 3);
  const Shape ys = Conv2dShape(xs, ws, options);
  testing::EverywhereDo([&] {
    std::vector<T> y(ys[0] * ys[1] * ys[2] * ys[3]);
    const TensorView bias_view(bias.data(), {ws[3]});
    Conv2d(TensorView(x.data(), {xs[0], xs[1], xs[2], xs[3]}),
           TensorView(w.data(), {ws[0], ws[1], ws[2], ws[3]}), &bias_view, options,
           TensorView(y.data(), {ys[0], ys[1], ys[2], ys[3]}));
    size_t i = 0;
    for (int64_t n = 0; n < ys[0]; ++n) {
      for (int64_t oh = 0; oh < ys[1]; ++oh) {
        for (int64_t ow = 0; ow < ys[2]; ++ow) {
          for (int64_t k = 0; k < ys[3]; ++k, ++i) {
            REQUIRE(y[i] == Reference(x, xs, w, ws, options, n, oh, ow, k) + bias[k]);
          }
        }
      }
    }
  });
}

Conv2dOptions Padded(int64_t padding, int64_t stride, int64_t groups) {
  Conv2dOptions options;
  options.padding = {PaddingRule::kExplicit, {padding, padding}, {padding, padding}};
  options.stride = {stride, stride};
  options.groups = groups;
  options.algorithm = ConvAlgorithm::kDirect;  // whose sums of integers are exact
  return options;
}

}  // namespace

TEST_CASE_TEMPLATE("conv2d of integers is exact", T, float, double) {
  CheckConv<T>({2, 9, 11, 19}, {3, 3, 19, 37}, Padded(1, 1, 1));
  CheckConv<T>({1, 12, 9, 3}, {5, 4, 3, 17}, Padded(2, 2, 1));
  CheckConv<T>({1, 8, 9, 12}, {3, 3, 4, 9}, Padded(0, 1, 3));
  CheckConv<T>({2, 8, 9, 21}, {3, 3, 1, 21}, Padded(1, 2, 21));
}

// With windows of r × s, both layouts.
void CheckWinograd(int64_t r, int64_t s) {
  const int64_t h = 10, w = 11, c = 21, k = 35, taps = r * s;
  const int64_t oh = h - r + 3, ow = w - s + 3;
  const auto x = testing::Integers<float>(h * w * c, 1);
  const auto f = testing::Integers<float>(taps * c * k, 2);
  std::vector<float> planes(x.size()), oihw(f.size());
  for (int64_t p = 0; p < h * w; ++p) {
    for (int64_t i = 0; i < c; ++i) planes[i * h * w + p] = x[p * c + i];
  }
  for (int64_t t = 0; t < taps; ++t) {
    for (int64_t i = 0; i < c; ++i) {
      for (int64_t j = 0; j < k; ++j) oihw[(j * c + i) * taps + t] = f[(t * c + i) * k + j];
    }
  }
  Conv2dOptions options = Padded(1, 1, 1), nchw = options;
  nchw.layout = Layout::kNCHW;
  options.algorithm = nchw.algorithm = ConvAlgorithm::kWinograd;
  testing::EverywhereDo([&] {
    std::vector<float> y(oh * ow * k), z(oh * ow * k);
    Conv2d(TensorView(x.data(), {h, w, c}), TensorView(f.data(), {r, s, c, k}), nullptr, options,
           TensorView(y.data(), {oh, ow, k}));
    Conv2d(TensorView(planes.data(), {c, h, w}), TensorView(oihw.data(), {k, c, r, s}), nullptr,
           nchw, TensorView(z.data(), {k, oh, ow}));
    for (int64_t p = 0; p < oh * ow; ++p) {
      for (int64_t j = 0; j < k; ++j) {
        const float exact =
            Reference(x, {1, h, w, c}, f, {r, s, c, k}, options, 0, p / ow, p % ow, j);
        // A·(2·C + 35)·eps/2·max|x|·Σ|w|, A <= 158, for targets without fused multiply-adds
        REQUIRE(std::abs(y[p * k + j] - exact) < 158 * (2 * c + 35) * 6e-8 * 4 * taps * c * 4);
        REQUIRE(y[p * k + j] == z[j * oh * ow + p]);
      }
    }
  });
}

TEST_CASE("conv2d by Winograd's algorithm is close to the ordered sum, in both layouts") {
  CheckWinograd(3, 3);
  CheckWinograd(5, 5);
  for (const int64_t taps : {3, 5, 7}) {
    CheckWinograd(1, taps);
    CheckWinograd(taps, 1);
  }
  CHECK(Conv2dChoice({1, 56, 56, 64}, {3, 3, 64, 64}, DType::kFloat32, {}).name == "winograd");
  SetConvAlgorithm("direct");
  CHECK(Conv2dChoice({1, 56, 56, 64}, {3, 3, 64, 64}, DType::kFloat32, {}).name == "direct");
  SetConvAlgorithm("auto");
}

TEST_CASE("conv2d of uint8 images with int8 filters sums in int32") {
  const auto x = testing::Integers<uint8_t>(5 * 6 * 3, 1);  // -4 wraps to 252
  const auto w = testing::Integers<int8_t>(2 * 3 * 3 * 4, 2);
  const std::vector<int> wide_x(x.begin(), x.end()), wide_w(w.begin(), w.end());
  testing::EverywhereDo([&] {
    std::vector<int> y(4 * 4 * 4);
    Conv2d(TensorView(x.data(), {5, 6, 3}), TensorView(w.data(), {2, 3, 3, 4}), nullptr, {},
           TensorView(y.data(), {4, 4, 4}));
    for (int64_t i = 0; i < 64; ++i) {
      REQUIRE(y[i] == Reference(wide_x, {1, 5, 6, 3}, wide_w, {2, 3, 3, 4}, {}, 0, i / 16,
                                i / 4 % 4, i % 4));
    }
  });
}

TEST_CASE("conv2d in float16 rounds once") {
  // 2048 + 1 + 1: in float16 each step would round back to 2048.
  const std::vector<Float16> x{{0x6800}, {0x3C00}, {0x3C00}}, one(3, {0x3C00});
  Float16 y{};
  Conv2d(TensorView(x.data(), {1, 1, 3}), TensorView(one.data(), {1, 1, 3, 1}), nullptr, {},
         TensorView(&y, {1, 1, 1}));
  CHECK(y.bits == 0x6801);  // 2050
}

TEST_CASE("conv2d: borders, the mathematical convolution, and a bank of filters per image") {
  const std::vector<double> x{1, 2, 3, 10, 20, 30}, w{1, 100, 10000, 1, 1, 1};
  std::vector<double> y(6);
  Conv2dOptions options;
  options.padding = {PaddingRule::kExplicit, {0, 1}, {0, 1}};
  options.flip = true;
  const auto run = [&](PadMode mode) {
    options.pad_mode = mode;
    Conv2d(TensorView(x.data(), {2, 1, 3, 1}), TensorView(w.data(), {2, 1, 3, 1, 1}), nullptr,
           options, TensorView(y.data(), {2, 1, 3, 1}));
    return y;
  };
  CHECK(run(PadMode::kConstant) == std::vector<double>{102, 10203, 20300, 30, 60, 50});
  CHECK(run(PadMode::kReflect) == std::vector<double>{20102, 10203, 20302, 50, 60, 70});
  CHECK(run(PadMode::kSymmetric) == std::vector<double>{10102, 10203, 20303, 40, 60, 80});
  CHECK(run(PadMode::kEdge) == std::vector<double>{10102, 10203, 20303, 40, 60, 80});
  CHECK(run(PadMode::kWrap) == std::vector<double>{30102, 10203, 20301, 60, 60, 60});
}

TEST_CASE("conv1d along the width") {
  const std::vector<float> x{1, 2, 4, 8}, w{-1, 1}, bias{0.5f};
  std::vector<float> y(3);
  const TensorView bias_view(bias.data(), {1});
  CHECK(Conv1dShape({1, 4, 1}, {2, 1, 1}, {}) == Shape{1, 3, 1});
  Conv1d(TensorView(x.data(), {1, 4, 1}), TensorView(w.data(), {2, 1, 1}), &bias_view, {},
         TensorView(y.data(), {1, 3, 1}));
  CHECK(y == std::vector<float>{1.5f, 2.5f, 4.5f});
  CHECK_THROWS_WITH_AS(Conv1dShape({1, 4, 4, 1}, {2, 1, 1}, {}),
                       doctest::Contains("conv1d: x has shape (1, 4, 4, 1), expected 3 axes"),
                       std::invalid_argument);
}

TEST_CASE("conv_transpose2d adds each pixel times the filter") {
  const std::vector<float> x{1, 2, 3, 4}, w{1, 10, 100};
  ConvTranspose2dOptions options;
  options.stride = {1, 2};
  options.output_padding = {0, 1};
  CHECK(ConvTranspose2dShape({2, 2, 1}, {1, 3, 1, 1}, options) == Shape{2, 6, 1});
  testing::EverywhereDo([&] {
    std::vector<float> y(12);
    ConvTranspose2d(TensorView(x.data(), {2, 2, 1}), TensorView(w.data(), {1, 3, 1, 1}), nullptr,
                    options, TensorView(y.data(), {2, 6, 1}));
    CHECK(y == std::vector<float>{1, 10, 102, 20, 200, 0, 3, 30, 304, 40, 400, 0});
  });
}

TEST_CASE("a packed filter gives the same bits, and packs once") {
  const int64_t h = 10, w = 11, c = 21, k = 35;
  const auto x = testing::Integers<float>(h * w * c, 1), f = testing::Integers<float>(9 * c * k, 2);
  const TensorView image(x.data(), {h, w, c}), filters(f.data(), {3, 3, c, k});
  Conv2dOptions options = Padded(1, 1, 1);
  const PackedFilter all(filters);
  testing::EverywhereDo([&] {
    for (const ConvAlgorithm algorithm : {ConvAlgorithm::kDirect, ConvAlgorithm::kWinograd}) {
      options.algorithm = algorithm;
      std::vector<float> y(h * w * k), z(h * w * k);
      const TensorView out(z.data(), {h, w, k});
      Conv2d(image, filters, nullptr, options, TensorView(y.data(), {h, w, k}));
      Conv2d(image, all, nullptr, options, out);
      REQUIRE(y == z);

      PackedFilter early(filters);
      CHECK(early.bytes() == f.size() * sizeof(float));
      PackForConv2d(early, {h, w, c}, DType::kFloat32, options);
      const size_t bytes = early.bytes();
      CHECK(bytes > 2 * f.size() * sizeof(float));
      const PackedFilter moved = std::move(early);
      std::fill(z.begin(), z.end(), 0.0f);
      Conv2d(image, moved, nullptr, options, out);
      REQUIRE(y == z);
      CHECK(moved.bytes() == bytes);
    }
  });
  CHECK(Conv2dShape({h, w, c}, all, options) == Shape{h, w, k});
  CHECK(all.filters().sizes() == Shape{3, 3, c, k});
  CHECK(all.groups() == 1);
  CHECK(all.layout() == Layout::kNHWC);
  CHECK(!all.flip());
}

TEST_CASE("a packed filter copies any strides, and serves conv1d and conv_transpose2d") {
  const std::vector<double> x{1, 2, 4, 8, 16, 32}, taps{100, 0, 10, 0, 1};
  TensorView backwards(taps.data(), {3, 1, 1});  // 1, 10, 100
  backwards.data = const_cast<double*>(taps.data() + 4);
  backwards.strides[0] = -2;
  const PackedFilter row(backwards);
  std::vector<double> y(4);
  PackForConv1d(row, {6, 1}, DType::kFloat64, {});
  Conv1d(TensorView(x.data(), {6, 1}), row, nullptr, {}, TensorView(y.data(), {4, 1}));
  CHECK(y == std::vector<double>{421, 842, 1684, 3368});

  const std::vector<double> w{1, 10, 100};
  const PackedFilter packed(TensorView(w.data(), {1, 3, 1, 1}));
  ConvTranspose2dOptions options;
  options.stride = {1, 2};
  std::vector<double> z(5);
  CHECK(ConvTranspose2dShape({1, 2, 1}, packed, options) == Shape{1, 5, 1});
  ConvTranspose2d(TensorView(x.data(), {1, 2, 1}), packed, nullptr, options,
                  TensorView(z.data(), {1, 5, 1}));
  CHECK(z == std::vector<double>{1, 10, 102, 20, 200});
}

TEST_CASE("a packed filter refuses calls that contradict its options, and shapes that do not fit") {
  const std::vector<float> w(3 * 3 * 4 * 8);
  const PackedFilter packed(TensorView(w.data(), {3, 3, 4, 8}), 2);
  Conv2dOptions options;
  const auto check = [&](const char* message) {
    CHECK_THROWS_WITH_AS(Conv2dShape({1, 8, 8, 8}, packed, options), doctest::Contains(message),
                         std::invalid_argument);
  };
  check("conv2d: groups is 1, but w was packed with groups=2");
  options.groups = 2;
  CHECK(Conv2dShape({1, 8, 8, 8}, packed, options) == Shape{1, 6, 6, 8});
  options.flip = true;
  check("conv2d: flip is True, but w was packed with flip=False");
  options.layout = Layout::kNCHW;
  check("conv2d: layout is 'NCHW', but w was packed with layout='NHWC'");
  CHECK_THROWS_WITH_AS(PackForConv2d(packed, {1, 8, 8, 4}, DType::kFloat32, Padded(0, 1, 2)),
                       doctest::Contains("pack_filter: w has 4 input channels per group"),
                       std::invalid_argument);
  CHECK_THROWS_AS(PackForConv2d(packed, {1, 8, 8, 8}, DType::kInt32, Padded(0, 1, 2)), DTypeError);
  CHECK_THROWS_WITH_AS(PackedFilter(TensorView(w.data(), {3, 4})),
                       doctest::Contains("pack_filter: w has shape (3, 4), expected 3 axes"),
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(PackedFilter(TensorView(w.data(), {3, 3, 4, 8}), 0),
                       doctest::Contains("pack_filter: groups is 0"), std::invalid_argument);
}

TEST_CASE("threads that use a packed filter for the first time at once") {
  const int64_t size = 12, c = 64;
  const auto x = testing::Integers<float>(size * size * c, 1);
  const auto w = testing::Integers<float>(9 * c * c, 2);
  const TensorView image(x.data(), {1, size, size, c}), filters(w.data(), {3, 3, c, c});
  const Conv2dOptions options = Padded(1, 1, 1);
  std::vector<float> expected(size * size * c);
  Conv2d(image, filters, nullptr, options, TensorView(expected.data(), {1, size, size, c}));
  for (int repeat = 0; repeat < 20; ++repeat) {
    const PackedFilter packed(filters);
    std::vector<std::vector<float>> results(8, std::vector<float>(expected.size()));
    std::vector<std::thread> threads;
    for (std::vector<float>& y : results) {
      threads.emplace_back([&] {
        Conv2d(image, packed, nullptr, options, TensorView(y.data(), {1, size, size, c}));
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::vector<float>& y : results) REQUIRE(y == expected);
    CHECK(packed.bytes() == 2 * w.size() * sizeof(float));
  }
}

TEST_CASE("conv2d: an error names what was seen and leaves out alone") {
  std::vector<float> x(64, 1), w(36, 1), out(64, 7);
  const TensorView vx(x.data(), {1, 4, 4, 4}), vw(w.data(), {3, 3, 2, 2});
  CHECK_THROWS_WITH_AS(Conv2d(vx, vw, nullptr, {}, TensorView(out.data(), {1, 2, 2, 2})),
                       doctest::Contains("w has 2 input channels per group (shape (3, 3, 2, 2), "
                                         "layout HWIO), but x has 4 channels"),
                       std::invalid_argument);
  for (const float value : out) CHECK(value == 7);
}

}  // namespace lanewise
