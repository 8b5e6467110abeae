/// @file
/// Distances between rows: of all pairs of two arrays, or of their pairs in turn.
#ifndef LANEWISE_DISTANCE_H_
#define LANEWISE_DISTANCE_H_

#include "lanewise/error.h"
#include "lanewise/tensor.h"

namespace lanewise {

/// d(x, y), the sums running over the d coordinates of two rows, with scipy.spatial.distance's
/// definitions. A NaN among the coordinates makes the distance NaN, except where said otherwise.
enum class Metric : uint8_t {
  kEuclidean,    ///< sqrt(Σ (x-y)²)
  kSqEuclidean,  ///< Σ (x-y)²
  kManhattan,    ///< Σ |x-y|
  kChebyshev,    ///< max |x-y|
  kMinkowski,    ///< (Σ |x-y|^p)^(1/p) for p > 0; p = 0 counts the coordinates that differ
  kCosine,       ///< 1 - Σ x·y / (|x| |y|), NaN for a zero row
  kCorrelation,  ///< the cosine distance of x - mean(x) and y - mean(y), NaN for a constant row
  kHamming,      ///< Σ [x ≠ y] / d, NaN for d = 0; a NaN differs from everything
  kCanberra,     ///< Σ |x-y| / (|x|+|y|), terms 0/0 being 0
  kBrayCurtis,   ///< Σ |x-y| / Σ |x+y|, NaN for 0/0
  kJaccard,  ///< of the coordinates nonzero in x or y (NaN is), the share nonzero in only one of
             ///< them; 0 where there are none
  kDot,      ///< Σ x·y (a similarity)
};

/// Which distance. A Metric converts to it, with p = 2.
struct DistanceOptions {
  Metric metric;  ///< the formula
  double p;  ///< of kMinkowski: at least 0, may be infinite; 1, 2 and inf are manhattan, euclidean
             ///< and chebyshev, with the same bits

  /// A metric, and the power that kMinkowski has.
  DistanceOptions(Metric metric_ = Metric::kEuclidean, double p_ = 2) : metric(metric_), p(p_) {}
};

/// (…, m, d) and (…, n, d) give (…, m, n), the leading axes broadcast together.
///
/// @throws std::invalid_argument for fewer than two axes, unequal d, or leading axes that do not
///     broadcast.
Shape PairwiseDistancesShape(const Shape& x, const Shape& y);

/// out[…, i, j] = d(x[…, i, :], y[…, j, :]).
///
/// Element types: out is float16, bfloat16, float32 or float64; x and y are of any types that
/// convert to it exactly (64-bit integers to float64 count as such), and are read as they are. The
/// first three are computed in float32 and rounded once; powers above 4 (kMinkowski) in float64.
///
/// Preconditions: out has PairwiseDistancesShape and its elements do not overlap.
///
/// Aliasing: out overlaps neither x nor y; these may be the same memory, and then the matrix is
/// bitwise symmetric, with a zero diagonal wherever d(x, x) is defined. Where they are the same
/// view (data, type, shape and strides), half of a large matrix is computed and mirrored, with the
/// same bits.
///
/// Accuracy: differences are formed before they are squared or summed, so nothing cancels, and sums
/// run in blocks of 64 terms: the relative error of a euclidean distance is below
/// ((64 + d/64)/4 + 2)·eps, of a minkowski distance ((73 + d/64)/p + 10)·eps/2. Sums that leave the
/// range in which such bounds hold are computed again, scaled or in float64: euclidean, cosine,
/// minkowski, canberra and braycurtis distances are right at both ends of the exponent range.
/// Correlation centres rows in float64, from the first coordinate on.
///
/// The result does not depend on the strides, the number of threads, or the other rows.
///
/// Allocation: scratch of at most 2·max(L2, L3 / threads) and 32 MB per thread, kept for the
/// calling thread's next call. Thread-safe.
///
/// @throws std::invalid_argument for shapes or a p that it cannot take, before anything is written
/// @throws DTypeError for element types that do not go together, likewise
void PairwiseDistances(const TensorView& x, const TensorView& y, const DistanceOptions& options,
                       const TensorView& out);

/// (…, d) and (…, d) give (…), all leading axes broadcast together.
///
/// @throws std::invalid_argument for fewer than one axis, unequal d, or leading axes that do not
///     broadcast.
Shape PairedDistancesShape(const Shape& x, const Shape& y);

/// out[…] = d(x[…, :], y[…, :]), with the bits that PairwiseDistances has for these rows; all that
/// is said there holds, but for scratch, which is about the size of L1 per thread.
void PairedDistances(const TensorView& x, const TensorView& y, const DistanceOptions& options,
                     const TensorView& out);

/// dx = Σ_j grad[…, i, j]·∂d(x[…, i, :], y[…, j, :])/∂x, and dy likewise, for d = the distances
/// that PairwiseDistances gave for x, y and options. The gradient of an operand that was broadcast
/// is summed over the axes along which it was.
///
/// With t = x-y and g = grad, the terms of dx are (dy's are those with x and y exchanged):
///
///   - kEuclidean g·t/d, kSqEuclidean 2·g·t, kManhattan g·sign(t), kDot g·y
///   - kChebyshev g·sign(t) where |t| = d, for each coordinate that has it
///   - kMinkowski g·sign(t)·(|t|/d)^(p-1), 0 where t = 0
///   - kCosine g·(t' - d·x')/|x| of x' = x/|x|, t' = x/|x| - y/|y|; kCorrelation the same, of rows
///     less their means
///   - kCanberra g·sign(t)·(1 + sign(x)·sign(y))·|y|/(|x|+|y|)²
///   - kBrayCurtis g·(sign(t) - d·sign(x+y))/Σ|x+y|
///
/// sign(0) is 0, and so is every term of rows with d = 0 of which kEuclidean, kChebyshev or
/// kMinkowski has no gradient. NaN and infinity are what these formulas make of them.
///
/// Element types: dx and dy are of one floating-point type, to which x, y, grad and d convert
/// exactly; the first three types are computed in float32 (kMinkowski of p < 1 in float64) and
/// rounded once.
///
/// Preconditions: grad and d have PairwiseDistancesShape, dx and dy the shapes of x and y; elements
/// of dx do not overlap, nor those of dy.
///
/// Aliasing: dx and dy overlap neither each other nor another argument.
///
/// Accuracy: differences are formed first, and sums run in blocks of 64 terms in the order of the
/// axes: a euclidean gradient is off by (64 + terms/64 + 3)·eps/2 of Σ|g||t|/d at most, as far as d
/// is exact. Coefficients that leave the exponent range are computed in float64, one by one.
///
/// The result does not depend on the strides, the number of threads, or the other rows.
///
/// Allocation: scratch of about 1 MB per thread (4 MB for kBrayCurtis and kChebyshev), kept for the
/// calling thread's next call. Thread-safe.
///
/// @throws std::invalid_argument for shapes or a p that it cannot take, and for kHamming, kJaccard
///     and a p of 0, which are constant but for steps, before anything is written
/// @throws DTypeError for element types that do not go together, likewise
void PairwiseDistancesBackward(const TensorView& grad, const TensorView& x, const TensorView& y,
                               const TensorView& d, const DistanceOptions& options,
                               const TensorView& dx, const TensorView& dy);

/// The same for PairedDistances, whose shape grad and d have.
void PairedDistancesBackward(const TensorView& grad, const TensorView& x, const TensorView& y,
                             const TensorView& d, const DistanceOptions& options,
                             const TensorView& dx, const TensorView& dy);

}  // namespace lanewise

#endif  // LANEWISE_DISTANCE_H_
