#include "lanewise/roofline.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "kernels/kernels.h"
#include "lanewise/runtime.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr int kRuns = 7;
constexpr double kRunNs = 20e6;

template <class F>
double BestSeconds(const F& run) {
  double best = 1e30;
  for (int i = 0; i < kRuns; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::min(best, elapsed.count());
  }
  return best;
}

}  // namespace

double MeasureFmaPeak(DType dtype) {
  const RooflineKernels& kernels = RooflineKernelsFor(ActiveTarget());
  const bool f32 = dtype == DType::kFloat32;
  if (!f32 && dtype != DType::kFloat64) {
    FailDType("fma_peak: dtype is ", ToString(dtype), ", expected float32 or float64");
  }
  const int threads = GetNumThreads();
  constexpr size_t kIterations = 5'000'000;
  volatile double sink = 0;
  const double seconds = BestSeconds([&] {
    ParallelFor({threads, threads * kRunNs, 0}, [&](int64_t, Scratch) {
      sink = f32 ? kernels.fma_f32(kIterations) : kernels.fma_f64(kIterations);
    });
  });
  const size_t flops = f32 ? kernels.f32_flops : kernels.f64_flops;
  return static_cast<double>(flops) * kIterations * threads / seconds;
}

double MeasureBandwidth(int64_t bytes) {
  const int64_t n = std::max<int64_t>(1, bytes / static_cast<int64_t>(sizeof(float)));
  const std::unique_ptr<float[]> a(new float[n]()), b(new float[n]()), out(new float[n]());
  const int threads = GetNumThreads();
  // About 64 M elements a run. Each thread repeats its own part, so that small arrays stay in its
  // cache and no thread waits for another in between.
  const int64_t repeats = std::max<int64_t>(1, (int64_t{1} << 26) / n);
  const double seconds = BestSeconds([&] {
    ParallelFor({threads, threads * kRunNs, 0}, [&](int64_t thread, Scratch) {
      const int64_t begin = n * thread / threads, end = n * (thread + 1) / threads;
      for (int64_t r = 0; r < repeats; ++r) {
        for (int64_t i = begin; i < end; ++i) out[i] = a[i] + b[i];
        asm volatile("" ::: "memory");  // every repeat stores again
      }
    });
  });
  return 3.0 * static_cast<double>(n * static_cast<int64_t>(sizeof(float)) * repeats) / seconds;
}

}  // namespace lanewise
