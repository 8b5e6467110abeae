#include "lanewise/pool.h"
#include "report.h"

namespace lanewise::bench {
namespace {

struct Case {
  int64_t n, c, size, window, stride, pad;
};

// x of n square images, with or without the place of each maximum.
void MaxPool2d(benchmark::State& state, Case k, Layout layout, bool with_indices) {
  PoolOptions options;
  options.window = {k.window, k.window};
  options.stride = {k.stride, k.stride};
  options.padding.before = options.padding.after = {k.pad, k.pad};
  options.layout = layout;
  const bool nhwc = layout == Layout::kNHWC;
  const int64_t o = (k.size + 2 * k.pad - k.window) / k.stride + 1;
  const int64_t in_count = k.n * k.size * k.size * k.c, out_count = k.n * o * o * k.c;
  const std::vector<float> x = Uniform<float>(in_count);
  std::vector<float> y(out_count);
  std::vector<int64_t> places(with_indices ? out_count : 0);
  const auto view = [&](auto* data, int64_t size) {
    return nhwc ? TensorView(data, {k.n, size, size, k.c})
                : TensorView(data, {k.n, k.c, size, size});
  };
  const TensorView x_view = view(x.data(), k.size), y_view = view(y.data(), o);
  const TensorView places_view = view(places.data(), o);
  const Stopwatch watch;
  for (auto _ : state) {
    lanewise::MaxPool2d(x_view, options, y_view, with_indices ? &places_view : nullptr);
    benchmark::ClobberMemory();
  }
  const int64_t out_bytes = out_count * (sizeof(float) + (with_indices ? sizeof(int64_t) : 0));
  ReportBytes(state, watch, static_cast<double>(in_count * sizeof(float) + out_bytes));
}

constexpr Case kStem{1, 64, 112, 3, 2, 1};      // ResNet: overlapping, padded
constexpr Case kHalve{8, 128, 56, 2, 2, 0};     // VGG: no overlap, pure bandwidth
constexpr Case kSame{8, 128, 56, 3, 1, 1};      // Inception: as many outputs as inputs
constexpr Case kPyramid{4, 32, 128, 13, 1, 6};  // spatial pyramid: a large window
constexpr Case kTiny{1, 4, 8, 2, 2, 0};         // what a call costs

void Register(const char* name, Case size) {
  for (const Layout layout : {Layout::kNHWC, Layout::kNCHW}) {
    for (const bool with_indices : {false, true}) {
      const std::string full = std::string("MaxPool2d/") + name +
                               (layout == Layout::kNHWC ? "/NHWC" : "/NCHW") +
                               (with_indices ? "/indices" : "");
      benchmark::RegisterBenchmark(full.c_str(), MaxPool2d, size, layout, with_indices)
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

const bool kRegistered = [] {
  Register("stem_3/2_64x112", kStem);
  Register("halve_2/2_8x128x56", kHalve);
  Register("same_3/1_8x128x56", kSame);
  Register("pyramid_13/1_4x32x128", kPyramid);
  Register("tiny_2/2_4x8", kTiny);
  return true;
}();

}  // namespace
}  // namespace lanewise::bench
