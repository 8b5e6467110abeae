#include "ops/distance/filter.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

namespace lanewise::distance {
namespace {

constexpr int32_t kLargestNorm = 1 << 29;  // |q|²
// Beyond all that start + q(x)·q(y) can be: a row with this limit, or this start, never survives.
constexpr int32_t kNever = 1 << 30;

// Rows of y that centre and scale are chosen from.
constexpr int64_t kSample = 64;

constexpr int64_t kMostCoordinates = 1 << 16;

}  // namespace

// The relative error of a squared distance is below (64 + d/64 + 3)·eps/2 (lanewise/distance.h),
// and that of its root half of this; twice as much is allowed for here. Terms that underflow add
// at most d times the smallest normal number to a square, and the roots of such sums are computed
// again, with one rounding that may underflow.
template <class T>
double FarthestBelow(T threshold, bool squared, int64_t d) {
  using Limits = std::numeric_limits<T>;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (!(threshold < Limits::max()) || d > kMostCoordinates) return kInfinity;
  const double share = (72 + double(d) / 64) * double(Limits::epsilon());
  const double smallest = double(Limits::min());
  if (!squared) return (double(threshold) + smallest) / (1 - share);
  return std::sqrt((double(threshold) + double(d) * smallest) / (1 - share)) * (1 + 1e-15);
}

template <class T>
template <class F>
void Filter<T>::ForEachPiece(const DistanceFilterKernels& kernels, int64_t d, int64_t x_rows,
                             int64_t y_rows, const F& f) {
  const int64_t mr = static_cast<int64_t>(kernels.mr), nr = static_cast<int64_t>(kernels.nr);
  const int64_t x = RoundUp(x_rows, mr), y = RoundUp(y_rows, nr), pairs = CeilDiv(d, 2);
  f(&Filter::centre_, d);
  f(&Filter::row_, d);
  f(&Filter::quantised_, std::max(mr, nr) * pairs);
  f(&Filter::x_tiles_, x * pairs);
  f(&Filter::y_panels_, y * pairs);
  f(&Filter::x_norms_, x);
  f(&Filter::x_residuals_, x);
  f(&Filter::least_, x);
  f(&Filter::start_, y);
  f(&Filter::outliers_, y);
}

template <class T>
Filter<T>::Filter(const DistanceFilterKernels& kernels, int64_t d, int64_t x_rows, int64_t y_rows,
                  Scratch& scratch)
    : kernels_(kernels), d_(d), pairs_(CeilDiv(d, 2)) {
  ForEachPiece(kernels, d, x_rows, y_rows,
               [&](auto piece, int64_t count) { scratch.TakeFor(this, piece, count); });
}

template <class T>
size_t Filter<T>::ScratchBytes(const DistanceFilterKernels& kernels, int64_t d, int64_t x_rows,
                               int64_t y_rows) {
  size_t bytes = 0;
  ForEachPiece(kernels, d, x_rows, y_rows,
               [&](auto piece, int64_t count) { bytes += Scratch::BytesFor(piece, count); });
  return bytes;
}

// |row - c|
template <class T>
double Filter<T>::Norm(const T* row) const {
  double sums[4] = {};
  for (int64_t k = 0; k < d_; ++k) {
    const double difference = double(row[k]) - double(centre_[k]);
    sums[k % 4] += difference * difference;
  }
  return std::sqrt((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// The scale is the largest that leaves room for the sample's norms and half as much again, but for
// a few that stand out, and for x as far as that is not much farther from c.
template <class T>
void Filter<T>::ChooseFrame(const Matrix<T>& y, int64_t n, const Matrix<T>& x, int64_t begin,
                            int64_t end) {
  const int64_t sample = std::min(n, kSample);
  const auto sampled = [&](int64_t i) { return Line(y.row(i * n / sample)); };
  double norms[kSample], sorted[kSample];
  int64_t count = 0;
  const auto measure = [&] {
    count = 0;
    for (int64_t i = 0; i < sample; ++i) {
      norms[i] = Norm(sampled(i));
      if (std::isfinite(norms[i])) sorted[count++] = norms[i];
    }
    std::sort(sorted, sorted + count);
  };
  scale_ = 0;
  std::fill_n(centre_, d_, T(0));
  measure();
  // Twice the mean of the rows that do not stand out from the mean before: one row of 1000 times
  // the norm of others would move it far from these.
  for (int pass = 0; pass < 2 && count > 0; ++pass) {
    const double most = 4 * sorted[count / 2];
    std::fill_n(centre_, d_, T(0));
    T used = 0;
    for (int64_t i = 0; i < sample; ++i) {
      if (!std::isfinite(norms[i]) || norms[i] > most) continue;
      const T* row = sampled(i);
      used += 1;
      for (int64_t k = 0; k < d_; ++k) centre_[k] += (row[k] - centre_[k]) / used;
    }
    measure();
  }
  if (count == 0) return;
  double largest = std::min(1.5 * sorted[count - 1], 4 * sorted[count - 1 - count / 16]);
  const double most = largest == 0 ? std::numeric_limits<double>::infinity() : 8 * largest;
  for (int64_t i = begin; i < end; ++i) {
    const double norm = Norm(Line(x.row(i)));
    if (norm <= most && std::isfinite(norm)) largest = std::max(largest, norm * (1 + 1e-3));
  }
  const int limit = std::numeric_limits<T>::max_exponent - 28;
  const int exponent =
      largest == 0 ? 0 : static_cast<int>(std::floor(0.5 * 29 - std::log2(largest)));
  scale_ = static_cast<T>(std::ldexp(1.0, std::clamp(exponent, -limit, limit)));
}

template <class T>
typename Filter<T>::Quantised Filter<T>::Quantise(const Row<T>& row, int32_t* to) {
  to[pairs_ - 1] = 0;  // half of it is not written where d is odd
  int16_t* const q = reinterpret_cast<int16_t*>(to);
  QuantisedSums<T> sums;
  if constexpr (std::is_same_v<T, float>) {
    sums = kernels_.quantise_f32(Line(row), centre_, d_, scale_, q);
  } else {
    sums = kernels_.quantise_f64(Line(row), centre_, d_, scale_, q);
  }
  Quantised result;
  // The norm is modulo 2^32, and so right if the rounded sum says that it is small. The other
  // condition fails for clipped coordinates, infinities and NaNs.
  result.good = sums.squares < T(1.1) * kLargestNorm && sums.residuals < T(d_ + 1) &&
                sums.norm <= kLargestNorm;
  if (!result.good) {
    std::fill_n(to, pairs_, 0);
    return result;
  }
  constexpr double kEps = std::numeric_limits<T>::epsilon();
  const double residual = std::sqrt(double(sums.residuals));
  result.norm = sums.norm;
  result.residual = residual * (1 + double(d_ + 8) * kEps) +
                    2 * kEps * (std::sqrt(double(sums.norm)) + residual) + 1.0 / (1 << 20);
  return result;
}

template <class T>
template <class F>
void Filter<T>::Pack(const Matrix<T>& matrix, int64_t begin, int64_t end, int64_t lanes,
                     int32_t* tiles, const F& f) {
  for (int64_t first = begin; first < end; first += lanes, tiles += pairs_ * lanes) {
    const int64_t count = std::min(lanes, end - first);
    for (int64_t i = 0; i < count; ++i) {
      f(first - begin + i, Quantise(matrix.row(first + i), quantised_ + i * pairs_));
    }
    std::fill(quantised_ + count * pairs_, quantised_ + lanes * pairs_, 0);
    kernels_.transpose(quantised_, pairs_, lanes, pairs_, tiles, lanes);
  }
}

template <class T>
bool Filter<T>::SetX(const Matrix<T>& y, int64_t n, const Matrix<T>& x, int64_t begin,
                     int64_t end) {
  ChooseFrame(y, n, x, begin, end);
  if (scale_ == 0 || d_ > kMostCoordinates) return false;
  x_count_ = end - begin;
  const int64_t mr = static_cast<int64_t>(kernels_.mr);
  Pack(x, begin, end, mr, x_tiles_, [&](int64_t i, const Quantised& row) {
    x_norms_[i] = row.good ? row.norm : -1;
    x_residuals_[i] = row.residual;
  });
  std::fill(least_, least_ + RoundUp(x_count_, mr), kNever);
  return true;
}

template <class T>
void Filter<T>::SetY(const Matrix<T>& y, int64_t begin, int64_t end) {
  y_begin_ = begin;
  y_count_ = end - begin;
  y_residual_ = 0;
  outlier_count_ = 0;
  const int64_t nr = static_cast<int64_t>(kernels_.nr);
  std::fill(start_ + y_count_, start_ + RoundUp(y_count_, nr), -kNever);
  Pack(y, begin, end, nr, y_panels_, [&](int64_t j, const Quantised& row) {
    start_[j] = row.good ? -(row.norm / 2) : -kNever;
    y_residual_ = std::max(y_residual_, row.residual);
    if (!row.good) outliers_[outlier_count_++] = begin + j;
  });
}

template <class T>
void Filter<T>::SetLimit(int64_t i, double distance) {
  const double reach = (distance * double(scale_) + x_residuals_[i] + y_residual_) * (1 + 1e-14);
  const double least = std::floor(0.5 * (double(x_norms_[i]) - reach * reach));
  // Written so that NaN, which the reach may be, has no limit.
  least_[i] =
      least > 1 - kNever ? static_cast<int32_t>(std::min<double>(least, kNever)) : 1 - kNever;
}

template double FarthestBelow(float, bool, int64_t);
template double FarthestBelow(double, bool, int64_t);
template class Filter<float>;
template class Filter<double>;

}  // namespace lanewise::distance
