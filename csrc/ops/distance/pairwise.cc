#include <algorithm>

#include "kernels/kernels.h"
#include "lanewise/distance.h"
#include "ops/distance/arguments.h"
#include "ops/distance/bits.h"
#include "ops/distance/metric.h"
#include "ops/distance/out.h"
#include "ops/distance/plan.h"
#include "ops/distance/rows.h"
#include "ops/distance/tiles.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace distance {
namespace {

constexpr const char* kOp = "pairwise_distances";

// The work of one task, in one thread's scratch: tiles of distances, each stored once finished.
template <class T>
class Task {
 public:
  Task(const DistanceKernels<T>& kernels, const Recipe& recipe, const Plan& plan,
       const typename Tiles<T>::Operands& operands, const Out<T>& out, Scratch scratch)
      : kernels_(kernels),
        plan_(plan),
        nr_(plan.nr),
        tiles_(kernels, recipe, plan, operands, scratch),
        finished_(scratch.Take<T>(FinishedRows(plan) * plan.nr)),
        mirror_(plan.mirrored ? scratch.Take<T>(plan.nr * plan.nr) : nullptr),
        out_(out) {}

  static size_t ScratchBytes(const Recipe& recipe, const Plan& plan) {
    return Tiles<T>::ScratchBytes(recipe, plan) + Scratch::Bytes<T>(FinishedRows(plan) * plan.nr) +
           (plan.mirrored ? Scratch::Bytes<T>(plan.nr * plan.nr) : 0);
  }

  void Run(const Plan::Block& block) {
    const int64_t row_begin = plan_.rows.begin(block.row), row_end = plan_.rows.end(block.row);
    const bool diagonal = plan_.mirrored && block.row == block.column;
    tiles_.ForEach(
        row_begin, row_end, plan_.columns.begin(block.column), plan_.columns.end(block.column),
        [&](const Tile& tile) {
          if (!plan_.mirrored) return Store(tile);
          tiles_.Finish(tile, finished_ + tile.block_row * nr_, nr_, false);
          const int64_t first = tile.row - tile.block_row;
          const int64_t used = diagonal ? tile.column - first + nr_ : plan_.block;
          const int64_t rows = std::min({plan_.block, row_end - first, used});
          if (tile.block_row + tile.rows == rows) StoreMirrored(tile, first, rows);
        },
        diagonal);
    if (out_.streams()) kernels_.flush();
  }

 private:
  using Tile = typename Tiles<T>::Tile;

  // Tiles that are mirrored are so a block of rows at a time, whose mirror image has whole lines.
  static int64_t FinishedRows(const Plan& plan) { return plan.mirrored ? plan.block : plan.mr; }

  // Totals to results, tile by tile: the roots then overlap the sums of the next tile.
  void Store(const Tile& tile) {
    if (T* to = out_.InPlace(tile.row, tile.column); to != nullptr) {
      return tiles_.Finish(tile, to, out_.row_stride(), out_.Streams(to));
    }
    tiles_.Finish(tile, finished_, nr_, false);
    StoreFinished(finished_, tile.row, tile.rows, tile.column, tile.columns);
  }

  // Rows [first, first + rows) of a panel, all finished, and their mirror image.
  void StoreMirrored(const Tile& tile, int64_t first, int64_t rows) {
    StoreFinished(finished_, first, rows, tile.column, tile.columns);
    for (int64_t row = 0; row < rows; row += nr_) {
      const int64_t count = std::min(nr_, rows - row);
      kernels_.transpose(finished_ + row * nr_, nr_, count, tile.columns, mirror_, nr_);
      StoreFinished(mirror_, tile.column, tile.columns, first + row, count);
    }
  }

  // Results [rows][nr].
  void StoreFinished(const T* from, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    if (T* to = out_.InPlace(row, column); to != nullptr) {
      DistanceTotals<T> copied{};
      copied.rows = rows;
      copied.n = columns;
      copied.totals = from;
      copied.stream = out_.Streams(to);
      kernels_.finish[static_cast<int>(Finish::kCopy)](copied, to, out_.row_stride());
      return;
    }
    out_.Write(from, nr_, row, rows, column, columns);
  }

  const DistanceKernels<T>& kernels_;
  const Plan& plan_;
  const int64_t nr_;
  Tiles<T> tiles_;
  T* const finished_;  // results [row][nr] that are not stored at once
  T* const mirror_;    // [nr][nr]
  const Out<T>& out_;
};

// Whether two views are of the same elements in the same order.
bool IsSame(const TensorView& x, const TensorView& y) {
  return x.data == y.data && x.dtype == y.dtype && x.rank == y.rank &&
         std::equal(x.shape, x.shape + x.rank, y.shape) &&
         std::equal(x.strides, x.strides + x.rank, y.strides);
}

template <class T>
void Run(const TensorView& x, const TensorView& y, const Recipe& recipe, const TensorView& out) {
  const auto& kernels = DistanceKernelsFor<T>(ActiveTarget());
  const LeadingAxes batch = LeadingAxesOf(x, y, 2, out, 2);
  const int64_t m = x.shape[x.rank - 2], n = y.shape[y.rank - 2], d = x.shape[x.rank - 1];
  if (batch.count() == 0 || m == 0 || n == 0) return;

  const Results<T> results(out);
  const Plan plan = Plan::For<T>(batch.count(), m, n, d, recipe, kernels, IsSame(x, y));
  const int64_t per_matrix = plan.TaskCount();
  const Out<T> matrices(results, out, plan.nr, batch.count() * m * n);
  const Work work{batch.count() * per_matrix, plan.total_ns, Task<T>::ScratchBytes(recipe, plan)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    const auto [x_at, y_at, out_at] = batch.OffsetsOf(index / per_matrix);
    const Out<T> to = matrices + out_at;
    Task<T> task(kernels, recipe, plan, {{x, x_at}, {y, y_at}}, to, scratch);
    task.Run(plan.BlockOf(index % per_matrix));
  });
}

}  // namespace
}  // namespace distance

Shape PairwiseDistancesShape(const Shape& x, const Shape& y) {
  Shape out = distance::BroadcastLeadingAxes(distance::kOp, x, y, 2);
  out.push_back(x[x.size() - 2]);
  out.push_back(y[y.size() - 2]);
  return CheckedShape(distance::kOp, std::move(out));
}

void PairwiseDistances(const TensorView& x, const TensorView& y, const DistanceOptions& options,
                       const TensorView& out) {
  const distance::Recipe recipe = distance::RecipeOf(distance::kOp, options);
  const Shape shape = PairwiseDistancesShape(x.sizes(), y.sizes());
  distance::CheckArguments(distance::kOp, x, y, shape, out);
  if (distance::CountsBits(recipe, x.dtype, y.dtype)) {
    return distance::PairwiseBits(x, y, recipe, out);
  }
  distance::DispatchSums(recipe, out.dtype,
                         [&](auto zero) { distance::Run<decltype(zero)>(x, y, recipe, out); });
}

}  // namespace lanewise
