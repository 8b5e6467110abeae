// The source of distances for a search: ExactSearch, but for euclidean distances that the filter
// rules out, which are then never computed.
#ifndef LANEWISE_OPS_DISTANCE_FILTERED_SEARCH_H_
#define LANEWISE_OPS_DISTANCE_FILTERED_SEARCH_H_

#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>

#include "kernels/kernels.h"
#include "ops/distance/filter.h"
#include "ops/distance/neighbor.h"
#include "ops/distance/paired_rows.h"
#include "ops/distance/plan.h"
#include "ops/distance/search.h"
#include "ops/distance/search_tasks.h"
#include "ops/distance/tiles.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"
#include "runtime/target.h"

namespace lanewise::distance {

// Whether a search uses the filter, and on how many rows at a time.
struct FilterPlan {
  bool filtered;
  int64_t n;           // rows of y
  int64_t unfiltered;  // of these, how many are searched before rows of x have limits
  int64_t most;        // rows of x or y that half of L2 holds as int16

  // For distances of type T, sums likewise. At d = 8 the filter takes 0.7 of the time that all
  // distances do for the nearest alone, and as much for the 10 nearest, at d = 24 a third; above
  // d = 4096 too few rows fit in the caches.
  template <class T>
  static FilterPlan For(const Recipe& recipe, DType dtype, int64_t m, int64_t n, int64_t d,
                        int64_t unfiltered) {
    const bool known =
        recipe.term == Term::kSquare && recipe.form == Form::kAsIs && dtype == DTypeOf<T>::value;
    const bool pays = d >= 8 && d <= 4096 && m >= 24 && n >= std::max<int64_t>(256, 4 * unfiltered);
    const int64_t most = static_cast<int64_t>(Caches().l2) / 4 / std::max<int64_t>(d, 1);
    return {known && pays, n, unfiltered, std::clamp<int64_t>(most, 128, 2048)};
  }
  // One distance of a pair costs some 16 of a tile. So many rows of y have limits that of as many
  // more one in 24 is within them.
  static int64_t UnfilteredFor(int64_t k) { return 64 + 24 * k; }

  // The filter is quick, and takes more rows to amortise its packing.
  RowLimits rows() const { return filtered ? RowLimits{1024, most} : RowLimits{256, 1024}; }
};

// In one thread's scratch.
template <class T>
class FilteredSearch {
 public:
  // For up to `rows` rows of x.
  FilteredSearch(const FilterPlan& use, const DistanceKernels<T>& kernels, const Recipe& recipe,
                 const Plan& plan, const typename Tiles<T>::Operands& operands, DType dtype,
                 int64_t rows, Scratch& scratch)
      : use_(use),
        operands_(operands),
        squared_(recipe.finish == Finish::kCopy),
        d_(plan.d),
        sizes_(use, plan, rows),
        exact_(kernels, recipe, plan, operands, dtype, scratch),
        filter_(DistanceFilterKernelsFor(ActiveTarget()), sizes_.d, sizes_.rows, sizes_.columns,
                scratch),
        paired_(kernels, recipe, plan.d, operands.x, operands.y, scratch),
        pairs_(scratch.Take<Pair>(MostPairs(sizes_.rows, sizes_.columns))) {}

  static size_t ScratchBytes(const FilterPlan& use, const Recipe& recipe, const Plan& plan,
                             int64_t rows) {
    const Sizes sizes(use, plan, rows);
    const DistanceFilterKernels& kernels = DistanceFilterKernelsFor(ActiveTarget());
    return ExactSearch<T>::ScratchBytes(recipe, plan) +
           Filter<T>::ScratchBytes(kernels, sizes.d, sizes.rows, sizes.columns) +
           PairedRows<T>::ScratchBytes(plan.nr) +
           Scratch::Bytes<Pair>(MostPairs(sizes.rows, sizes.columns));
  }

  // As ExactSearch, for the same rows in every call, and for columns in ascending order.
  void Run(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
           Chooser<T>& chooser) {
    if (!use_.filtered) {
      return exact_.Run(row_begin, row_end, column_begin, column_end, row_begin, chooser);
    }
    if (seen_ == 0 && !SetX(row_begin, row_end)) {
      unfiltered_until_ = std::numeric_limits<int64_t>::max();
    }
    while (column_begin < column_end) {
      // Blocks that double: the limits of each come from as many columns as it has.
      const int64_t wait = unfiltered_until_ - seen_;
      const int64_t most = wait > 0 ? wait : std::max(seen_, kFewestColumns);
      const int64_t end = std::min(column_end, column_begin + std::min(sizes_.columns, most));
      const bool filtered =
          wait <= 0 && RunFiltered(row_begin, row_end, column_begin, end, chooser);
      if (!filtered) exact_.Run(row_begin, row_end, column_begin, end, row_begin, chooser);
      seen_ += end - column_begin;
      // It may help when limits are tighter.
      if (wait <= 0 && !filtered) unfiltered_until_ = 4 * seen_;
      column_begin = end;
    }
  }

 private:
  using Pair = typename PairedRows<T>::Pair;
  static constexpr int64_t kFewestColumns = 256;

  // What the filter has scratch for.
  struct Sizes {
    int64_t d = 0, rows = 0, columns = 0;
    Sizes(const FilterPlan& use, const Plan& plan, int64_t rows_) {
      if (!use.filtered) return;
      d = plan.d;
      rows = rows_;
      columns = std::min(plan.columns.longest(), use.most);
    }
  };

  // f(begin, end) for each run of rows, counted from the first, that the filter does not test.
  template <class F>
  void ForEachUntested(int64_t rows, const F& f) const {
    for (int64_t end = 0; end < rows; ++end) {
      const int64_t begin = end;
      while (end < rows && !filter_.Tests(end)) ++end;
      if (begin < end) f(begin, end);
    }
  }

  // Whether the filter may pay: each run of rows that it does not test has the columns packed for
  // it, which costs as much as some 16 rows.
  bool SetX(int64_t row_begin, int64_t row_end) {
    if (!filter_.SetX(operands_.y, use_.n, operands_.x, row_begin, row_end)) return false;
    int64_t cost = 0;
    ForEachUntested(row_end - row_begin,
                    [&](int64_t begin, int64_t end) { cost += 16 + end - begin; });
    return cost <= (row_end - row_begin) / 4;
  }

  // More than that are left to ExactSearch, all of whose distances cost as much as these.
  static int64_t MostPairs(int64_t rows, int64_t columns) { return rows * columns / 16; }

  // False, with nothing offered, if too many pairs survive for the filter to pay.
  bool RunFiltered(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
                   Chooser<T>& chooser) {
    const int64_t rows = row_end - row_begin;
    filter_.SetY(operands_.y, column_begin, column_end);
    for (int64_t i = 0; i < rows; ++i) {
      chooser.Tighten(i);
      T limit;  // a NaN if there is none
      std::memcpy(&limit, chooser.limits() + i, sizeof(limit));
      if (filter_.Tests(i)) filter_.SetLimit(i, FarthestBelow(limit, squared_, d_));
    }
    const int64_t most = MostPairs(rows, column_end - column_begin);
    int64_t count = 0;
    const auto add = [&](int64_t i, int64_t j) {
      if (count == most) return false;
      pairs_[count++] = {static_cast<int32_t>(i), static_cast<int32_t>(j - column_begin)};
      return true;
    };
    if (!filter_.ForEachSurvivor(add)) return false;
    for (int64_t o = 0; o < filter_.outlier_count(); ++o) {
      for (int64_t i = 0; i < rows; ++i) {
        if (filter_.Tests(i) && !add(i, filter_.outliers()[o])) return false;
      }
    }
    if (filter_.outlier_count() > 0) {
      std::sort(pairs_, pairs_ + count,
                [](Pair a, Pair b) { return std::tie(a.y, a.x) < std::tie(b.y, b.x); });
    }
    Offer(pairs_, count, row_begin, column_begin, chooser);
    ForEachUntested(rows, [&](int64_t begin, int64_t end) {
      exact_.Run(row_begin + begin, row_begin + end, column_begin, column_end, row_begin, chooser);
    });
    return true;
  }

  // The distances of pairs, those below their rows' limits.
  void Offer(const Pair* pairs, int64_t count, int64_t row_begin, int64_t column_begin,
             Chooser<T>& chooser) {
    for (int64_t begin = 0; begin < count; begin += paired_.nr()) {
      const int64_t batch = std::min(paired_.nr(), count - begin);
      const T* const distances = paired_(pairs + begin, batch, row_begin, column_begin);
      for (int64_t p = 0; p < batch; ++p) {
        const Pair pair = pairs[begin + p];
        if (KeyOf(distances[p]) < chooser.limits()[pair.x]) {
          chooser.Offer(pair.x, column_begin + pair.y, 1, distances + p);
        }
      }
    }
  }

  const FilterPlan use_;
  const typename Tiles<T>::Operands operands_;
  const bool squared_;
  const int64_t d_;
  const Sizes sizes_;
  ExactSearch<T> exact_;
  Filter<T> filter_;
  PairedRows<T> paired_;
  Pair* const pairs_;
  int64_t seen_ = 0, unfiltered_until_ = use_.unfiltered;  // columns
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_FILTERED_SEARCH_H_
