#include "lanewise/distance.h"
#include "report.h"

namespace lanewise::bench {
namespace {

// m × m distances of d coordinates; 2 flops for each, as a multiply-add of the products x·y has.
template <class T>
void Run(benchmark::State& state, Metric metric) {
  const int64_t m = state.range(0), d = state.range(1);
  const std::vector<T> x = Uniform<T>(m * d), y = Uniform<T>(m * d, 1);
  std::vector<T> out(m * m);
  const Stopwatch watch;
  for (auto _ : state) {
    lanewise::PairwiseDistances({x.data(), {m, d}}, {y.data(), {m, d}}, metric,
                                {out.data(), {m, m}});
    benchmark::ClobberMemory();
  }
  ReportFlops(state, watch, DTypeOf<T>::value, 2.0 * static_cast<double>(m * m * d));
}

void PairwiseDistances(benchmark::State& state, Metric metric) { Run<float>(state, metric); }
void PairwiseDistances64(benchmark::State& state, Metric metric) { Run<double>(state, metric); }

// From a store with little arithmetic (d = 2) to pure arithmetic (d = 784).
void Sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"m", "d"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  benchmark->Args({8, 8});  // what a call costs
  benchmark->Args({4096, 2})->Args({4096, 16})->Args({4096, 64})->Args({4096, 128});
  benchmark->Args({2048, 784});
}

BENCHMARK_CAPTURE(PairwiseDistances, euclidean, Metric::kEuclidean)->Apply(Sizes);
BENCHMARK_CAPTURE(PairwiseDistances64, euclidean, Metric::kEuclidean)->Apply(Sizes);
BENCHMARK_CAPTURE(PairwiseDistances, manhattan, Metric::kManhattan)->Apply(Sizes);
BENCHMARK_CAPTURE(PairwiseDistances, cosine, Metric::kCosine)->Apply(Sizes);

}  // namespace
}  // namespace lanewise::bench
