// The euclidean distances of any pairs of rows of two matrices, NR at a time, with the bits that
// all kernels give them.
#ifndef LANEWISE_OPS_DISTANCE_PAIRED_ROWS_H_
#define LANEWISE_OPS_DISTANCE_PAIRED_ROWS_H_

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/kernels.h"
#include "ops/distance/finish.h"
#include "ops/distance/metric.h"
#include "ops/distance/rows.h"
#include "runtime/parallel.h"

namespace lanewise::distance {

// In one thread's scratch.
template <class T>
class PairedRows {
 public:
  struct Pair {
    int32_t x, y;  // rows, counted from the first of either that is meant
  };

  // The recipe has one term, no norms, and takes coordinates as they are.
  PairedRows(const DistanceKernels<T>& kernels, const Recipe& recipe, int64_t d, const Matrix<T>& x,
             const Matrix<T>& y, Scratch& scratch)
      : kernels_(kernels),
        recipe_(recipe),
        nr_(kernels.nr),
        d_(d),
        finisher_(kernels, recipe, d),
        x_(x),
        y_(y),
        rows_(scratch.Take<T>(nr_ * kTerms)),
        x_panel_(scratch.Take<T>(nr_ * kTerms)),
        y_panel_(scratch.Take<T>(nr_ * kTerms)),
        totals_(scratch.Take<T>(nr_)),
        distances_(scratch.Take<T>(nr_)) {}

  static size_t ScratchBytes(int64_t nr) {
    return 3 * Scratch::Bytes<T>(nr * kTerms) + 2 * Scratch::Bytes<T>(nr);
  }

  int64_t nr() const { return nr_; }

  // Of count <= nr() pairs, counted from rows x_begin and y_begin.
  const T* operator()(const Pair* pairs, int64_t count, int64_t x_begin, int64_t y_begin) {
    const auto x = [&](int64_t j) { return x_.row(x_begin + pairs[j].x); };
    const auto y = [&](int64_t j) { return y_.row(y_begin + pairs[j].y); };
    for (int64_t first = 0; first < d_; first += kTerms) {
      const int64_t terms = std::min(kTerms, d_ - first);
      Pack(x, count, first, terms, x_panel_);
      Pack(y, count, first, terms, y_panel_);
      kernels_.accumulate_pairs[static_cast<int>(recipe_.term)](x_panel_, y_panel_, terms,
                                                                recipe_.p, totals_, first == 0);
    }
    DistanceTotals<T> totals = finisher_.Totals();
    totals.rows = 1;
    totals.n = count;
    totals.totals = totals_;
    totals.pairs = true;
    finisher_(totals, distances_, nr_, [&](int64_t, int64_t j) { return std::pair(x(j), y(j)); });
    return distances_;
  }

 private:
  // Coordinates at a time: three buffers of 16 rows then take half of L1.
  static constexpr int64_t kTerms = 2 * kSumBlock;

  template <class RowOf>
  void Pack(const RowOf& row, int64_t count, int64_t first, int64_t terms, T* panel) {
    for (int64_t j = 0; j < count; ++j) {
      const Row<T> from = row(j);
      (from.source + first * from.stride).Read(from.stride, terms, rows_ + j * kTerms);
    }
    for (int64_t j = count; j < nr_; ++j) std::fill_n(rows_ + j * kTerms, terms, T(0));
    kernels_.transpose(rows_, kTerms, nr_, terms, panel, nr_);
  }

  const DistanceKernels<T>& kernels_;
  const Recipe& recipe_;
  const int64_t nr_, d_;
  const Finisher<T> finisher_;
  const Matrix<T> x_, y_;
  T* const rows_;                      // [lane][kTerms]
  T *const x_panel_, *const y_panel_;  // [term][NR]
  T *const totals_, *const distances_;
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_PAIRED_ROWS_H_
