#include "lanewise/softmax.h"
#include "report.h"

namespace lanewise::bench {
namespace {

// The middle axis of (outer, classes, inner): inner = 1 is the last axis of a matrix.
struct Size {
  explicit Size(const benchmark::State& state)
      : outer(state.range(0)), classes(state.range(1)), inner(state.range(2)) {}
  TensorView View(const std::vector<float>& values) const {
    return {values.data(), {outer, classes, inner}};
  }
  int64_t Count() const { return outer * classes * inner; }
  double Bytes() const { return static_cast<double>(Count()) * sizeof(float); }

  int64_t outer, classes, inner;
};

template <class Forward>
void Run(benchmark::State& state, const Forward& forward) {
  const Size size(state);
  const std::vector<float> x = Uniform<float>(size.Count());
  std::vector<float> out(size.Count());
  const Stopwatch watch;
  for (auto _ : state) {
    forward(size.View(x), size.View(out));
    benchmark::ClobberMemory();
  }
  ReportBytes(state, watch, 2 * size.Bytes());
}

template <class Backward>
void RunBackward(benchmark::State& state, const Backward& backward) {
  const Size size(state);
  const std::vector<float> dy = Uniform<float>(size.Count());
  const std::vector<float> y(size.Count(), 1.0f / static_cast<float>(size.classes));
  std::vector<float> out(size.Count());
  const Stopwatch watch;
  for (auto _ : state) {
    backward(size.View(dy), size.View(y), Axes{1}, size.View(out));
    benchmark::ClobberMemory();
  }
  ReportBytes(state, watch, 3 * size.Bytes());
}

void Softmax(benchmark::State& state) {
  Run(state,
      [](const TensorView& x, const TensorView& out) { lanewise::Softmax(x, {1}, nullptr, out); });
}
void LogSoftmax(benchmark::State& state) {
  Run(state, [](const TensorView& x, const TensorView& out) { lanewise::LogSoftmax(x, {1}, out); });
}
void SoftmaxBackward(benchmark::State& state) { RunBackward(state, lanewise::SoftmaxBackward); }

void Sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"outer", "classes", "inner"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  benchmark->Args({4, 10, 1});           // what a call costs
  benchmark->Args({1024, 1000, 1});      // ImageNet logits: rows in L1
  benchmark->Args({64, 32000, 1});       // a vocabulary: rows in L2
  benchmark->Args({65536, 10, 1});       // short rows: lanes must not idle
  benchmark->Args({16, 1000, 32 * 32});  // segmentation, NCHW: a strided axis
  benchmark->Args({256, 50257, 1});      // GPT-2's vocabulary: from memory
}

BENCHMARK(Softmax)->Apply(Sizes);
BENCHMARK(LogSoftmax)->Apply(Sizes);
BENCHMARK(SoftmaxBackward)->Apply(Sizes);

}  // namespace
}  // namespace lanewise::bench
