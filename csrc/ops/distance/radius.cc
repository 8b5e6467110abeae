// All rows of y within a radius of each row of x.
//
// A task writes what it finds to a log of its own, in the order in which tiles are finished. When
// all are counted, it is known where each row begins, and the logs are sorted into place.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/kernels.h"
#include "lanewise/neighbors.h"
#include "ops/distance/arguments.h"
#include "ops/distance/filtered_search.h"
#include "ops/distance/metric.h"
#include "ops/distance/neighbor.h"
#include "ops/distance/neighbor_results.h"
#include "ops/distance/plan.h"
#include "ops/distance/progress.h"
#include "ops/distance/search_tasks.h"
#include "runtime/buffer.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace distance {
namespace {

constexpr const char* kOp = "radius_neighbors";

// Runs of neighbours of one row: a head, which holds the row and how many there are, and these. In
// pieces, so that it grows without being copied.
template <class Bits>
class Log {
 public:
  void Append(int64_t row, Neighbor<Bits> neighbor) {
    if (next_ == end_ || row != row_) Begin(row);
    *next_++ = neighbor;
    head_->bits += 1;
  }

  // f(row, neighbours, their number) for each run, in the order in which they came. Gives the
  // memory back meanwhile.
  template <class F>
  void Consume(const F& f) {
    for (Piece& piece : pieces_) {
      const Neighbor<Bits>* const end = &piece == &pieces_.back() ? next_ : piece.end;
      for (const Neighbor<Bits>* run = piece.memory.get(); run != end;) {
        const int64_t row = run->template key<Key>(), count = run->index();
        f(row, run + 1, count);
        run += 1 + count;
      }
      piece.memory = {};
    }
    pieces_.clear();
  }

 private:
  using Key = std::conditional_t<sizeof(Bits) == 8, float, double>;
  struct Piece {
    Buffer<Neighbor<Bits>> memory;
    Neighbor<Bits>* end;
  };
  static constexpr int64_t kShortest = 512, kLongest = int64_t{1} << 17;

  [[gnu::noinline]] void Begin(int64_t row) {
    if (end_ - next_ < 2) {
      const int64_t length = std::min(kLongest, kShortest << std::min<size_t>(8, pieces_.size()));
      if (!pieces_.empty()) pieces_.back().end = next_;
      pieces_.push_back({Buffer<Neighbor<Bits>>(length), nullptr});
      next_ = pieces_.back().memory.get();
      end_ = next_ + length;
    }
    row_ = row;
    head_ = next_++;
    *head_ = {static_cast<Bits>(row) << Neighbor<Bits>::kIndexBits};
  }

  std::vector<Piece> pieces_;
  Neighbor<Bits>*head_ = nullptr, *next_ = nullptr, *end_ = nullptr;
  int64_t row_ = -1;
};

// Takes all below one limit.
template <class T, class Bits>
class Within final : public Chooser<T> {
 public:
  Within(DistanceKey<T> limit, int64_t rows, Log<Bits>& log, Scratch& scratch)
      : limits_(scratch.Take<DistanceKey<T>>(rows)),
        counts_(scratch.Take<int64_t>(rows)),
        log_(log) {
    std::fill_n(limits_, rows, limit);
    std::fill_n(counts_, rows, 0);
  }
  static size_t ScratchBytes(int64_t rows) {
    return Scratch::Bytes<DistanceKey<T>>(rows) + Scratch::Bytes<int64_t>(rows);
  }

  const int64_t* counts() const { return counts_; }

  const DistanceKey<T>* limits() const override { return limits_; }
  void Offer(int64_t row, int64_t column, uint64_t found, const T* distances) override {
    ForEachBit(found,
               [&](int64_t j) { log_.Append(row, Neighbor<Bits>::Of(distances[j], column + j)); });
    counts_[row] += __builtin_popcountll(found);
  }

 private:
  DistanceKey<T>* const limits_;
  int64_t* const counts_;
  Log<Bits>& log_;
};

struct Arguments {
  const TensorView &x, &y;
  double radius;
  const Recipe& recipe;
  const Progress::Report& progress;
  DType dtype;
  const TensorView& indptr;
  const std::function<NeighborViews(int64_t count)>& allocate;
};

template <class T, class Bits>
class Radius {
 public:
  explicit Radius(const Arguments& arguments)
      : a_(arguments),
        kernels_(DistanceKernelsFor<T>(ActiveTarget())),
        m_(a_.x.shape[0]),
        plan_(Plan::For<T>(1, m_, a_.y.shape[0], a_.x.shape[1], a_.recipe, kernels_)),
        filter_(FilterPlan::For<T>(a_.recipe, a_.dtype, m_, a_.y.shape[0], plan_.d, 0)),
        tasks_(plan_, 1, m_, filter_.rows(), plan_.columns.count),
        logs_(tasks_.count()),
        begins_(m_ * tasks_.parts.count) {}

  void Run() {
    Progress progress(a_.progress, tasks_.rows.count * plan_.columns.count);
    const int64_t rows = tasks_.rows.longest();
    const size_t scratch_bytes = FilteredSearch<T>::ScratchBytes(filter_, a_.recipe, plan_, rows) +
                                 Within<T, Bits>::ScratchBytes(rows);
    const Work work{tasks_.count(), plan_.total_ns, scratch_bytes};
    ParallelFor(work, [&](int64_t task, Scratch scratch) {
      if (!progress.failed()) progress.Try([&] { Search(task, progress, scratch); });
    });
    if (!progress.failed()) Assemble();
    progress.Finish();
  }

 private:
  // Keys of distances that are at most the radius are below this. A radius that T does not hold is
  // rounded down.
  DistanceKey<T> Limit() const {
    T radius = static_cast<T>(a_.radius);
    if (radius > a_.radius) radius = std::nextafter(radius, T(0));
    return KeyOf(radius) + 1;
  }

  void Search(int64_t index, Progress& progress, Scratch scratch) {
    const SearchTasks::Task task = tasks_.at(index);
    const int64_t rows = task.row_end - task.row_begin;
    FilteredSearch<T> search(filter_, kernels_, a_.recipe, plan_, {{a_.x, 0}, {a_.y, 0}}, a_.dtype,
                             rows, scratch);
    Within<T, Bits> within(Limit(), rows, logs_[index], scratch);
    for (int64_t block = task.block_begin; block < task.block_end; ++block) {
      search.Run(task.row_begin, task.row_end, plan_.columns.begin(block), plan_.columns.end(block),
                 within);
      if (!progress.Step(scratch)) return;
    }
    for (int64_t row = 0; row < rows; ++row) *Begin(task, row) = within.counts()[row];
  }

  // How many neighbours a task has for one of its rows, and later where the next goes.
  int64_t* Begin(const SearchTasks::Task& task, int64_t row) const {
    return begins_.get() + (task.row_begin + row) * tasks_.parts.count + task.part;
  }

  void Assemble() {
    int64_t* const indptr = Data<int64_t>(a_.indptr);
    const int64_t parts = tasks_.parts.count;
    int64_t total = 0;
    for (int64_t row = 0; row < m_; ++row) {
      indptr[row * a_.indptr.strides[0]] = total;
      for (int64_t* begin = begins_.get() + row * parts; begin < begins_.get() + (row + 1) * parts;
           ++begin) {
        const int64_t count = *begin;
        *begin = total;
        total += count;
      }
    }
    indptr[m_ * a_.indptr.strides[0]] = total;
    const NeighborViews views = a_.allocate(total);
    CheckView(kOp, "distances", views.distances, a_.dtype, {total});
    CheckView(kOp, "indices", views.indices, DType::kInt64, {total});
    const NeighborMemory<T> memory(views.distances, views.indices);
    const int64_t distance_stride = views.distances.strides[0];
    const int64_t index_stride = views.indices.strides[0];
    // About 2 ns to store a neighbour.
    ParallelFor({tasks_.count(), 2.0 * static_cast<double>(total), 0}, [&](int64_t index, Scratch) {
      const SearchTasks::Task task = tasks_.at(index);
      logs_[index].Consume([&](int64_t row, const Neighbor<Bits>* neighbors, int64_t count) {
        int64_t& begin = *Begin(task, row);
        memory.Write(neighbors, count, {begin * distance_stride, begin * index_stride});
        begin += count;
      });
    });
  }

  const Arguments& a_;
  const DistanceKernels<T>& kernels_;
  const int64_t m_;
  const Plan plan_;
  const FilterPlan filter_;
  const SearchTasks tasks_;
  std::vector<Log<Bits>> logs_;
  const Buffer<int64_t> begins_;  // [row][part]
};

template <class T>
void Dispatch(const Arguments& arguments) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (arguments.y.shape[0] <= int64_t{1} << 32) return Radius<T, uint64_t>(arguments).Run();
  }
  Radius<T, Uint128>(arguments).Run();
}

// Where there are no pairs.
void RunEmpty(const Arguments& arguments) {
  for (int64_t i = 0; i <= arguments.x.shape[0]; ++i) {
    Data<int64_t>(arguments.indptr)[i * arguments.indptr.strides[0]] = 0;
  }
  arguments.allocate(0);
  if (arguments.progress) arguments.progress(1.0);
}

}  // namespace
}  // namespace distance

void RadiusNeighbors(const TensorView& x, const TensorView& y, double radius,
                     const NeighborOptions& options, DType dtype, const TensorView& indptr,
                     const std::function<NeighborViews(int64_t count)>& allocate) {
  const char* const op = distance::kOp;
  const distance::Recipe recipe = distance::DistanceRecipeOf(op, options.distance);
  distance::BroadcastLeadingAxes(op, x.sizes(), y.sizes(), 2);
  if (x.rank != 2 || y.rank != 2) {
    Fail(op, ": x has shape ", ToString(x.sizes()), " and y has shape ", ToString(y.sizes()),
         ", expected 2 axes each");
  }
  if (!(radius >= 0)) Fail(op, ": radius is ", radius, ", expected at least 0");
  distance::CheckOperands(op, x, y, dtype, "distances");
  CheckView(op, "indptr", indptr, DType::kInt64, {x.shape[0] + 1});
  const distance::Arguments arguments{x,     y,      radius,  recipe, options.progress,
                                      dtype, indptr, allocate};
  if (x.shape[0] == 0 || y.shape[0] == 0) return distance::RunEmpty(arguments);
  distance::DispatchSums(recipe, dtype,
                         [&](auto zero) { distance::Dispatch<decltype(zero)>(arguments); });
}

}  // namespace lanewise
