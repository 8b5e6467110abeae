// Distances between all pairs of rows of two arrays.
#ifndef LANEWISE_DISTANCE_H_
#define LANEWISE_DISTANCE_H_

#include "lanewise/error.h"
#include "lanewise/tensor.h"

namespace lanewise {

// d(x, y), the sums running over the coordinates of two rows:
enum class Metric : uint8_t {
  kEuclidean,    // sqrt(Σ (x-y)²)
  kSqEuclidean,  // Σ (x-y)²
  kManhattan,    // Σ |x-y|
  kChebyshev,    // max |x-y|
  kCosine,       // 1 - Σ x·y / (|x| |y|), NaN for a zero row
  kDot,          // Σ x·y (a similarity)
};

// (…, m, d) and (…, n, d) give (…, m, n), the leading axes broadcast together. Throws
// std::invalid_argument for fewer than two axes, unequal d, or leading axes that do not broadcast.
Shape PairwiseDistancesShape(const Shape& x, const Shape& y);

// out[…, i, j] = d(x[…, i, :], y[…, j, :]).
//
// x, y and out are all float32 or all float64; out has PairwiseDistancesShape and must not overlap
// x or y; x and y may be the same memory, and then the matrix is bitwise symmetric.
// Differences are formed before they are squared, so nothing cancels: the relative error of a
// euclidean distance is below ((64 + d/64)/4 + 2)·eps. Square sums that leave the range in which
// that holds are computed again, in float64 or scaled, for euclidean and cosine distances.
// The result does not depend on the strides, the number of threads, or the other rows.
// Allocates scratch of at most 2·max(L2, L3 / threads) and 32 MB per thread, kept for the calling
// thread's next call. Thread-safe.
void PairwiseDistances(const TensorView& x, const TensorView& y, Metric metric,
                       const TensorView& out);

}  // namespace lanewise

#endif  // LANEWISE_DISTANCE_H_
