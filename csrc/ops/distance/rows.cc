#include "ops/distance/rows.h"

#include <cmath>

namespace lanewise::distance {

double ScaleFor(double largest) {
  if (!(largest > 0) || std::isinf(largest)) return 1;
  return std::ldexp(1.0, std::min(1000, -std::ilogb(largest)));
}

template <class T>
double LargestOf(const Row<T>& row, int64_t d) {
  double largest = 0;
  row.ForEachChunk(0, d, [&](const T* chunk, int64_t n) {
    for (int64_t k = 0; k < n; ++k) largest = std::max(largest, std::abs(double(chunk[k])));
  });
  return largest;
}

template <class T>
Centre CentreOf(const Row<T>& row, int64_t d) {
  if (d == 0) return {};
  Centre centre;
  centre.scale = ScaleFor(LargestOf(row, d));
  T pivot;
  row.source.Read(1, 1, &pivot);
  centre.pivot = pivot * centre.scale;
  double total = 0;
  row.ForEachChunk(0, d, [&](const T* chunk, int64_t n) {
    // Independent sums, which the compiler keeps in vectors.
    double sums[8] = {};
    int64_t k = 0;
    for (; k + 8 <= n; k += 8) {
      for (int64_t s = 0; s < 8; ++s) sums[s] += chunk[k + s] * centre.scale - centre.pivot;
    }
    for (; k < n; ++k) sums[0] += chunk[k] * centre.scale - centre.pivot;
    total +=
        ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  });
  centre.mean = total / double(d);
  return centre;
}

namespace {

// column[k·nr] = f(coordinate first + k).
template <class T, class F>
void PackMapped(const Row<T>& row, int64_t first, int64_t terms, int64_t nr, T* column,
                const F& f) {
  row.ForEachChunk(first, terms, [&](const T* chunk, int64_t n) {
    for (int64_t k = 0; k < n; ++k) column[k * nr] = f(chunk[k]);
    column += n * nr;
  });
}

}  // namespace

template <class T>
void PackRow(const Row<T>& row, Form form, const Centre& centre, int64_t first, int64_t terms,
             int64_t nr, T* column) {
  switch (form) {
    case Form::kAsIs:
      if (row.source.native()) {
        const T* from = row.source.InPlace() + first * row.stride;
        for (int64_t k = 0; k < terms; ++k) column[k * nr] = from[k * row.stride];
        return;
      }
      return PackMapped(row, first, terms, nr, column, [](T value) { return value; });
    case Form::kTruth:
      return PackMapped(row, first, terms, nr, column, [](T value) { return T(value != 0); });
    case Form::kCentred:
      return PackMapped(row, first, terms, nr, column, [&](T value) {
        return static_cast<T>((value * centre.scale - centre.pivot) - centre.mean);
      });
  }
}

template <class T>
void PackPanel(const DistanceKernels<T>& kernels, const Matrix<T>& matrix, Form form,
               const Centre* centres, int64_t begin, int64_t end, int64_t first, int64_t terms,
               int64_t nr, T* panel) {
  const int64_t count = std::min(nr, end - begin);
  if (form == Form::kAsIs && matrix.source.native()) {  // all rows at once: whole lines are written
    const T* from = matrix.source.InPlace() + begin * matrix.row_stride;
    if (matrix.column_stride == 1 && matrix.row_stride >= 0) {
      kernels.transpose(from + first, matrix.row_stride, count, terms, panel, nr);
      return ClearLanes(count, terms, nr, panel);
    }
    for (int64_t k = 0; k < terms; ++k) {
      const T* column = from + (first + k) * matrix.column_stride;
      for (int64_t j = 0; j < count; ++j) panel[k * nr + j] = column[j * matrix.row_stride];
    }
  } else {
    for (int64_t j = 0; j < count; ++j) {
      const Centre centre = form == Form::kCentred ? centres[j] : Centre();
      PackRow(matrix.row(begin + j), form, centre, first, terms, nr, panel + j);
    }
  }
  ClearLanes(count, terms, nr, panel);
}

LeadingAxes LeadingAxesOf(const TensorView& x, const TensorView& y, int inner,
                          const TensorView& out, int out_inner) {
  const int leading = out.rank - out_inner;
  // 0 along axes that a view lacks or has with length 1.
  const auto stride = [&](const TensorView& view, int axis) {
    const int own = axis - leading + (view.rank - inner);
    return own >= 0 && view.shape[own] != 1 ? view.strides[own] : 0;
  };
  LeadingAxes axes;
  for (int axis = 0; axis < leading; ++axis) {
    axes.Append(out.shape[axis], {stride(x, axis), stride(y, axis), out.strides[axis]});
  }
  return axes;
}

#define LANEWISE_INSTANTIATE(T)                                                             \
  template double LargestOf(const Row<T>&, int64_t);                                        \
  template Centre CentreOf(const Row<T>&, int64_t);                                         \
  template void PackRow(const Row<T>&, Form, const Centre&, int64_t, int64_t, int64_t, T*); \
  template void PackPanel(const DistanceKernels<T>&, const Matrix<T>&, Form, const Centre*, \
                          int64_t, int64_t, int64_t, int64_t, int64_t, T*);
LANEWISE_INSTANTIATE(float)
LANEWISE_INSTANTIATE(double)
#undef LANEWISE_INSTANTIATE

}  // namespace lanewise::distance
