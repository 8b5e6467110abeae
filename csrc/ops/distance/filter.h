// Which rows of y may be near a row of x: a test that never loses one, at twice the rate of
// float32's multiply-adds and more than that of differences and their squares.
//
// Rows are quantised: q(z) = round((z - c)·s) as int16, c being about the mean of y and s a power
// of two. Let D be the euclidean distance of x and y, and r(z) >= |(z - c)·s - q(z)|. By the
// triangle inequality
//   |q(x) - q(y)| <= s·D + r(x) + r(y),
// so that with B >= s·D + r(x) + r(y), and as |q(x) - q(y)|² = |q(x)|² + |q(y)|² - 2·q(x)·q(y),
//   q(x)·q(y) - |q(y)|²/2 >= (|q(x)|² - B²)/2.
// A pair that fails this is farther apart than D. All of the left side is an integer, and the tile
// computes it, |q(y)|²/2 rounded down and the right side, too. What remains is to see that
//
//   nothing overflows: rows with |q|² > 2^29 are not tested at all. By Cauchy-Schwarz all partial
//   sums of q(x)·q(y) are at most 2^29, |q(y)|²/2 is at most 2^28, and the right side is held to
//   ±2^30 without a change to the outcome;
//
//   r is large enough: v = (z - c)·s is computed with one rounding, u = eps/2 of itself, since s
//   is a power of two; v - q is exact, and the sum of its squares is off by less than
//   (d + 2)·eps/2 of itself. So r = |v - q|·(1 + (d + 8)·eps) + 2·eps·(|q| + |v - q|) + 2^-20,
//   where the last is far above all that underflows.
//
// A result never depends on the filter, and so c, s and blocks may follow the data and the caches.
#ifndef LANEWISE_OPS_DISTANCE_FILTER_H_
#define LANEWISE_OPS_DISTANCE_FILTER_H_

#include <cstdint>

#include "kernels/kernels.h"
#include "ops/distance/rows.h"
#include "runtime/parallel.h"

namespace lanewise::distance {

// Euclidean or squared euclidean distances, as computed: `threshold` is one, and no pair of rows
// whose distance is computed as that or less is farther apart than the result (in terms of exact
// euclidean distance). Infinite for NaN, and where d is so large that the bounds say nothing.
template <class T>
double FarthestBelow(T threshold, bool squared, int64_t d);

// The test of some rows of x against blocks of rows of y, in one thread's scratch.
template <class T>
class Filter {
 public:
  // For up to x_rows and y_rows rows of d coordinates at a time.
  Filter(const DistanceFilterKernels& kernels, int64_t d, int64_t x_rows, int64_t y_rows,
         Scratch& scratch);
  static size_t ScratchBytes(const DistanceFilterKernels& kernels, int64_t d, int64_t x_rows,
                             int64_t y_rows);

  // Chooses c and s for y, n rows, and rows [begin, end) of x, and quantises the latter. False if
  // there are none for y.
  bool SetX(const Matrix<T>& y, int64_t n, const Matrix<T>& x, int64_t begin, int64_t end);

  // Whether row begin + i of x is tested. Others, which are infinite or NaN, or too far from y, are
  // never among the survivors.
  bool Tests(int64_t i) const { return x_norms_[i] >= 0; }

  // Quantises rows [begin, end) of y. Those that cannot be are the block's outliers, which are
  // never among the survivors. Forgets the limits.
  void SetY(const Matrix<T>& y, int64_t begin, int64_t end);
  const int64_t* outliers() const { return outliers_; }
  int64_t outlier_count() const { return outlier_count_; }

  // Rows of y farther than this from row begin + i of x, which is tested, need not be found.
  void SetLimit(int64_t i, double distance);

  // f(i, j) for each pair of row begin + i of x and row j of y that may be within the limit of i,
  // in ascending order of j for any i. Ends, and is false, where f is.
  template <class F>
  bool ForEachSurvivor(const F& f) const {
    const int64_t mr = static_cast<int64_t>(kernels_.mr), nr = static_cast<int64_t>(kernels_.nr);
    uint64_t lanes[kMostRows];
    for (int64_t j = 0; j < y_count_; j += nr) {
      for (int64_t i = 0; i < x_count_; i += mr) {
        if (!kernels_.survivors(x_tiles_ + i * pairs_, y_panels_ + j * pairs_, pairs_, start_ + j,
                                least_ + i, lanes)) {
          continue;
        }
        for (int64_t r = 0; r < mr; ++r) {
          for (uint64_t left = lanes[r]; left != 0; left &= left - 1) {
            if (!f(i + r, y_begin_ + j + __builtin_ctzll(left))) return false;
          }
        }
      }
    }
    return true;
  }

 private:
  static constexpr int64_t kMostRows = 16;  // of a tile

  // What is known of a quantised row. Of one that cannot be quantised, q is 0.
  struct Quantised {
    int32_t norm = 0;     // |q|²
    double residual = 0;  // r
    bool good = false;
  };

  void ChooseFrame(const Matrix<T>& y, int64_t n, const Matrix<T>& x, int64_t begin, int64_t end);
  const T* Line(const Row<T>& row) { return row.source.Line(row.stride, d_, row_); }
  double Norm(const T* row) const;
  Quantised Quantise(const Row<T>& row, int32_t* to);
  // Rows [begin, end) as [tile][pair][lanes], with zeros up to whole tiles; f(i, what is known of
  // row begin + i).
  template <class F>
  void Pack(const Matrix<T>& matrix, int64_t begin, int64_t end, int64_t lanes, int32_t* tiles,
            const F& f);
  template <class F>
  static void ForEachPiece(const DistanceFilterKernels& kernels, int64_t d, int64_t x_rows,
                           int64_t y_rows, const F& f);

  const DistanceFilterKernels& kernels_;
  const int64_t d_, pairs_;
  T scale_ = 0;  // s
  int64_t x_count_ = 0, y_begin_ = 0, y_count_ = 0, outlier_count_ = 0;
  double y_residual_ = 0;  // the largest r of the block
  // Scratch.
  T* centre_ = nullptr;            // c
  T* row_ = nullptr;               // one row as T
  int32_t* quantised_ = nullptr;   // [row of a tile][pair]
  int32_t* x_tiles_ = nullptr;     // [tile][pair][mr]
  int32_t* y_panels_ = nullptr;    // [panel][pair][nr]
  int32_t* x_norms_ = nullptr;     // |q(x)|², or -1 for rows that are not tested
  double* x_residuals_ = nullptr;  // r(x)
  int32_t* least_ = nullptr;       // (|q(x)|² - B²)/2
  int32_t* start_ = nullptr;       // -|q(y)|²/2
  int64_t* outliers_ = nullptr;
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_FILTER_H_
