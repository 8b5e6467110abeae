// How a search is cut into tasks that threads take.
#ifndef LANEWISE_OPS_DISTANCE_SEARCH_TASKS_H_
#define LANEWISE_OPS_DISTANCE_SEARCH_TASKS_H_

#include <algorithm>
#include <cstdint>

#include "ops/distance/plan.h"
#include "ops/strided.h"
#include "runtime/parallel.h"

namespace lanewise::distance {

// A task: some rows of x × a part of y, which is a run of the plan's blocks of columns, of one
// matrix of the batch. There is more than one part only where threads would be idle otherwise, and
// what these find for a row is then put together.
struct SearchTasks {
  struct Task {
    int64_t matrix, part;
    int64_t row_begin, row_end, block_begin, block_end;
  };

  int64_t batch;
  Split rows, parts;

  // At most `most_rows` rows, and `most_parts` parts.
  SearchTasks(const Plan& plan, int64_t batch_, int64_t m, int64_t most_rows, int64_t most_parts)
      : batch(batch_) {
    const int threads = ThreadsFor(plan.total_ns);
    // 256 rows amortise the packing of a block of columns.
    const int64_t tasks = threads == 1 ? 1 : CeilDiv(4 * threads, batch);
    rows = Split(m, plan.mr, std::min(most_rows, kMostRows),
                 std::max<int64_t>(1, std::min(tasks, m / 256)));
    const int64_t idle = threads == 1 ? 1 : CeilDiv(2 * threads, batch * rows.count);
    parts = Split(plan.columns.count, 1, plan.columns.count,
                  std::max<int64_t>(1, std::min(idle, most_parts)));
  }

  int64_t count() const { return batch * rows.count * parts.count; }
  Task at(int64_t task) const {
    const int64_t part = task % parts.count, chunk = task / parts.count % rows.count;
    return {task / parts.count / rows.count,
            part,
            rows.begin(chunk),
            rows.end(chunk),
            parts.begin(part),
            parts.end(part)};
  }

 private:
  static constexpr int64_t kMostRows = 1024;
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_SEARCH_TASKS_H_
