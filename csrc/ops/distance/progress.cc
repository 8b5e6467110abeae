#include "ops/distance/progress.h"

namespace lanewise::distance {

bool Progress::Step(const Scratch& scratch) {
  const int64_t done = done_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (failed()) return false;
  if (scratch.thread() != 0 || !report_ || done == total_) return true;  // thread 0 is the caller's
  const Clock::time_point now = Clock::now();
  if (now - last_ < std::chrono::milliseconds(100)) return true;
  last_ = now;
  Try([&] { report_(static_cast<double>(done) / static_cast<double>(total_)); });
  return !failed();
}

void Progress::Fail(std::exception_ptr error) {
  if (!has_error_.exchange(true)) error_ = std::move(error);
  failed_.store(true, std::memory_order_relaxed);
}

void Progress::Finish() {
  if (error_ != nullptr) std::rethrow_exception(error_);
  if (report_) report_(1.0);
}

}  // namespace lanewise::distance
