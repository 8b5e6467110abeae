#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "lanewise/conv.h"
#include "lanewise/conv_backward.h"
#include "testing.h"

namespace lanewise {
namespace {

int64_t Size(const Shape& shape) {
  int64_t size = 1;
  for (const int64_t n : shape) size *= n;
  return size;
}

// A contiguous array of small integers, or of 7 for what is to be overwritten.
template <class T>
struct Array {
  Shape shape;
  std::vector<T> data;

  Array(Shape sizes, uint64_t seed)
      : shape(std::move(sizes)), data(testing::Integers<T>(Size(shape), seed)) {}
  explicit Array(Shape sizes) : shape(std::move(sizes)), data(Size(shape), T(7)) {}

  TensorView view() const {
    TensorView view(data.data(), {});
    view.rank = static_cast<int>(shape.size());
    int64_t stride = 1;
    for (int axis = view.rank; axis-- > 0; stride *= shape[axis]) {
      view.shape[axis] = shape[axis];
      view.strides[axis] = stride;
    }
    return view;
  }
  // Only what it says of sizes.
  TensorView no_values() const {
    TensorView sizes = view();
    sizes.data = nullptr;
    return sizes;
  }
};

// The axes of w, or of an image, moved: both layouts as views of one array.
TensorView Moved(TensorView view, const std::vector<int>& axes) {
  const TensorView from = view;
  for (size_t i = 0; i < axes.size(); ++i) {
    view.shape[i] = from.shape[axes[i]];
    view.strides[i] = from.strides[axes[i]];
  }
  return view;
}

template <class T>
struct Gradients {
  Array<T> x, w, bias;

  Gradients(const Array<T>& of_x, const Array<T>& of_w, int64_t filters)
      : x(of_x.shape, 0), w(of_w.shape, 0), bias(Shape{filters}, 0) {
    std::fill(x.data.begin(), x.data.end(), T(0));
    std::fill(w.data.begin(), w.data.end(), T(0));
    std::fill(bias.data.begin(), bias.data.end(), T(0));
  }
};

// The definition: what each product of a convolution gives back; NHWC, zeros in the padding.
// `image` and `result` are the convolution's, whichever of them has the gradient.
template <class T, class F>
void ForEachProduct(const Shape& image, const Shape& result, const Shape& w, const Conv2dOptions& o,
                    const F& product) {
  const int64_t group_k = w[3] / o.groups;
  for (int64_t n = 0; n < result[0]; ++n) {
    for (int64_t i = 0; i < result[1]; ++i) {
      for (int64_t j = 0; j < result[2]; ++j) {
        for (int64_t r = 0; r < w[0]; ++r) {
          for (int64_t s = 0; s < w[1]; ++s) {
            const int64_t p = i * o.stride[0] - o.padding.before[0] + r * o.dilation[0];
            const int64_t q = j * o.stride[1] - o.padding.before[1] + s * o.dilation[1];
            if (p < 0 || p >= image[1] || q < 0 || q >= image[2]) continue;
            for (int64_t c = 0; c < w[2]; ++c) {
              for (int64_t k = 0; k < w[3]; ++k) {
                const int64_t channel = k / group_k * w[2] + c;
                product(((n * image[1] + p) * image[2] + q) * image[3] + channel,
                        ((r * w[1] + s) * w[2] + c) * w[3] + k,
                        ((n * result[1] + i) * result[2] + j) * result[3] + k);
              }
            }
          }
        }
      }
    }
  }
}

template <class T>
Gradients<T> Expected(const Array<T>& dy, const Array<T>& x, const Array<T>& w,
                      const Conv2dOptions& options) {
  Gradients<T> expected(x, w, w.shape[3]);
  ForEachProduct<T>(x.shape, dy.shape, w.shape, options, [&](int64_t i, int64_t f, int64_t o) {
    expected.x.data[i] += dy.data[o] * w.data[f];
    expected.w.data[f] += dy.data[o] * x.data[i];
  });
  for (size_t i = 0; i < dy.data.size(); ++i) expected.bias.data[i % w.shape[3]] += dy.data[i];
  return expected;
}

Conv2dOptions Options(int64_t padding, int64_t stride, int64_t dilation, int64_t groups) {
  Conv2dOptions options;
  options.padding = {PaddingRule::kExplicit, {padding, padding}, {padding, padding}};
  options.stride = {stride, stride};
  options.dilation = {dilation, dilation};
  options.groups = groups;
  options.algorithm = ConvAlgorithm::kDirect;  // whose sums of integers are exact
  return options;
}

template <class T>
void Check(const Shape& x_shape, const Shape& w_shape, Conv2dOptions options) {
  const Array<T> x(x_shape, 1), w(w_shape, 2), dy(Conv2dShape(x_shape, w_shape, options), 3);
  const Gradients<T> expected = Expected(dy, x, w, options);
  REQUIRE(Conv2dBiasShape(x_shape, w_shape, options) == Shape{w_shape[3]});
  testing::EverywhereDo([&] {
    for (const Layout layout : {Layout::kNHWC, Layout::kNCHW}) {
      const auto image = [&](const Array<T>& a) {
        return layout == Layout::kNHWC ? a.view() : Moved(a.view(), {0, 3, 1, 2});
      };
      const auto filter = [&](const Array<T>& a) {
        return layout == Layout::kNHWC ? a.view() : Moved(a.view(), {3, 2, 0, 1});
      };
      options.layout = layout;
      const Array<T> dx(x_shape), dw(w_shape), dbias(Shape{w_shape[3]});
      const TensorView of_x = image(dx), of_w = filter(dw), of_bias = dbias.view();
      Conv2dBackward(image(dy), image(x), filter(w), options, {&of_x, &of_w, &of_bias});
      REQUIRE(dx.data == expected.x.data);
      REQUIRE(dw.data == expected.w.data);
      REQUIRE(dbias.data == expected.bias.data);
    }
  });
}

}  // namespace

TEST_CASE_TEMPLATE("conv2d_backward of integers is exact", T, float, double, int32_t, int64_t) {
  Check<T>({2, 9, 11, 19}, {3, 3, 19, 37}, Options(1, 1, 1, 1));
  Check<T>({1, 12, 9, 3}, {5, 4, 3, 17}, Options(2, 2, 1, 1));
  Check<T>({2, 8, 9, 12}, {3, 3, 4, 9}, Options(0, 1, 2, 3));
  Check<T>({2, 8, 9, 21}, {3, 3, 1, 21}, Options(1, 2, 1, 21));
  Check<T>({1, 8, 9, 5}, {3, 3, 1, 15}, Options(1, 1, 1, 5));
  Check<T>({3, 4, 5, 40}, {1, 1, 40, 33}, Options(0, 1, 1, 1));
}

TEST_CASE("conv2d_backward: borders, the mathematical convolution, and a bank for each image") {
  // One row of three pixels, filters of three taps: y[j] = Σ xp[j + s]·w[2 - s].
  const Array<double> x({2, 1, 3, 1}, 1), w({2, 1, 3, 1, 1}, 2), dy({2, 1, 3, 1}, 3);
  Conv2dOptions options;
  options.padding = {PaddingRule::kExplicit, {0, 1}, {0, 1}};
  options.flip = true;
  const auto check = [&](PadMode mode, int left, int right) {
    options.pad_mode = mode;
    const Array<double> dx(x.shape), dw(w.shape), dbias(Shape{2, 1});
    const TensorView of_x = dx.view(), of_w = dw.view(), of_bias = dbias.view();
    Conv2dBackward(dy.view(), x.view(), w.view(), options, {&of_x, &of_w, &of_bias});
    const int places[] = {left, 0, 1, 2, right};  // -1 for a zero
    for (int n = 0; n < 2; ++n) {
      double wants_x[3] = {}, wants_w[3] = {}, wants_bias = 0;
      for (int j = 0; j < 3; ++j) {
        wants_bias += dy.data[n * 3 + j];
        for (int s = 0; s < 3; ++s) {
          const int place = places[j + s];
          if (place < 0) continue;
          wants_x[place] += dy.data[n * 3 + j] * w.data[n * 3 + 2 - s];
          wants_w[2 - s] += dy.data[n * 3 + j] * x.data[n * 3 + place];
        }
      }
      for (int i = 0; i < 3; ++i) {
        CHECK(dx.data[n * 3 + i] == wants_x[i]);
        CHECK(dw.data[n * 3 + i] == wants_w[i]);
      }
      CHECK(dbias.data[n] == wants_bias);
    }
  };
  CHECK(Conv2dBiasShape(x.shape, w.shape, options) == Shape{2, 1});
  testing::EverywhereDo([&] {
    check(PadMode::kConstant, -1, -1);
    check(PadMode::kReflect, 1, 1);
    check(PadMode::kSymmetric, 0, 2);
    check(PadMode::kEdge, 0, 2);
    check(PadMode::kWrap, 2, 0);
  });
}

TEST_CASE("conv1d_backward is conv2d_backward of one row") {
  const Array<float> x({2, 20, 5}, 1), w({4, 5, 18}, 2), dy({2, 9, 18}, 3);
  Conv2dOptions options = Options(1, 2, 1, 1);
  options.stride[0] = 7;  // along an axis that a signal has not
  REQUIRE(Conv1dShape(x.shape, w.shape, options) == Shape{2, 10, 18});
  options.padding.after[1] = 0;
  REQUIRE(Conv1dShape(x.shape, w.shape, options) == dy.shape);
  CHECK(Conv1dBiasShape(x.shape, w.shape, options) == Shape{18});
  Array<float> image({2, 1, 20, 5}, 1), filters({1, 4, 5, 18}, 2), of_image({2, 1, 9, 18}, 3);
  Conv2dOptions flat = options;
  flat.stride[0] = 1;
  flat.padding.before[0] = flat.padding.after[0] = 0;
  const Gradients<float> expected = Expected(of_image, image, filters, flat);
  testing::EverywhereDo([&] {
    const Array<float> dx(x.shape), dw(w.shape), dbias(Shape{18});
    const TensorView of_x = dx.view(), of_w = dw.view(), of_bias = dbias.view();
    Conv1dBackward(dy.view(), x.view(), w.view(), options, {&of_x, &of_w, &of_bias});
    REQUIRE(dx.data == expected.x.data);
    REQUIRE(dw.data == expected.w.data);
    REQUIRE(dbias.data == expected.bias.data);
  });
}

TEST_CASE("conv_transpose2d_backward: dx is conv2d of dy, and dw conv2d's with both exchanged") {
  const Array<float> x({2, 4, 5, 12}, 1), w({3, 2, 4, 12}, 2);
  ConvTranspose2dOptions options;
  options.stride = {2, 3};
  options.groups = 3;
  options.output_padding = {1, 2};
  const Shape y_shape = ConvTranspose2dShape(x.shape, w.shape, options);
  REQUIRE(y_shape == Shape{2, 10, 16, 12});
  CHECK(ConvTranspose2dBiasShape(x.shape, w.shape, options) == Shape{12});
  const Array<float> dy(y_shape, 3);
  Conv2dOptions there = Options(0, 1, 1, 3);
  there.stride = {2, 3};
  const Gradients<float> expected = Expected(x, dy, w, there);  // of which the filters' counts
  testing::EverywhereDo([&] {
    const Array<float> dx(x.shape), dw(w.shape), dbias(Shape{12}), y(x.shape);
    const TensorView of_x = dx.view(), of_w = dw.view(), of_bias = dbias.view();
    ConvTranspose2dBackward(dy.view(), x.view(), w.view(), options, {&of_x, &of_w, &of_bias});
    Conv2d(dy.view(), w.view(), nullptr, there, y.view());
    REQUIRE(dx.data == y.data);
    REQUIRE(dw.data == expected.w.data);
    for (int64_t k = 0; k < 12; ++k) {
      float sum = 0;
      for (size_t i = k; i < dy.data.size(); i += 12) sum += dy.data[i];
      REQUIRE(dbias.data[k] == sum);
    }
  });
}

TEST_CASE("gradients of convolutions: any that is asked for, from what it needs") {
  const Array<float> x({2, 9, 8, 20}, 1), w({3, 3, 20, 18}, 2), dy({2, 7, 6, 18}, 3);
  const Conv2dOptions options = Options(0, 1, 1, 1);
  const Gradients<float> expected = Expected(dy, x, w, options);
  const Array<float> dx(x.shape), dw(w.shape), dbias(Shape{18});
  const TensorView of_x = dx.view(), of_w = dw.view(), of_bias = dbias.view();
  Conv2dBackward(dy.view(), x.no_values(), w.no_values(), options, {});
  Conv2dBackward(dy.view(), x.no_values(), w.no_values(), options, {nullptr, nullptr, &of_bias});
  CHECK(dbias.data == expected.bias.data);
  CHECK(std::count(dx.data.begin(), dx.data.end(), 7) == Size(dx.shape));
  CHECK(std::count(dw.data.begin(), dw.data.end(), 7) == Size(dw.shape));
  Conv2dBackward(dy.view(), x.no_values(), w.view(), options, {&of_x, nullptr, nullptr});
  CHECK(dx.data == expected.x.data);
  CHECK(std::count(dw.data.begin(), dw.data.end(), 7) == Size(dw.shape));
  Conv2dBackward(dy.view(), x.view(), w.no_values(), options, {nullptr, &of_w, nullptr});
  CHECK(dw.data == expected.w.data);
}

TEST_CASE("gradients of convolutions go to any strides, and write nothing between") {
  const Array<float> x({2, 9, 8, 20}, 1), w({3, 3, 20, 18}, 2), dy({2, 7, 6, 18}, 3);
  const Conv2dOptions options = Options(0, 1, 1, 1);
  const Gradients<float> expected = Expected(dy, x, w, options);
  testing::EverywhereDo([&] {
    const Array<float> dx(Shape{2, 9, 8, 40}), dw(Shape{3, 3, 20, 36}), dbias(Shape{36});
    TensorView views[] = {dx.view(), dw.view(), dbias.view()};
    for (TensorView& view : views) {  // every second element, backwards
      const int last = view.rank - 1;
      view.data = static_cast<float*>(view.data) + view.shape[last] - 2;
      view.shape[last] /= 2;
      view.strides[last] = -2;
    }
    Conv2dBackward(dy.view(), x.view(), w.view(), options, {&views[0], &views[1], &views[2]});
    const auto check = [](const Array<float>& wide, const Array<float>& wanted) {
      const int64_t n = wanted.shape.back();
      for (int64_t i = 0; i < Size(wide.shape); ++i) {
        const int64_t row = i / (2 * n), k = n - 1 - i % (2 * n) / 2;
        REQUIRE(wide.data[i] == (i % 2 ? 7 : wanted.data[row * n + k]));
      }
    };
    check(dx, expected.x);
    check(dw, expected.w);
    check(dbias, expected.bias);
  });
}

TEST_CASE("conv2d_backward by Winograd's algorithm is close to the ordered sums") {
  const Array<float> x({2, 10, 11, 21}, 1), w({3, 3, 21, 35}, 2), dy({2, 10, 11, 35}, 3);
  Conv2dOptions options = Options(1, 1, 1, 1);
  const Gradients<float> expected = Expected(dy, x, w, options);
  options.algorithm = ConvAlgorithm::kWinograd;
  testing::EverywhereDo([&] {
    const Array<float> dx(x.shape), dw(w.shape), dbias(Shape{35});
    const TensorView of_x = dx.view(), of_w = dw.view(), of_bias = dbias.view();
    Conv2dBackward(dy.view(), x.view(), w.view(), options, {&of_x, &of_w, &of_bias});
    // A·(2·K + 35)·eps/2·max|dy|·Σ|w|, A <= 158, and the same for dw with as many terms as tiles,
    // which the pixels outnumber, and Σ|dy|.
    for (size_t i = 0; i < dx.data.size(); ++i) {
      REQUIRE(std::abs(dx.data[i] - expected.x.data[i]) <
              158 * (2 * 35 + 35) * 6e-8 * 4 * 9 * 35 * 4);
    }
    for (size_t i = 0; i < dw.data.size(); ++i) {
      REQUIRE(std::abs(dw.data[i] - expected.w.data[i]) <
              158 * (2 * 220 + 35) * 6e-8 * 4 * 220 * 4);
    }
    REQUIRE(dbias.data == expected.bias.data);
  });
}

TEST_CASE("gradients in float16 are summed in float32 and rounded once") {
  // 2048 + 1 + 1: in float16 each step would round back to 2048.
  const std::vector<Float16> large{{0x6800}, {0x3C00}, {0x3C00}}, one(3, {0x3C00});
  Float16 dx{}, dw{}, dbias{};
  const TensorView of_x(&dx, {1, 1, 1}), of_w(&dw, {1, 1, 1, 1}), of_bias(&dbias, {1});
  Conv2dBackward(TensorView(large.data(), {3, 1, 1}), TensorView(one.data(), {3, 1, 1}),
                 TensorView(one.data(), {1, 1, 1, 1}), {}, {nullptr, &of_w, &of_bias});
  CHECK(dw.bits == 0x6801);  // 2050
  CHECK(dbias.bits == 0x6801);
  Conv2dBackward(TensorView(large.data(), {1, 1, 3}), TensorView(one.data(), {1, 1, 1}),
                 TensorView(one.data(), {1, 1, 1, 3}), {}, {&of_x, nullptr, nullptr});
  CHECK(dx.bits == 0x6801);
}

TEST_CASE("gradients of no images are zeros, and an infinity makes NaN of the padding's zeros") {
  const Conv2dOptions options = Options(1, 1, 1, 1);
  const Array<float> none({0, 5, 5, 3}), w({3, 3, 3, 4}, 2), no_dy({0, 5, 5, 4});
  const Array<float> dw(w.shape), dbias(Shape{4});
  const TensorView of_w = dw.view(), of_bias = dbias.view();
  Conv2dBackward(no_dy.view(), none.view(), w.view(), options, {nullptr, &of_w, &of_bias});
  CHECK(std::count(dw.data.begin(), dw.data.end(), 0) == 108);
  CHECK(std::count(dbias.data.begin(), dbias.data.end(), 0) == 4);

  Array<float> x({1, 5, 5, 3}), dy({1, 5, 5, 4}, 3);
  dy.data[0] = std::numeric_limits<float>::infinity();  // the corner, of the first filter
  testing::EverywhereDo([&] {
    Conv2dBackward(dy.view(), x.view(), w.no_values(), options, {nullptr, &of_w, nullptr});
    for (int64_t i = 0; i < 108; ++i) {
      const int64_t r = i / 36, s = i / 12 % 3, k = i % 4;
      REQUIRE(std::isnan(dw.data[i]) == (k == 0 && (r == 0 || s == 0)));
      REQUIRE(std::isinf(dw.data[i]) == (k == 0 && r > 0 && s > 0));
    }
  });
}

TEST_CASE("gradients of convolutions: an error names what was seen and leaves results alone") {
  const Array<float> x({1, 5, 6, 4}, 1), w({3, 3, 4, 8}, 2), dy({1, 3, 4, 8}, 3);
  const Array<float> dx(x.shape), dw(w.shape), dbias(Shape{8});
  const TensorView of_x = dx.view(), of_w = dw.view(), of_bias = dbias.view();
  const ConvGradients all{&of_x, &of_w, &of_bias};
  Conv2dOptions options;
  const auto fails = [&](const TensorView& dy, const TensorView& x, const TensorView& w,
                         const ConvGradients& gradients, const char* message) {
    CHECK_THROWS_WITH_AS(Conv2dBackward(dy, x, w, options, gradients), doctest::Contains(message),
                         std::invalid_argument);
  };
  fails(x.view(), x.view(), w.view(), all,
        "conv2d_backward: dy has shape (1, 5, 6, 4), expected (1, 3, 4, 8), that of the result");
  fails(dy.view(), x.no_values(), w.view(), all,
        "x is a shape, but its values are needed for the gradient of w");
  fails(dy.view(), x.view(), w.no_values(), all,
        "w is a shape, but its values are needed for the gradient of x");
  fails(dy.view(), x.view(), w.view(), {&of_w, &of_w, nullptr},
        "the gradient of x has shape (3, 3, 4, 8), expected (1, 5, 6, 4)");
  fails(dy.view(), x.view(), w.view(), {&of_x, &of_w, &of_w}, "the gradient of bias has shape");
  const Array<float> narrow({3, 3, 3, 8});
  fails(dy.view(), x.view(), narrow.view(), all,
        "conv2d_backward: w has 3 input channels per group");
  options.activation = Activation::kRelu;
  fails(dy.view(), x.view(), w.view(), all, "the activation has to be none");
  options = {};
  options.algorithm = ConvAlgorithm::kWinograd;
  options.stride = {2, 2};
  const Array<float> strided({1, 2, 2, 8}, 3);
  fails(strided.view(), x.view(), w.view(), all, "algorithm 'winograd'");
  options = {};

  const Array<double> wide(dy.shape);
  CHECK_THROWS_AS(Conv2dBackward(wide.view(), x.view(), w.view(), options, all), DTypeError);
  const Array<double> wide_dw(w.shape);
  const TensorView of_wide = wide_dw.view();
  CHECK_THROWS_AS(
      Conv2dBackward(dy.view(), x.view(), w.view(), options, {&of_x, &of_wide, nullptr}),
      DTypeError);
  CHECK_THROWS_WITH_AS(
      Conv1dBackward(dy.view(), x.view(), w.view(), options, all),
      doctest::Contains("conv1d_backward: x has shape (1, 5, 6, 4), expected 3 axes"),
      std::invalid_argument);
  CHECK_THROWS_WITH_AS(ConvTranspose2dBackward(dy.view(), x.view(), w.view(), {}, all),
                       doctest::Contains("conv_transpose2d_backward: w has 8 input channels"),
                       std::invalid_argument);
  const Array<float> backwards({3, 3, 8, 4}, 2);
  CHECK_THROWS_WITH_AS(
      ConvTranspose2dBackward(dy.view(), x.view(), backwards.view(), {}, all),
      doctest::Contains(
          "conv_transpose2d_backward: dy has shape (1, 3, 4, 8), expected (1, 7, 8, 8)"),
      std::invalid_argument);
  CHECK_THROWS_WITH_AS(Conv2dBiasShape({1, 5, 6, 4}, {7, 3, 4, 8}, {}),
                       doctest::Contains("conv2d_backward: a window of 7"), std::invalid_argument);
  for (const Array<float>* gradient : {&dx, &dw, &dbias}) {
    CHECK(std::count(gradient->data.begin(), gradient->data.end(), 7) == Size(gradient->shape));
  }
}

TEST_CASE("gradients of convolutions from several threads at once") {
  const Array<float> x({2, 20, 21, 20}, 1), w({3, 3, 20, 18}, 2), dy({2, 20, 21, 18}, 3);
  const Conv2dOptions options = Options(1, 1, 1, 1);
  const Gradients<float> expected = Expected(dy, x, w, options);
  std::vector<std::thread> threads;
  std::vector<int> right(6);
  for (size_t i = 0; i < right.size(); ++i) {
    threads.emplace_back([&, i] {
      const Array<float> dx(x.shape), dw(w.shape), dbias(Shape{18});
      const TensorView of_x = dx.view(), of_w = dw.view(), of_bias = dbias.view();
      Conv2dBackward(dy.view(), x.view(), w.view(), options, {&of_x, &of_w, &of_bias});
      right[i] = dx.data == expected.x.data && dw.data == expected.w.data &&
                 dbias.data == expected.bias.data;
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(std::count(right.begin(), right.end(), 1) == 6);
}

}  // namespace lanewise
