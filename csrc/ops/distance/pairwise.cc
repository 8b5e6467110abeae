#include <algorithm>
#include <utility>

#include "kernels/kernels.h"
#include "lanewise/distance.h"
#include "ops/distance/arguments.h"
#include "ops/distance/bits.h"
#include "ops/distance/finish.h"
#include "ops/distance/metric.h"
#include "ops/distance/plan.h"
#include "ops/distance/rows.h"
#include "ops/stream.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace distance {
namespace {

constexpr const char* kOp = "pairwise_distances";

// The work of one task, in one thread's scratch.
template <class T>
class Task {
 public:
  // One matrix of the batch.
  struct Operands {
    Matrix<T> x, y;
    int64_t out;  // its offset
  };

  Task(const DistanceKernels<T>& kernels, const Recipe& recipe, const Plan& plan,
       const Operands& operands, const Results<T>& results, int64_t out_row_stride,
       int64_t out_column_stride, bool stream, Scratch scratch)
      : kernels_(kernels),
        recipe_(recipe),
        plan_(plan),
        operands_(operands),
        results_(results),
        out_row_stride_(out_row_stride),
        out_column_stride_(out_column_stride),
        stream_(stream),
        finisher_(kernels, recipe, plan.d) {
    ForEachPiece(recipe, plan, [&](auto Task::*piece, int64_t count) {
      using Element = std::remove_pointer_t<std::remove_reference_t<decltype(this->*piece)>>;
      this->*piece = scratch.Take<Element>(count);
    });
  }

  static size_t ScratchBytes(const Recipe& recipe, const Plan& plan) {
    size_t bytes = 0;
    ForEachPiece(recipe, plan, [&](auto Task::*piece, int64_t count) {
      using Element =
          std::remove_pointer_t<std::remove_reference_t<decltype(std::declval<Task>().*piece)>>;
      bytes += Scratch::Bytes<Element>(count);
    });
    return bytes;
  }

  void Run(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end) {
    column_begin_ = column_begin;
    column_end_ = column_end;
    bool packed = false;
    for (int64_t i = row_begin; i < row_end; i += plan_.block) {
      const int64_t rows = std::min(plan_.block, row_end - i);
      int64_t first = 0;
      do {  // once at least, so that d = 0 gives the empty sum
        const int64_t terms = std::min(plan_.terms, plan_.d - first);
        if (!packed) PackColumns(first, terms);
        packed = plan_.packed_once;
        PackRows(i, rows, first, terms);
        for (int64_t p = 0; p < PanelCount(); ++p) RunPanel(p, i, rows, first, terms);
        first += terms;
      } while (first < plan_.d);
    }
    if (stream_) kernels_.flush();
  }

 private:
  // Up to MR rows by NR columns of the matrix, and where their operands are.
  struct Tile {
    int64_t panel, block_row;
    int64_t row, rows, column, columns;
  };

  // Scratch: where each piece goes and how long it is. Where all coordinates are packed at once, a
  // panel is finished before the next begins and one buffer of totals serves all.
  template <class F>
  static void ForEachPiece(const Recipe& recipe, const Plan& plan, const F& f) {
    const int64_t columns = plan.columns.longest();
    const int64_t totals = plan.block * (plan.packed_once ? plan.nr : columns);
    f(&Task::panels_, columns * plan.terms);
    f(&Task::packed_rows_, plan.block * plan.terms);
    f(&Task::totals_, totals);
    f(&Task::finished_, plan.mr * plan.nr);
    if (recipe.second) f(&Task::second_, totals);
    if (recipe.norms) {
      f(&Task::y_norms_, columns);
      f(&Task::x_norms_, plan.block + plan.nr);
      f(&Task::norm_panel_, plan.terms * plan.nr);
    }
    if (recipe.form == Form::kCentred) {
      f(&Task::y_centres_, columns);
      f(&Task::x_centres_, plan.block);
    }
  }

  int64_t PanelCount() const { return CeilDiv(column_end_ - column_begin_, plan_.nr); }
  int64_t TotalsOffset(const Tile& tile) const {
    const int64_t panel = plan_.packed_once ? 0 : tile.panel;
    return (panel * plan_.block + tile.block_row) * plan_.nr;
  }

  // Rows [i, i + rows) against one panel, over coordinates [first, first + terms).
  void RunPanel(int64_t p, int64_t i, int64_t rows, int64_t first, int64_t terms) {
    const int64_t column = column_begin_ + p * plan_.nr;
    const int64_t columns = std::min(plan_.nr, column_end_ - column);
    int64_t k = 0;
    do {
      const int64_t slice = std::min(plan_.slice, terms - k);
      const bool last = first + k + slice == plan_.d;
      for (int64_t row = 0; row < rows; row += plan_.mr) {
        const Tile tile{p, row, i + row, std::min(plan_.mr, rows - row), column, columns};
        Accumulate(recipe_.term, totals_, tile, k, slice, first + k == 0);
        if (recipe_.second) Accumulate(*recipe_.second, second_, tile, k, slice, first + k == 0);
        if (last) Finish(tile);
      }
      k += slice;
    } while (k < terms);
  }

  // Null where rows are not centred.
  static const Centre* Centres(const Centre* centres, int64_t row) {
    return centres == nullptr ? nullptr : centres + row;
  }

  void PackColumns(int64_t first, int64_t terms) {
    if (recipe_.form == Form::kCentred && first == 0) {
      for (int64_t j = column_begin_; j < column_end_; ++j) {
        y_centres_[j - column_begin_] = CentreOf(operands_.y.row(j), plan_.d);
      }
    }
    for (int64_t p = 0; p < PanelCount(); ++p) {
      T* panel = panels_ + p * plan_.terms * plan_.nr;
      PackPanel(operands_.y, recipe_.form, Centres(y_centres_, p * plan_.nr),
                column_begin_ + p * plan_.nr, column_end_, first, terms, plan_.nr, panel);
      if (recipe_.norms) Norms(panel, terms, y_norms_ + p * plan_.nr, first == 0);
    }
  }

  // Rows of x as [tile][k][MR]: with one pointer for all rows of a tile the kernel runs at 95 % of
  // the FMA peak, with one for each row at 80 % (Zen 3).
  void PackRows(int64_t i, int64_t rows, int64_t first, int64_t terms) {
    if (recipe_.form == Form::kCentred && first == 0) {
      for (int64_t r = 0; r < rows; ++r) {
        x_centres_[r] = CentreOf(operands_.x.row(i + r), plan_.d);
      }
    }
    const auto pack = [&](int64_t row, int64_t lanes, T* panel) {
      PackPanel(operands_.x, recipe_.form, Centres(x_centres_, row), i + row, i + rows, first,
                terms, lanes, panel);
    };
    for (int64_t row = 0; row < rows; row += plan_.mr) {
      pack(row, plan_.mr, packed_rows_ + row * plan_.terms);
    }
    if (!recipe_.norms) return;
    // In panels as y's, by the same kernel and in the same order, so that equal rows have equal
    // norms.
    for (int64_t row = 0; row < rows; row += plan_.nr) {
      pack(row, plan_.nr, norm_panel_);
      Norms(norm_panel_, terms, x_norms_ + row, first == 0);
    }
  }

  void Norms(const T* panel, int64_t terms, T* norms, bool is_first) {
    if (terms == 0) std::fill_n(norms, plan_.nr, T(0));
    kernels_.accumulate_pairs[static_cast<int>(*recipe_.norms)](panel, panel, terms, recipe_.p,
                                                                norms, is_first);
  }

  // Terms [k, k + terms) of what is packed.
  void Accumulate(Term term, T* all_totals, const Tile& tile, int64_t k, int64_t terms,
                  bool first) {
    T* totals = all_totals + TotalsOffset(tile);
    if (terms == 0) std::fill_n(totals, tile.rows * plan_.nr, T(0));
    kernels_.accumulate[static_cast<int>(term)](
        packed_rows_ + tile.block_row * plan_.terms + k * plan_.mr, tile.rows,
        panels_ + (tile.panel * plan_.terms + k) * plan_.nr, terms, recipe_.p, totals, first);
  }

  // Totals to results, tile by tile: the roots then overlap the sums of the next tile.
  void Finish(const Tile& tile) {
    DistanceTotals<T>& totals = tile_totals_;
    totals.rows = tile.rows;
    totals.n = tile.columns;
    totals.totals = totals_ + TotalsOffset(tile);
    if (recipe_.second) totals.second = second_ + TotalsOffset(tile);
    if (recipe_.norms) {
      totals.x_norms = x_norms_ + tile.block_row;
      totals.y_norms = y_norms_ + tile.panel * plan_.nr;
    }
    const auto rows_of = [&](int64_t i, int64_t j) {
      return std::pair(operands_.x.row(tile.row + i), operands_.y.row(tile.column + j));
    };
    const int64_t offset =
        operands_.out + tile.row * out_row_stride_ + tile.column * out_column_stride_;
    if (T* out = results_.InPlace(offset); out != nullptr && out_column_stride_ == 1) {
      totals.stream = stream_ && reinterpret_cast<uintptr_t>(out) % 64 == 0;
      return finisher_(totals, out, out_row_stride_, rows_of);
    }
    finisher_(totals, finished_, plan_.nr, rows_of);
    for (int64_t row = 0; row < tile.rows; ++row) {
      results_.Write(finished_ + row * plan_.nr, tile.columns, offset + row * out_row_stride_,
                     out_column_stride_);
    }
  }

  const DistanceKernels<T>& kernels_;
  const Recipe& recipe_;
  const Plan& plan_;
  const Operands operands_;
  const Results<T>& results_;
  const int64_t out_row_stride_, out_column_stride_;
  const bool stream_;
  const Finisher<T> finisher_;
  DistanceTotals<T> tile_totals_ = finisher_.Totals();
  int64_t column_begin_ = 0, column_end_ = 0;
  // Scratch.
  T* panels_ = nullptr;       // [panel][k][NR]
  T* packed_rows_ = nullptr;  // [tile of the block][k][MR]
  T* totals_ = nullptr;       // [panel][row of the block][NR]
  T* second_ = nullptr;       // likewise
  T* finished_ = nullptr;     // for results that are not stored as they are
  T *y_norms_ = nullptr, *x_norms_ = nullptr, *norm_panel_ = nullptr;
  Centre *y_centres_ = nullptr, *x_centres_ = nullptr;
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
  const bool whole_lines = plan.nr == line && row_stride % line == 0;
  const bool stream = whole_lines && results.InPlace(0) != nullptr &&
                      StreamsPay(out.data, batch.count() * m * n * int64_t{sizeof(T)});
  const Work work{batch.count() * per_matrix, plan.total_ns, Task<T>::ScratchBytes(recipe, plan)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    const auto [x_at, y_at, out_at] = batch.OffsetsOf(index / per_matrix);
    const int64_t rows = index % per_matrix / plan.columns.count;
    const int64_t columns = index % plan.columns.count;
    Task<T> task(kernels, recipe, plan, {{x, x_at}, {y, y_at}, out_at}, results, row_stride,
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
