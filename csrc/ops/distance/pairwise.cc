#include <algorithm>

#include "kernels/kernels.h"
#include "lanewise/distance.h"
#include "ops/distance/arguments.h"
#include "ops/distance/bits.h"
#include "ops/distance/metric.h"
#include "ops/distance/plan.h"
#include "ops/distance/rows.h"
#include "ops/distance/tiles.h"
#include "ops/stream.h"
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
       const typename Tiles<T>::Operands& operands, const Results<T>& results, int64_t out,
       int64_t out_row_stride, int64_t out_column_stride, bool stream, Scratch scratch)
      : kernels_(kernels),
        nr_(plan.nr),
        tiles_(kernels, recipe, plan, operands, scratch),
        finished_(scratch.Take<T>(plan.mr * plan.nr)),
        results_(results),
        out_(out),
        out_row_stride_(out_row_stride),
        out_column_stride_(out_column_stride),
        stream_(stream) {}

  static size_t ScratchBytes(const Recipe& recipe, const Plan& plan) {
    return Tiles<T>::ScratchBytes(recipe, plan) + Scratch::Bytes<T>(plan.mr * plan.nr);
  }

  void Run(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end) {
    tiles_.ForEach(row_begin, row_end, column_begin, column_end,
                   [&](const Tile& tile) { Store(tile); });
    if (stream_) kernels_.flush();
  }

 private:
  using Tile = typename Tiles<T>::Tile;

  // Totals to results, tile by tile: the roots then overlap the sums of the next tile.
  void Store(const Tile& tile) {
    const int64_t offset = out_ + tile.row * out_row_stride_ + tile.column * out_column_stride_;
    if (T* out = results_.InPlace(offset); out != nullptr && out_column_stride_ == 1) {
      const bool stream = stream_ && reinterpret_cast<uintptr_t>(out) % 64 == 0;
      return tiles_.Finish(tile, out, out_row_stride_, stream);
    }
    tiles_.Finish(tile, finished_, nr_, false);
    for (int64_t row = 0; row < tile.rows; ++row) {
      results_.Write(finished_ + row * nr_, tile.columns, offset + row * out_row_stride_,
                     out_column_stride_);
    }
  }

  const DistanceKernels<T>& kernels_;
  const int64_t nr_;
  Tiles<T> tiles_;
  T* const finished_;  // for results that are not stored as they are
  const Results<T>& results_;
  const int64_t out_, out_row_stride_, out_column_stride_;
  const bool stream_;
};

template <class T>
void Run(const TensorView& x, const TensorView& y, const Recipe& recipe, const TensorView& out) {
  const auto& kernels = DistanceKernelsFor<T>(ActiveTarget());
  const LeadingAxes batch = LeadingAxesOf(x, y, 2, out, 2);
  const int64_t m = x.shape[x.rank - 2], n = y.shape[y.rank - 2], d = x.shape[x.rank - 1];
  if (batch.count() == 0 || m == 0 || n == 0) return;

  const Results<T> results(out);
  const Plan plan = Plan::For<T>(batch.count(), m, n, d, recipe, kernels);
  const int64_t per_matrix = plan.columns.count * plan.rows.count;
  const int64_t line = 64 / int64_t{sizeof(T)}, row_stride = out.strides[out.rank - 2];
  const bool whole_lines = plan.nr % line == 0 && row_stride % line == 0;
  const bool stream = whole_lines && results.InPlace(0) != nullptr &&
                      StreamsPay(out.data, batch.count() * m * n * int64_t{sizeof(T)});
  const Work work{batch.count() * per_matrix, plan.total_ns, Task<T>::ScratchBytes(recipe, plan)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    const auto [x_at, y_at, out_at] = batch.OffsetsOf(index / per_matrix);
    const int64_t rows = index % per_matrix / plan.columns.count;
    const int64_t columns = index % plan.columns.count;
    Task<T> task(kernels, recipe, plan, {{x, x_at}, {y, y_at}}, results, out_at, row_stride,
                 out.strides[out.rank - 1], stream, scratch);
    task.Run(plan.rows.begin(rows), plan.rows.end(rows), plan.columns.begin(columns),
             plan.columns.end(columns));
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
