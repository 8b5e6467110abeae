#include "lanewise/roofline.h"

#include <algorithm>
#include <chrono>
#include <new>

#include "kernels/kernels.h"
#include "lanewise/memory.h"
#include "lanewise/runtime.h"
#include "ops/stream.h"
#include "ops/strided.h"
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

// Zeros, in huge pages as large results are.
class Streams {
 public:
  explicit Streams(int64_t n) : data_(static_cast<float*>(AllocateBlock(n * sizeof(float)))) {
    if (data_ == nullptr) throw std::bad_alloc();
    std::fill_n(data_, n, 0.0f);
  }
  ~Streams() { FreeBlock(data_); }
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;
  float* get() const { return data_; }

 private:
  float* const data_;
};

// The arrays of a measurement, of n elements: a part for each thread, of whole cache lines.
struct Parts {
  const int threads = GetNumThreads();
  const int64_t part, n;

  explicit Parts(int64_t bytes)
      : part(RoundUp(CeilDiv(bytes, int64_t{sizeof(float)} * threads), 16)), n(part * threads) {}
  int64_t bytes() const { return n * int64_t{sizeof(float)}; }

  // Of one array, if run(at) works on the part that begins there. About 64 M elements a run. Each
  // thread repeats its own part, so that small arrays stay in its cache and no thread waits for
  // another in between.
  template <class F>
  double BytesPerSecond(const F& run) const {
    const int64_t repeats = std::max<int64_t>(1, (int64_t{1} << 26) / n);
    const double seconds = BestSeconds([&] {
      ParallelFor({threads, threads * kRunNs, 0}, [&](int64_t thread, Scratch) {
        for (int64_t r = 0; r < repeats; ++r) run(thread * part);
      });
    });
    return static_cast<double>(bytes() * repeats) / seconds;
  }
};

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
  const RooflineKernels& kernels = RooflineKernelsFor(ActiveTarget());
  const Parts parts(bytes);
  const Streams a(parts.n), b(parts.n), out(parts.n);
  const bool stream = 3 * parts.bytes() >= kStreamedBytes;
  return 3 * parts.BytesPerSecond([&](int64_t at) {
    kernels.add(a.get() + at, b.get() + at, parts.part, stream, out.get() + at);
  });
}

double MeasureStores(int64_t bytes) {
  const RooflineKernels& kernels = RooflineKernelsFor(ActiveTarget());
  const Parts parts(bytes);
  const Streams out(parts.n);
  const auto measure = [&](bool stream) {
    return parts.BytesPerSecond(
        [&](int64_t at) { kernels.fill(parts.part, stream, out.get() + at); });
  };
  const double cached = measure(false);
  return parts.bytes() < kStreamedBytes ? cached : std::max(cached, measure(true));
}

}  // namespace lanewise
