// What the benchmarks share: random arrays, and a rate beside its share of the machine's limit,
// which is measured in the same run with the same threads and SIMD target.
#ifndef LANEWISE_BENCH_REPORT_H_
#define LANEWISE_BENCH_REPORT_H_

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <random>
#include <vector>

#include "lanewise/roofline.h"

namespace lanewise::bench {

// Two arguments of distances need different seeds: equal rows would take the path of tiny sums.
template <class T>
std::vector<T> Uniform(int64_t n, unsigned seed = 20261121) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<T> distribution(-1, 1);
  std::vector<T> values(n);
  for (T& value : values) value = distribution(engine);
  return values;
}

// Started before the loop over the state. Counters that Google Benchmark divides by the time itself
// print as "/s", which a share is not.
class Stopwatch {
 public:
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Adds the rate of `work` per call as `name`, in 1e9 per second, and its `share` of `limit`.
inline void ReportRate(benchmark::State& state, double seconds, const char* name, double work,
                       double limit) {
  const double rate = work * static_cast<double>(state.iterations()) / seconds;
  state.counters[name] = rate * 1e-9;
  state.counters["share"] = rate / limit;
}

// For an op whose limit is arithmetic: `flops` per call against the peak of multiply-adds.
inline void ReportFlops(benchmark::State& state, const Stopwatch& watch, DType dtype,
                        double flops) {
  const double seconds = watch.Seconds();
  static std::map<DType, double> peaks;
  double& peak = peaks[dtype];
  if (peak == 0) peak = MeasureFmaPeak(dtype);
  ReportRate(state, seconds, "GFLOP/s", flops, peak);
}

// For an op whose limit is memory: `bytes` read and written per call, each once, against an
// addition whose three arrays are together as large, in the cache or out of it as these are. A
// smaller one than 3 · 256 KB would measure the start of its threads.
inline void ReportBytes(benchmark::State& state, const Stopwatch& watch, double bytes) {
  const double seconds = watch.Seconds();
  static std::map<int64_t, double> bandwidths;
  const int64_t array_bytes = std::max<int64_t>(static_cast<int64_t>(bytes / 3), int64_t{1} << 18);
  double& bandwidth = bandwidths[array_bytes];
  if (bandwidth == 0) bandwidth = MeasureBandwidth(array_bytes);
  ReportRate(state, seconds, "GB/s", bytes, bandwidth);
}

}  // namespace lanewise::bench

#endif  // LANEWISE_BENCH_REPORT_H_
