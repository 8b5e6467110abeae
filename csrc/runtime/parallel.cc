#include "runtime/parallel.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <new>

#include "lanewise/runtime.h"
#include "runtime/cpu.h"
#include "runtime/error.h"

namespace lanewise {
namespace {

// Waking and joining a sleeping team costs 5-20 µs, so less work than this per thread stays serial.
constexpr double kMinNsPerThread = 20e3;

std::atomic<int> num_threads{0};  // 0: not set yet

// libgomp's team does not survive fork: a child that opened a parallel region would wait for
// threads that no longer exist. The handler is installed with the first team, so a child of a
// process that never had one still gets its own.
std::atomic<bool> team_lost_in_fork{false};

void ExpectFork() {
  static std::once_flag once;
  std::call_once(once,
                 [] { pthread_atfork(nullptr, nullptr, [] { team_lost_in_fork.store(true); }); });
}

int DefaultNumThreads() {
  const int openmp = omp_get_max_threads();  // OMP_NUM_THREADS, else the affinity
  return std::getenv("OMP_NUM_THREADS") ? openmp : std::min(openmp, CgroupCpuLimit());
}

// What is left of the tasks that a thread begins with.
struct alignas(64) Run {
  std::atomic<int64_t> next;
  int64_t end;
};

// Memory that outlives the call, so that the next one finds its pages mapped and its lines in
// cache. Its size is bounded as scratch is: by the caches, not by the problem.
class Arena {
 public:
  ~Arena() { std::free(memory_); }

  std::byte* Reserve(size_t bytes) {
    if (bytes > capacity_) {
      std::free(memory_);
      capacity_ = 0;
      memory_ = static_cast<std::byte*>(std::aligned_alloc(kAlignment, bytes));
      if (memory_ == nullptr) throw std::bad_alloc();
      capacity_ = bytes;
    }
    return memory_;
  }

  static constexpr size_t kAlignment = 4096;

 private:
  std::byte* memory_ = nullptr;
  size_t capacity_ = 0;
};

}  // namespace

void SetNumThreads(int n) {
  if (n < 1) Fail("set_num_threads: n is ", n, ", expected at least 1");
  num_threads.store(n);
}

int GetNumThreads() {
  int n = num_threads.load(std::memory_order_relaxed);
  if (n == 0) num_threads.store(n = DefaultNumThreads());
  return std::max(1, std::min(n, omp_get_max_threads()));
}

int ThreadsFor(double total_ns) {
  if (team_lost_in_fork.load(std::memory_order_relaxed) || total_ns < 2 * kMinNsPerThread) return 1;
  return std::max(1,
                  static_cast<int>(std::min<double>(GetNumThreads(), total_ns / kMinNsPerThread)));
}

namespace detail {

void ParallelFor(const Work& work, Body body, const void* context) {
  if (work.tasks <= 0) return;
  const int threads = static_cast<int>(std::min<int64_t>(ThreadsFor(work.total_ns), work.tasks));
  // Neighbouring threads' pieces start on their own pages, 64 bytes apart within the page so that
  // they do not fight for the same cache sets.
  const size_t page = Arena::kAlignment;
  const size_t piece =
      work.scratch_bytes == 0 ? 0 : (work.scratch_bytes + page - 1) / page * page + 64;
  const size_t runs = (sizeof(Run) * threads + page - 1) / page * page;
  thread_local Arena arena;
  std::byte* const memory = arena.Reserve(runs + (piece * threads + page - 1) / page * page);
  std::byte* const pieces = memory + runs;

  if (threads == 1) {
    for (int64_t task = 0; task < work.tasks; ++task) body(context, task, Scratch(pieces, 0));
    return;
  }
  ExpectFork();
  Run* const run = reinterpret_cast<Run*>(memory);
  for (int t = 0; t < threads; ++t) {
    new (run + t) Run{{work.tasks * t / threads}, work.tasks * (t + 1) / threads};
  }
#pragma omp parallel num_threads(threads)
  {
    const int self = omp_get_thread_num();
    for (int i = 0; i < threads; ++i) {
      Run& from = run[(self + i) % threads];
      for (int64_t task; (task = from.next.fetch_add(1, std::memory_order_relaxed)) < from.end;) {
        body(context, task, Scratch(pieces + piece * self, self));
      }
    }
  }
}

}  // namespace detail
}  // namespace lanewise
