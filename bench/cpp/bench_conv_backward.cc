#include "lanewise/conv_backward.h"
#include "report.h"

namespace lanewise::bench {
namespace {

// c channels to k, of n images of size × size, padded by window / 2.
struct Case {
  int64_t c, k, size, window, stride = 1, groups = 1, n = 8;
};

enum class By { kImage, kFilters };

void Conv2dBackward(benchmark::State& state, By by, Case p, Layout layout) {
  Conv2dOptions options;
  options.stride = {p.stride, p.stride};
  options.padding.before = options.padding.after = {p.window / 2, p.window / 2};
  options.groups = p.groups;
  options.layout = layout;
  const bool nhwc = layout == Layout::kNHWC;
  const int64_t o = (p.size + 2 * (p.window / 2) - p.window) / p.stride + 1;
  const int64_t group = p.c / p.groups, r = p.window;
  const std::vector<float> x = Uniform<float>(p.n * p.size * p.size * p.c);
  const std::vector<float> w = Uniform<float>(r * r * group * p.k);
  const std::vector<float> dy = Uniform<float>(p.n * o * o * p.k);
  const auto images = [&](const float* values, int64_t size, int64_t c) {
    return nhwc ? TensorView(values, {p.n, size, size, c})
                : TensorView(values, {p.n, c, size, size});
  };
  const auto filters = [&](const float* values) {
    return nhwc ? TensorView(values, {r, r, group, p.k}) : TensorView(values, {p.k, group, r, r});
  };
  std::vector<float> gradient(by == By::kImage ? x.size() : w.size());
  const TensorView dx = images(gradient.data(), p.size, p.c), dw = filters(gradient.data());
  ConvGradients gradients;
  (by == By::kImage ? gradients.x : gradients.w) = by == By::kImage ? &dx : &dw;
  const TensorView x_view = images(x.data(), p.size, p.c), w_view = filters(w.data());
  const TensorView dy_view = images(dy.data(), o, p.k);
  const Stopwatch watch;
  for (auto _ : state) {
    lanewise::Conv2dBackward(dy_view, x_view, w_view, options, gradients);
    benchmark::ClobberMemory();
  }
  ReportFlops(state, watch, DType::kFloat32,
              2.0 * static_cast<double>(p.n * o * o * p.k * r * r * group));
}

void Register(const char* name, Case size) {
  for (const By by : {By::kImage, By::kFilters}) {
    for (const Layout layout : {Layout::kNHWC, Layout::kNCHW}) {
      const std::string full = std::string("Conv2dBackward/") + (by == By::kImage ? "dx/" : "dw/") +
                               name + (layout == Layout::kNHWC ? "/NHWC" : "/NCHW");
      benchmark::RegisterBenchmark(full.c_str(), Conv2dBackward, by, size, layout)
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

const bool kRegistered = [] {
  Register("7x7/2_3-64_224", {3, 64, 224, 7, 2});           // first layer of a ResNet: 3 channels
  Register("3x3_64_56", {64, 64, 56, 3});                   // ResNet stage 1: many pixels
  Register("3x3_256_14", {256, 256, 14, 3});                // stage 3
  Register("3x3_512_7", {512, 512, 7, 3});                  // stage 4: filters outweigh images
  Register("1x1_64-256_56", {64, 256, 56, 1});              // bottleneck: a plain GEMM
  Register("depthwise_7x7_96_56", {96, 96, 56, 7, 1, 96});  // ConvNeXt
  Register("3x3_128_56_g32", {128, 128, 56, 3, 1, 32});     // ResNeXt: 4 channels per group
  Register("tiny_3x3_4_8", {4, 4, 8, 3, 1, 1, 1});          // what a call costs
  return true;
}();

}  // namespace
}  // namespace lanewise::bench
