// The sums of all pairs of rows of two matrices, tile by tile: what every op on all pairs does,
// with the tiles left to it.
#ifndef LANEWISE_OPS_DISTANCE_TILES_H_
#define LANEWISE_OPS_DISTANCE_TILES_H_

#include <algorithm>
#include <utility>

#include "kernels/kernels.h"
#include "ops/distance/finish.h"
#include "ops/distance/metric.h"
#include "ops/distance/plan.h"
#include "ops/distance/rows.h"
#include "runtime/parallel.h"

namespace lanewise::distance {

// In one thread's scratch.
template <class T>
class Tiles {
 public:
  // One matrix of the batch.
  struct Operands {
    Matrix<T> x, y;
  };
  // Up to MR rows of x by NR rows of y, and where they are packed.
  struct Tile {
    int64_t panel, block_row;
    int64_t row, rows, column, columns;
  };

  // Takes ScratchBytes from scratch.
  Tiles(const DistanceKernels<T>& kernels, const Recipe& recipe, const Plan& plan,
        const Operands& operands, Scratch& scratch)
      : kernels_(kernels),
        recipe_(recipe),
        plan_(plan),
        operands_(operands),
        finisher_(kernels, recipe, plan.d) {
    ForEachPiece(recipe, plan,
                 [&](auto piece, int64_t count) { scratch.TakeFor(this, piece, count); });
  }

  static size_t ScratchBytes(const Recipe& recipe, const Plan& plan) {
    size_t bytes = 0;
    ForEachPiece(recipe, plan,
                 [&](auto piece, int64_t count) { bytes += Scratch::BytesFor(piece, count); });
    return bytes;
  }

  // f(tile) for each tile of rows [row_begin, row_end) of x against rows [column_begin, column_end)
  // of y, as soon as its totals are there; the columns of a block of rows come in ascending order.
  // With `upper` rows end at the last column of a panel: all (i, j) with i <= j are there.
  template <class F>
  void ForEach(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
               const F& f, bool upper = false) {
    column_begin_ = column_begin;
    column_end_ = column_end;
    CentreColumns();
    // Where a panel serves one block of rows, the next takes its place, so that it stays in L1: for
    // one row of x in 100 000 of y, d = 128, 2.8 ms instead of 3.3.
    const bool kept = plan_.packed_once && row_end - row_begin > plan_.block;
    panel_stride_ = kept ? plan_.terms * plan_.nr : 0;
    bool packed = false;
    for (int64_t i = row_begin; i < row_end; i += plan_.block) {
      const int64_t rows = std::min(plan_.block, row_end - i);
      int64_t first = 0;
      do {  // once at least, so that d = 0 gives the empty sum
        const int64_t terms = std::min(plan_.terms, plan_.d - first);
        PackRows(i, rows, first, terms);
        for (int64_t p = 0; p < PanelCount(); ++p) {
          if (!packed) PackColumns(p, first, terms);
          const int64_t panel_end = column_begin + (p + 1) * plan_.nr;
          const int64_t used = upper ? std::min(rows, panel_end - i) : rows;
          if (used > 0) RunPanel(p, i, used, first, terms, f);
        }
        first += terms;
      } while (first < plan_.d);
      packed = plan_.packed_once;
    }
  }

  // Within f: what the tile's distances come from, [row][NR].
  const T* Totals(const Tile& tile) const { return totals_ + TotalsOffset(tile); }

  // Within f: the tile's distances, where `stream` past the caches, which takes rows of `out` on
  // 64-byte borders.
  void Finish(const Tile& tile, T* out, int64_t out_stride, bool stream) {
    DistanceTotals<T>& totals = tile_totals_;
    totals.rows = tile.rows;
    totals.n = tile.columns;
    totals.totals = totals_ + TotalsOffset(tile);
    totals.stream = stream;
    if (recipe_.second) totals.second = second_ + TotalsOffset(tile);
    if (recipe_.norms) {
      totals.x_norms = x_norms_ + tile.block_row;
      totals.y_norms = y_norms_ + tile.panel * plan_.nr;
    }
    finisher_(totals, out, out_stride, [&](int64_t i, int64_t j) {
      return std::pair(operands_.x.row(tile.row + i), operands_.y.row(tile.column + j));
    });
  }

 private:
  // Scratch: where each piece goes and how long it is. Where all coordinates are packed at once, a
  // panel is finished before the next begins and one buffer of totals serves all.
  template <class F>
  static void ForEachPiece(const Recipe& recipe, const Plan& plan, const F& f) {
    const int64_t columns = plan.columns.longest();
    const int64_t totals = plan.block * (plan.packed_once ? plan.nr : columns);
    f(&Tiles::panels_, columns * plan.terms);
    f(&Tiles::packed_rows_, plan.block * plan.terms);
    f(&Tiles::totals_, totals);
    if (recipe.second) f(&Tiles::second_, totals);
    if (recipe.norms) {
      f(&Tiles::y_norms_, columns);
      f(&Tiles::x_norms_, plan.block + plan.nr);
      f(&Tiles::norm_panel_, plan.terms * plan.nr);
    }
    if (recipe.form == Form::kCentred) {
      f(&Tiles::y_centres_, columns);
      f(&Tiles::x_centres_, plan.block);
    }
  }

  int64_t PanelCount() const { return CeilDiv(column_end_ - column_begin_, plan_.nr); }
  int64_t TotalsOffset(const Tile& tile) const {
    const int64_t panel = plan_.packed_once ? 0 : tile.panel;
    return (panel * plan_.block + tile.block_row) * plan_.nr;
  }

  // Rows [i, i + rows) against one panel, over coordinates [first, first + terms).
  template <class F>
  void RunPanel(int64_t p, int64_t i, int64_t rows, int64_t first, int64_t terms, const F& f) {
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
        if (last) f(tile);
      }
      k += slice;
    } while (k < terms);
  }

  // Null where rows are not centred.
  static const Centre* Centres(const Centre* centres, int64_t row) {
    return centres == nullptr ? nullptr : centres + row;
  }

  void CentreColumns() {
    if (recipe_.form != Form::kCentred) return;
    for (int64_t j = column_begin_; j < column_end_; ++j) {
      y_centres_[j - column_begin_] = CentreOf(operands_.y.row(j), plan_.d);
    }
  }

  void PackColumns(int64_t p, int64_t first, int64_t terms) {
    T* const panel = panels_ + p * panel_stride_;
    PackPanel(kernels_, operands_.y, recipe_.form, Centres(y_centres_, p * plan_.nr),
              column_begin_ + p * plan_.nr, column_end_, first, terms, plan_.nr, panel);
    if (recipe_.norms) Norms(panel, terms, y_norms_ + p * plan_.nr, first == 0);
  }

  // Rows of x as [tile][k][MR]: with one pointer for all rows of a tile the kernel of 6×2 32-byte
  // vectors runs at 95 % of the FMA peak, with one for each row at 80 % (Zen 3).
  void PackRows(int64_t i, int64_t rows, int64_t first, int64_t terms) {
    if (recipe_.form == Form::kCentred && first == 0) {
      for (int64_t r = 0; r < rows; ++r) {
        x_centres_[r] = CentreOf(operands_.x.row(i + r), plan_.d);
      }
    }
    const auto pack = [&](int64_t row, int64_t lanes, T* panel) {
      PackPanel(kernels_, operands_.x, recipe_.form, Centres(x_centres_, row), i + row, i + rows,
                first, terms, lanes, panel);
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
        panels_ + tile.panel * panel_stride_ + k * plan_.nr, terms, recipe_.p, totals, first);
  }

  const DistanceKernels<T>& kernels_;
  const Recipe& recipe_;
  const Plan& plan_;
  const Operands operands_;
  const Finisher<T> finisher_;
  DistanceTotals<T> tile_totals_ = finisher_.Totals();
  int64_t column_begin_ = 0, column_end_ = 0;
  int64_t panel_stride_ = 0;  // elements, 0 where all panels have one place
  // Scratch.
  T* panels_ = nullptr;       // [panel][k][NR]
  T* packed_rows_ = nullptr;  // [tile of the block][k][MR]
  T* totals_ = nullptr;       // [panel][row of the block][NR]
  T* second_ = nullptr;       // likewise
  T *y_norms_ = nullptr, *x_norms_ = nullptr, *norm_panel_ = nullptr;
  Centre *y_centres_ = nullptr, *x_centres_ = nullptr;
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_TILES_H_
