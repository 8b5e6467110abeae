// The k nearest rows of y for each row of x, and the nearest alone.
// A task offers the distances of its rows to a Selection, one block of columns after the other.
// Where rows are few and y is cut in parts, a second loop merges what these have for a row.
#include <algorithm>

#include "kernels/kernels.h"
#include "lanewise/neighbors.h"
#include "ops/distance/arguments.h"
#include "ops/distance/filtered_search.h"
#include "ops/distance/metric.h"
#include "ops/distance/plan.h"
#include "ops/distance/progress.h"
#include "ops/distance/rows.h"
#include "ops/distance/search_tasks.h"
#include "ops/distance/selection.h"
#include "runtime/buffer.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace distance {
namespace {

constexpr const char* kNearest = "nearest_neighbors";
constexpr const char* kArgmin = "pairwise_argmin";

// Candidates of all rows and parts of y together, in bytes.
constexpr int64_t kPartsBytes = int64_t{4} << 20;

struct Arguments {
  const TensorView &x, &y;
  const Recipe& recipe;
  int64_t k;
  const Progress::Report& progress;
  const TensorView &distances, &indices;  // (…, m, k)
};

template <class T, class Bits>
class Nearest {
 public:
  explicit Nearest(const Arguments& arguments)
      : a_(arguments),
        kernels_(DistanceKernelsFor<T>(ActiveTarget())),
        distances_at_(LeadingAxesOf(a_.x, a_.y, 2, a_.distances, 2)),
        indices_at_(LeadingAxesOf(a_.x, a_.y, 2, a_.indices, 2)),
        batch_(distances_at_.count()),
        m_(a_.x.shape[a_.x.rank - 2]),
        plan_(Plan::For<T>(batch_, m_, a_.y.shape[a_.y.rank - 2], a_.x.shape[a_.x.rank - 1],
                           a_.recipe, kernels_)),
        filter_(FilterPlan::For<T>(a_.recipe, a_.distances.dtype, m_, a_.y.shape[a_.y.rank - 2],
                                   plan_.d, FilterPlan::UnfilteredFor(a_.k))),
        tasks_(plan_, batch_, m_,
               {filter_.rows().fewest, std::min(filter_.rows().most, Chosen::MostRows(a_.k))},
               MostParts(batch_ * m_, a_.k)) {
    if (tasks_.parts.count > 1) found_ = Buffer<Candidate>(batch_ * m_ * tasks_.parts.count * a_.k);
  }

  void Run() const {
    Progress progress(a_.progress, batch_ * tasks_.rows.count * plan_.columns.count);
    const int64_t rows = tasks_.rows.longest();
    const size_t scratch_bytes = FilteredSearch<T>::ScratchBytes(filter_, a_.recipe, plan_, rows) +
                                 Chosen::ScratchBytes(a_.k, rows);
    const Work work{tasks_.count(), plan_.total_ns, scratch_bytes};
    ParallelFor(work, [&](int64_t task, Scratch scratch) {
      if (!progress.failed()) Search(tasks_.at(task), progress, scratch);
    });
    if (tasks_.parts.count > 1 && !progress.failed()) Merge();
    progress.Finish();
  }

 private:
  using Chosen = Selection<T, Bits>;
  using Candidate = typename Chosen::Candidate;

  static int64_t MostParts(int64_t rows, int64_t k) {
    return Chosen::KeptInResults(k) ? 1 : kPartsBytes / (rows * k * int64_t{sizeof(Candidate)});
  }

  NeighborResults<T> ResultsOf(int64_t matrix) const {
    return {a_.distances,
            a_.indices,
            {distances_at_.OffsetsOf(matrix)[2], indices_at_.OffsetsOf(matrix)[2]}};
  }

  void Search(const SearchTasks::Task& task, Progress& progress, Scratch scratch) const {
    const auto [x_at, y_at, unused] = distances_at_.OffsetsOf(task.matrix);
    const int64_t rows = task.row_end - task.row_begin;
    const NeighborResults<T> results = ResultsOf(task.matrix);
    FilteredSearch<T> search(filter_, kernels_, a_.recipe, plan_, {{a_.x, x_at}, {a_.y, y_at}},
                             a_.distances.dtype, rows, scratch);
    Chosen selection(a_.k, results, task.row_begin, rows, scratch);
    for (int64_t block = task.block_begin; block < task.block_end; ++block) {
      search.Run(task.row_begin, task.row_end, plan_.columns.begin(block), plan_.columns.end(block),
                 selection);
      if (!progress.Step(scratch)) return;
    }
    for (int64_t row = 0; row < rows; ++row) {
      if (tasks_.parts.count == 1) {
        selection.Write(row);
      } else {
        selection.CopyTo(row, Found(task.matrix, task.row_begin + row) + task.part * a_.k);
      }
    }
  }

  // What the parts of y have for a row: [part][k].
  Candidate* Found(int64_t matrix, int64_t row) const {
    return found_.get() + (matrix * m_ + row) * tasks_.parts.count * a_.k;
  }

  void Merge() const {
    const int64_t candidates = tasks_.parts.count * a_.k;
    const Work work{batch_ * m_, 5.0 * static_cast<double>(batch_ * m_ * candidates), 0};
    ParallelFor(work, [&](int64_t task, Scratch) {
      const int64_t matrix = task / m_, row = task % m_;
      Candidate* const found = Found(matrix, row);
      BringForward(found, found + candidates, a_.k);
      Sort(found, found + a_.k);
      ResultsOf(matrix).Write(row, found, a_.k);
    });
  }

  const Arguments& a_;
  const DistanceKernels<T>& kernels_;
  const LeadingAxes distances_at_, indices_at_;
  const int64_t batch_, m_;
  const Plan plan_;
  const FilterPlan filter_;
  const SearchTasks tasks_;
  Buffer<Candidate> found_;
};

template <class T>
void Dispatch(const Arguments& arguments) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (arguments.y.shape[arguments.y.rank - 2] <= int64_t{1} << 32) {
      return Nearest<T, uint64_t>(arguments).Run();
    }
  }
  Nearest<T, Uint128>(arguments).Run();
}

Shape BatchShape(const char* op, const Shape& x, const Shape& y) {
  Shape shape = BroadcastLeadingAxes(op, x, y, 2);
  shape.push_back(x[x.size() - 2]);
  return shape;
}

void Run(const char* op, const NeighborOptions& options, const Shape& shape,
         const Arguments& arguments) {
  CheckArguments(op, arguments.x, arguments.y, shape, arguments.distances, "distances");
  CheckView(op, "indices", arguments.indices, DType::kInt64, shape);
  for (const int64_t size : shape) {
    if (size == 0) {
      if (options.progress) options.progress(1.0);
      return;
    }
  }
  DispatchSums(arguments.recipe, arguments.distances.dtype,
               [&](auto zero) { Dispatch<decltype(zero)>(arguments); });
}

// With a last axis of one element.
TensorView AddAxis(TensorView view) {
  view.shape[view.rank] = 1;
  view.strides[view.rank++] = 1;
  return view;
}

}  // namespace
}  // namespace distance

Shape NearestNeighborsShape(const Shape& x, const Shape& y, int64_t k) {
  Shape shape = distance::BatchShape(distance::kNearest, x, y);
  const int64_t n = y[y.size() - 2];
  if (k < 1) Fail(distance::kNearest, ": k is ", k, ", expected at least 1");
  if (k > n) Fail(distance::kNearest, ": k is ", k, ", but y has n = ", n, " rows");
  shape.push_back(k);
  return CheckedShape(distance::kNearest, std::move(shape));
}

void NearestNeighbors(const TensorView& x, const TensorView& y, int64_t k,
                      const NeighborOptions& options, const TensorView& distances,
                      const TensorView& indices) {
  const distance::Recipe recipe = distance::DistanceRecipeOf(distance::kNearest, options.distance);
  const Shape shape = NearestNeighborsShape(x.sizes(), y.sizes(), k);
  distance::Run(distance::kNearest, options, shape,
                {x, y, recipe, k, options.progress, distances, indices});
}

Shape PairwiseArgminShape(const Shape& x, const Shape& y) {
  Shape shape = distance::BatchShape(distance::kArgmin, x, y);
  if (y[y.size() - 2] == 0) {
    Fail(distance::kArgmin, ": y has n = 0 rows, expected at least k = 1");
  }
  return CheckedShape(distance::kArgmin, std::move(shape));
}

void PairwiseArgmin(const TensorView& x, const TensorView& y, const NeighborOptions& options,
                    const TensorView& distances, const TensorView& indices) {
  const distance::Recipe recipe = distance::DistanceRecipeOf(distance::kArgmin, options.distance);
  Shape shape = PairwiseArgminShape(x.sizes(), y.sizes());
  CheckView(distance::kArgmin, "distances", distances, distances.dtype, shape);
  CheckView(distance::kArgmin, "indices", indices, DType::kInt64, shape);
  shape.push_back(1);
  const TensorView distance_column = distance::AddAxis(distances);
  const TensorView index_column = distance::AddAxis(indices);
  distance::Run(distance::kArgmin, options, shape,
                {x, y, recipe, 1, options.progress, distance_column, index_column});
}

}  // namespace lanewise
