#include "lanewise/distance.h"
#include "lanewise/neighbors.h"
#include "report.h"

namespace lanewise::bench {
namespace {

// m × m distances of d coordinates; 2 flops for each, as a multiply-add of the products x·y has.
template <class T>
void Run(benchmark::State& state, const DistanceOptions& options) {
  const int64_t m = state.range(0), d = state.range(1);
  const std::vector<T> x = Uniform<T>(m * d), y = Uniform<T>(m * d, 1);
  std::vector<T> out(m * m);
  const Stopwatch watch;
  for (auto _ : state) {
    lanewise::PairwiseDistances({x.data(), {m, d}}, {y.data(), {m, d}}, options,
                                {out.data(), {m, m}});
    benchmark::ClobberMemory();
  }
  ReportFlops(state, watch, DTypeOf<T>::value, 2.0 * static_cast<double>(m * m * d));
}

void PairwiseDistances(benchmark::State& state, const DistanceOptions& options) {
  Run<float>(state, options);
}
void PairwiseDistances64(benchmark::State& state, const DistanceOptions& options) {
  Run<double>(state, options);
}

// m pairs of rows: each coordinate is read once.
void PairedDistances(benchmark::State& state, const DistanceOptions& options) {
  const int64_t m = state.range(0), d = state.range(1);
  const std::vector<float> x = Uniform<float>(m * d), y = Uniform<float>(m * d);
  std::vector<float> out(m);
  const Stopwatch watch;
  for (auto _ : state) {
    lanewise::PairedDistances({x.data(), {m, d}}, {y.data(), {m, d}}, options, {out.data(), {m}});
    benchmark::ClobberMemory();
  }
  ReportBytes(state, watch, static_cast<double>(m * (2 * d + 1)) * sizeof(float));
}

// The gradients of m × m distances by both operands; 3 flops for each coordinate, a difference and
// a multiply-add.
void Gradients(benchmark::State& state, const DistanceOptions& options) {
  const int64_t m = state.range(0), d = state.range(1);
  const std::vector<float> x = Uniform<float>(m * d), y = Uniform<float>(m * d, 1);
  const std::vector<float> grad = Uniform<float>(m * m, 2);
  std::vector<float> distances(m * m), dx(m * d), dy(m * d);
  lanewise::PairwiseDistances({x.data(), {m, d}}, {y.data(), {m, d}}, options,
                              {distances.data(), {m, m}});
  const Stopwatch watch;
  for (auto _ : state) {
    lanewise::PairwiseDistancesBackward({grad.data(), {m, m}}, {x.data(), {m, d}},
                                        {y.data(), {m, d}}, {distances.data(), {m, m}}, options,
                                        {dx.data(), {m, d}}, {dy.data(), {m, d}});
    benchmark::ClobberMemory();
  }
  ReportFlops(state, watch, DType::kFloat32, 2 * 3.0 * static_cast<double>(m * m * d));
}

// The k nearest of n rows for each of m.
void NearestNeighbors(benchmark::State& state, const DistanceOptions& options) {
  const int64_t m = state.range(0), n = state.range(1), d = state.range(2), k = state.range(3);
  const std::vector<float> x = Uniform<float>(m * d), y = Uniform<float>(n * d, 1);
  std::vector<float> distances(m * k);
  std::vector<int64_t> indices(m * k);
  const Stopwatch watch;
  for (auto _ : state) {
    lanewise::NearestNeighbors({x.data(), {m, d}}, {y.data(), {n, d}}, k, options,
                               {distances.data(), {m, k}}, {indices.data(), {m, k}});
    benchmark::ClobberMemory();
  }
  ReportFlops(state, watch, DType::kFloat32, 2.0 * static_cast<double>(m * n * d));
}

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

// The terms that are not one or two instructions.
void OneSize(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"m", "d"})->UseRealTime()->Unit(benchmark::kMicrosecond)->Args({1024, 64});
}

BENCHMARK_CAPTURE(PairwiseDistances, correlation, Metric::kCorrelation)->Apply(OneSize);
BENCHMARK_CAPTURE(PairwiseDistances, hamming, Metric::kHamming)->Apply(OneSize);
BENCHMARK_CAPTURE(PairwiseDistances, canberra, Metric::kCanberra)->Apply(OneSize);
BENCHMARK_CAPTURE(PairwiseDistances, braycurtis, Metric::kBrayCurtis)->Apply(OneSize);
BENCHMARK_CAPTURE(PairwiseDistances, minkowski_3, DistanceOptions(Metric::kMinkowski, 3))
    ->Apply(OneSize);
BENCHMARK_CAPTURE(PairwiseDistances, minkowski_1_7, DistanceOptions(Metric::kMinkowski, 1.7))
    ->Apply(OneSize);

BENCHMARK_CAPTURE(Gradients, euclidean, Metric::kEuclidean)->Apply(Sizes);
BENCHMARK_CAPTURE(Gradients, manhattan, Metric::kManhattan)->Apply(OneSize);
BENCHMARK_CAPTURE(Gradients, chebyshev, Metric::kChebyshev)->Apply(OneSize);
BENCHMARK_CAPTURE(Gradients, cosine, Metric::kCosine)->Apply(OneSize);

BENCHMARK_CAPTURE(PairedDistances, euclidean, Metric::kEuclidean)
    ->ArgNames({"m", "d"})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->Args({1000, 64})
    ->Args({1000000, 8})
    ->Args({100000, 128});

BENCHMARK_CAPTURE(NearestNeighbors, euclidean, Metric::kEuclidean)
    ->ArgNames({"m", "n", "d", "k"})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond)
    ->Args({4096, 4096, 64, 1})
    ->Args({10000, 10000, 2, 10})
    ->Args({1, 100000, 128, 10})  // packing of y
    ->Args({2000, 25000, 8, 10})  // the least d that the filter takes
    ->Args({1000, 100000, 128, 10});

}  // namespace
}  // namespace lanewise::bench
