// How far a long loop of tasks is, told to its caller.
#ifndef LANEWISE_OPS_DISTANCE_PROGRESS_H_
#define LANEWISE_OPS_DISTANCE_PROGRESS_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>

#include "runtime/parallel.h"

namespace lanewise::distance {

// Tasks may not throw, so what they would throw waits here until the loop is over.
class Progress {
 public:
  using Report = std::function<void(double)>;

  // Of `total` equal steps. `report` may be empty.
  Progress(const Report& report, int64_t total) : report_(report), total_(total) {}

  // Within a task, when a step is done: reports now and then, in the calling thread. False if the
  // loop is to end.
  bool Step(const Scratch& scratch);
  // Within a task: f(), after whose exception the loop ends.
  template <class F>
  void Try(const F& f) {
    try {
      f();
    } catch (...) {
      Fail(std::current_exception());
    }
  }
  bool failed() const { return failed_.load(std::memory_order_relaxed); }

  // After the loop: throws what a task or a report threw, or else reports 1.
  void Finish();

 private:
  using Clock = std::chrono::steady_clock;

  void Fail(std::exception_ptr error);

  const Report& report_;
  const int64_t total_;
  std::atomic<int64_t> done_{0};
  std::atomic<bool> failed_{false}, has_error_{false};
  std::exception_ptr error_;
  Clock::time_point last_ = Clock::now();  // the calling thread's
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_PROGRESS_H_
