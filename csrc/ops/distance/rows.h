// Rows of coordinates in memory of any type, and their way into panels.
#ifndef LANEWISE_OPS_DISTANCE_ROWS_H_
#define LANEWISE_OPS_DISTANCE_ROWS_H_

#include <algorithm>
#include <cstdint>

#include "lanewise/tensor.h"
#include "ops/distance/metric.h"
#include "ops/elements.h"
#include "ops/merged_axes.h"

namespace lanewise::distance {

// Coordinates that are read at a time, onto the stack.
constexpr int64_t kChunk = kSumBlock;

template <class T>
struct Row {
  Source<T> source;
  int64_t stride;

  // f(coordinates [k, k + n) of the row), chunk by chunk.
  template <class F>
  void ForEachChunk(int64_t first, int64_t terms, const F& f) const {
    T chunk[kChunk];
    for (int64_t k = 0; k < terms; k += kChunk) {
      const int64_t n = std::min(kChunk, terms - k);
      (source + (first + k) * stride).Read(stride, n, chunk);
      f(chunk, n);
    }
  }
};

// The rows of a (rows, d) matrix that starts `offset` elements into a view.
template <class T>
struct Matrix {
  Source<T> source;
  int64_t row_stride, column_stride;

  Matrix(const TensorView& view, int64_t offset)
      : source(Source<T>(view) + offset),
        row_stride(view.strides[view.rank - 2]),
        column_stride(view.strides[view.rank - 1]) {}
  Row<T> row(int64_t i) const { return {source + i * row_stride, column_stride}; }
};

// A centred row is (x·scale - pivot) - mean, in float64, where `scale` is a power of two that
// brings the largest coordinate near 1, `pivot` the first coordinate so scaled, and `mean` that of
// the rest of the bracket. So the mean is off by roundings of differences between coordinates,
// whatever all of them have in common; a constant row is exactly 0; and squares neither overflow
// nor underflow, as coordinates of a row that are not equal differ by eps/2 of the largest at
// least.
struct Centre {
  double scale = 1, pivot = 0, mean = 0;
};

// A power of two near 1/largest: products with it are exact, and squares of them normal. At most
// 2^1000, which brings the smallest subnormal, 2^-1074, to 2^-74. 1 for 0, inf and NaN.
double ScaleFor(double largest);

// The largest absolute value of d coordinates; NaN do not count, and of none it is 0.
template <class T>
double LargestOf(const Row<T>& row, int64_t d);

template <class T>
Centre CentreOf(const Row<T>& row, int64_t d);

// column[k·nr] = coordinate first + k of the row in its form, k < terms.
template <class T>
void PackRow(const Row<T>& row, Form form, const Centre& centre, int64_t first, int64_t terms,
             int64_t nr, T* column);

// panel[k·nr + j] likewise of row begin + j, whose centre, for kCentred, is centres[j]; 0 in lanes
// past `end`. Where rows are contiguous they are transposed in registers, a quarter of the time
// that element by element takes.
template <class T>
void PackPanel(const DistanceKernels<T>& kernels, const Matrix<T>& matrix, Form form,
               const Centre* centres, int64_t begin, int64_t end, int64_t first, int64_t terms,
               int64_t nr, T* panel);

// panel[k·nr + j] = 0 for k < terms, count <= j < nr.
template <class T>
void ClearLanes(int64_t count, int64_t terms, int64_t nr, T* panel) {
  if (count == nr) return;
  for (int64_t k = 0; k < terms; ++k) std::fill(panel + k * nr + count, panel + (k + 1) * nr, T(0));
}

// The leading axes of out, to which those of x and y broadcast: all but the last out_inner axes of
// out, and the last `inner` of x and y. Offsets are those of x, y and out.
using LeadingAxes = MergedAxes<3>;
LeadingAxes LeadingAxesOf(const TensorView& x, const TensorView& y, int inner,
                          const TensorView& out, int out_inner);

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_ROWS_H_
