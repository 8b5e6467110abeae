#include "lanewise/conv.h"
#include "report.h"

namespace lanewise::bench {
namespace {

// c channels to k, of one size × size image, padded by window / 2.
struct Case {
  int64_t c, k, size, window, stride = 1, groups = 1;
};

void Conv2d(benchmark::State& state, Case p, Layout layout, bool pack) {
  Conv2dOptions options;
  options.stride = {p.stride, p.stride};
  options.padding.before = options.padding.after = {p.window / 2, p.window / 2};
  options.groups = p.groups;
  options.layout = layout;
  const bool nhwc = layout == Layout::kNHWC;
  const int64_t o = (p.size + 2 * (p.window / 2) - p.window) / p.stride + 1;
  const int64_t group = p.c / p.groups, r = p.window;
  const std::vector<float> x = Uniform<float>(p.size * p.size * p.c);
  const std::vector<float> w = Uniform<float>(r * r * group * p.k);
  std::vector<float> y(o * o * p.k);
  const auto image = [&](const std::vector<float>& values, int64_t size, int64_t c) {
    return nhwc ? TensorView(values.data(), {1, size, size, c})
                : TensorView(values.data(), {1, c, size, size});
  };
  const TensorView x_view = image(x, p.size, p.c), y_view = image(y, o, p.k);
  const TensorView w_view =
      nhwc ? TensorView(w.data(), {r, r, group, p.k}) : TensorView(w.data(), {p.k, group, r, r});
  const PackedFilter packed(w_view, p.groups, layout);
  PackForConv2d(packed, x_view.sizes(), DType::kFloat32, options);
  const Stopwatch watch;
  for (auto _ : state) {
    if (pack) {
      lanewise::Conv2d(x_view, packed, nullptr, options, y_view);
    } else {
      lanewise::Conv2d(x_view, w_view, nullptr, options, y_view);
    }
    benchmark::ClobberMemory();
  }
  ReportFlops(state, watch, DType::kFloat32,
              2.0 * static_cast<double>(o * o * p.k * r * r * group));
}

void Register(const char* name, Case size) {
  for (const bool pack : {false, true}) {
    for (const Layout layout : {Layout::kNHWC, Layout::kNCHW}) {
      const std::string full = std::string(pack ? "Conv2dPacked/" : "Conv2d/") + name +
                               (layout == Layout::kNHWC ? "/NHWC" : "/NCHW");
      benchmark::RegisterBenchmark(full.c_str(), Conv2d, size, layout, pack)
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

const bool kRegistered = [] {
  Register("7x7/2_3-64_224", {3, 64, 224, 7, 2});        // first layer of a ResNet: 3 channels
  Register("3x3_64_56", {64, 64, 56, 3});                // ResNet stage 1: many pixels
  Register("3x3_128_28", {128, 128, 28, 3});             // stage 2
  Register("3x3_256_14", {256, 256, 14, 3});             // stage 3: rows that do not fill tiles
  Register("3x3_512_7", {512, 512, 7, 3});               // stage 4: filters outweigh the image
  Register("1x1_64-256_56", {64, 256, 56, 1});           // bottleneck: a plain GEMM
  Register("1x1_512-2048_7", {512, 2048, 7, 1});         // 49 rows: pixels do not fill tiles
  Register("1x1/2_256-512_56", {256, 512, 56, 1, 2});    // projection: strided pixels
  Register("dw_3x3/2_96_112", {96, 96, 112, 3, 2, 96});  // MobileNet
  Register("dw_7x7_96_56", {96, 96, 56, 7, 1, 96});      // ConvNeXt
  Register("dw_31x31_64_56", {64, 64, 56, 31, 1, 64});   // RepLKNet: a huge window
  Register("3x3_128_56_g32", {128, 128, 56, 3, 1, 32});  // ResNeXt: 4 channels per group
  Register("tiny_3x3_4_8", {4, 4, 8, 3});                // what a call costs
  return true;
}();

}  // namespace
}  // namespace lanewise::bench
