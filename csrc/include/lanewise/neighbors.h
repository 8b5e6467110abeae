/// @file
/// Searches for the nearest rows by the distances of PairwiseDistances, whose matrix is never kept.
#ifndef LANEWISE_NEIGHBORS_H_
#define LANEWISE_NEIGHBORS_H_

#include <functional>
#include <utility>

#include "lanewise/distance.h"
#include "lanewise/error.h"
#include "lanewise/tensor.h"

namespace lanewise {

/// Which distance, and who is told how far a search is.
struct NeighborOptions {
  DistanceOptions distance;  ///< any but kDot, which is a similarity
  /// Called from the calling thread with the share done, about ten times a second at most: in
  /// ascending order, above 0, and at the end 1, once. What it throws ends the search and is thrown
  /// from there; the outputs then hold anything.
  std::function<void(double)> progress;

  /// A metric, and somebody to tell.
  NeighborOptions(DistanceOptions distance_ = {}, std::function<void(double)> progress_ = {})
      : distance(distance_), progress(std::move(progress_)) {}
  /// The same without p.
  NeighborOptions(Metric metric) : distance(metric) {}
};

/// (…, m, d), (…, n, d) and k give (…, m, k), the leading axes broadcast together.
///
/// @throws std::invalid_argument unless 1 <= k <= n, and as PairwiseDistancesShape does.
Shape NearestNeighborsShape(const Shape& x, const Shape& y, int64_t k);

/// Of each row of x, the k nearest rows of y: indices[…, i, :] are the first k of a stable argsort
/// of the PairwiseDistances of x[…, i, :], and distances[…, i, :] these distances, bit for bit.
/// That order is total: NaN comes last, equal distances (and NaN) by index. Distances are compared
/// as `distances` holds them, rounded to its type.
///
/// Element types: `distances`, x and y as for PairwiseDistances; `indices` int64.
///
/// Preconditions: both outputs have NearestNeighborsShape, and their elements do not overlap.
///
/// Aliasing: the outputs overlap neither each other nor x nor y; these may be the same memory.
///
/// The result does not depend on the strides, the number of threads, or the other rows of x; nor on
/// which of the distances are ruled out without being computed, as many euclidean ones are.
///
/// Allocation: what PairwiseDistances allocates, and 4 MB per thread for candidates; for few rows
/// of x and many of y another 4 MB, and for euclidean distances L2 + 2 MB per thread. It does not
/// grow with m, n or k. Thread-safe.
///
/// @throws std::invalid_argument for shapes, a k, a metric or a p that it cannot take, before
///     anything is written
/// @throws DTypeError for element types that do not go together, likewise
void NearestNeighbors(const TensorView& x, const TensorView& y, int64_t k,
                      const NeighborOptions& options, const TensorView& distances,
                      const TensorView& indices);

/// (…, m, d) and (…, n, d) give (…, m), the leading axes broadcast together.
///
/// @throws std::invalid_argument for n = 0, and as PairwiseDistancesShape does.
Shape PairwiseArgminShape(const Shape& x, const Shape& y);

/// NearestNeighbors for k = 1, without the last axis; all that is said there holds.
void PairwiseArgmin(const TensorView& x, const TensorView& y, const NeighborOptions& options,
                    const TensorView& distances, const TensorView& indices);

/// Where RadiusNeighbors puts its `count` neighbours: (count) each, not overlapping.
struct NeighborViews {
  TensorView distances;  ///< of the type that was asked for
  TensorView indices;    ///< int64
};

/// Of each row of x (m, d), all rows of y (n, d) at a distance of at most `radius`: row i has
/// elements indptr[i] to indptr[i + 1] of both arrays, in the order of the indices. Distances have
/// the bits of PairwiseDistances for the element type `dtype`, and are compared as such; NaN is
/// never within, while a radius of infinity has all the others.
///
/// @param indptr (m + 1) of int64
/// @param allocate called once, from the calling thread, when it is known how many neighbours there
///     are; what it throws is thrown on
///
/// Element types, aliasing: as for NearestNeighbors.
///
/// Preconditions: x and y have two axes each. Where progress or allocate throws, indptr holds
/// anything.
///
/// The result does not depend on the strides, the number of threads, or the other rows of x.
///
/// Allocation: what PairwiseDistances allocates, and 8 bytes (16 if distances are computed in
/// float64) for each neighbour and for at most as many runs of neighbours, until they are in place.
/// Thread-safe.
///
/// @throws std::invalid_argument for a radius that is negative or NaN, and for shapes, a metric or
///     a p that it cannot take, before anything is written
/// @throws DTypeError for element types that do not go together, likewise
void RadiusNeighbors(const TensorView& x, const TensorView& y, double radius,
                     const NeighborOptions& options, DType dtype, const TensorView& indptr,
                     const std::function<NeighborViews(int64_t count)>& allocate);

}  // namespace lanewise

#endif  // LANEWISE_NEIGHBORS_H_
