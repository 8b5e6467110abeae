// An exact search for euclidean neighbours that computes few of the distances: those that the
// filter cannot rule out.
#ifndef LANEWISE_OPS_DISTANCE_FILTERED_SEARCH_H_
#define LANEWISE_OPS_DISTANCE_FILTERED_SEARCH_H_

#include <algorithm>
#include <cstring>

#include "kernels/kernels.h"
#include "ops/distance/filter.h"
#include "ops/distance/paired_rows.h"
#include "ops/distance/plan.h"
#include "ops/distance/search.h"
#include "ops/distance/tiles.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"
#include "runtime/target.h"

namespace lanewise::distance {

// In one thread's scratch. Offers a superset of the neighbours, as ExactSearch does, and in another
// order, which no selection depends on.
template <class T>
class FilteredSearch {
 public:
  // Whether distances are such as the filter knows, and packing rows for it pays. Below d = 24 it
  // is not quicker than the distances themselves, and far above too few rows fit in the caches.
  static bool Applies(const Recipe& recipe, DType dtype, int64_t m, int64_t n, int64_t d,
                      int64_t k) {
    return recipe.term == Term::kSquare && recipe.form == Form::kAsIs &&
           dtype == DTypeOf<T>::value && d >= 24 && d <= 4096 && m >= 24 &&
           n >= 4 * UnfilteredRows(k);
  }
  // Rows at a time, of x and of y: so many that half of L2 holds them as int16, but enough that
  // one's packing is little beside the other's number.
  static int64_t MostRows(int64_t d) {
    return std::clamp<int64_t>(static_cast<int64_t>(Caches().l2) / 4 / d, 128, 2048);
  }

  // For up to `rows` rows of x at a time, against y, which has n.
  FilteredSearch(const DistanceKernels<T>& kernels, const Recipe& recipe, const Plan& plan,
                 const typename Tiles<T>::Operands& operands, DType dtype, int64_t rows, int64_t n,
                 int64_t k, Scratch& scratch)
      : operands_(operands),
        squared_(recipe.finish == Finish::kCopy),
        d_(plan.d),
        n_(n),
        block_(Block(plan)),
        exact_(kernels, recipe, plan, operands, dtype, scratch),
        filter_(DistanceFilterKernelsFor(ActiveTarget()), plan.d, rows, block_, scratch),
        paired_(kernels, recipe, plan.d, operands.x, operands.y, scratch),
        pairs_(scratch.Take<Pair>(MostPairs(rows, block_))),
        unfiltered_until_(UnfilteredRows(k)) {}

  static size_t ScratchBytes(const Recipe& recipe, const Plan& plan, int64_t rows) {
    const DistanceFilterKernels& kernels = DistanceFilterKernelsFor(ActiveTarget());
    const int64_t block = Block(plan);
    return ExactSearch<T>::ScratchBytes(recipe, plan) +
           Filter<T>::ScratchBytes(kernels, plan.d, rows, block) +
           PairedRows<T>::ScratchBytes(plan.nr) + Scratch::Bytes<Pair>(MostPairs(rows, block));
  }

  // As ExactSearch, for the same rows in every call.
  template <class Selection>
  void Run(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
           Selection& selection) {
    if (seen_ == 0 && !filter_.SetX(operands_.y, n_, operands_.x, row_begin, row_end)) {
      unfiltered_until_ = n_;
    }
    while (column_begin < column_end) {
      // Blocks that double: the limits of each come from as many columns as it has.
      const int64_t wait = unfiltered_until_ - seen_;
      const int64_t end =
          std::min(column_end, column_begin + std::min(block_, wait > 0 ? wait : seen_));
      const bool filtered =
          wait <= 0 && RunFiltered(row_begin, row_end, column_begin, end, selection);
      if (!filtered) exact_.Run(row_begin, row_end, column_begin, end, selection);
      seen_ += end - column_begin;
      // It may help when limits are tighter.
      if (wait <= 0 && !filtered) unfiltered_until_ = 4 * seen_;
      column_begin = end;
    }
  }

 private:
  using Pair = typename PairedRows<T>::Pair;

  // One distance of a pair costs some 16 of a tile. So many columns have limits that in as many
  // more, one row in 32 or so is within them.
  static int64_t UnfilteredRows(int64_t k) { return 64 + 24 * k; }
  static int64_t Block(const Plan& plan) {
    return std::min(plan.columns.longest(), MostRows(plan.d));
  }
  static int64_t MostPairs(int64_t rows, int64_t columns) { return rows * columns / 16 + 1; }

  // False, with nothing offered, if too many pairs survive for the filter to pay.
  template <class Selection>
  bool RunFiltered(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
                   Selection& selection) {
    const int64_t rows = row_end - row_begin;
    filter_.SetY(operands_.y, column_begin, column_end);
    for (int64_t i = 0; i < rows; ++i) {
      selection.Tighten(i);
      T limit;  // a NaN if there is none
      std::memcpy(&limit, selection.limits() + i, sizeof(limit));
      filter_.SetLimit(i, FarthestBelow(limit, squared_, d_));
    }
    const int64_t most = MostPairs(rows, column_end - column_begin);
    int64_t count = 0;
    const auto add = [&](int64_t i, int64_t j) {
      if (count == most) return false;
      pairs_[count++] = {static_cast<int32_t>(i), static_cast<int32_t>(j - column_begin)};
      return true;
    };
    for (int64_t o = 0; o < filter_.outlier_count(); ++o) {
      for (int64_t i = 0; i < rows; ++i) {
        if (!add(i, filter_.outliers()[o])) return false;
      }
    }
    if (!filter_.ForEachSurvivor(add)) return false;
    for (int64_t begin = 0; begin < count; begin += paired_.nr()) {
      const int64_t batch = std::min(paired_.nr(), count - begin);
      const T* const distances = paired_(pairs_ + begin, batch, row_begin, column_begin);
      for (int64_t p = 0; p < batch; ++p) {
        const Pair pair = pairs_[begin + p];
        selection.Offer(pair.x, column_begin + pair.y, distances[p]);
      }
    }
    return true;
  }

  const typename Tiles<T>::Operands operands_;
  const bool squared_;
  const int64_t d_, n_, block_;
  ExactSearch<T> exact_;
  Filter<T> filter_;
  PairedRows<T> paired_;
  Pair* const pairs_;
  int64_t unfiltered_until_, seen_ = 0;  // columns
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_FILTERED_SEARCH_H_
