#include "ops/distance/metric.h"

#include <algorithm>
#include <cmath>

#include "runtime/error.h"

namespace lanewise::distance {
namespace {

// Up to here multiples of 1/2 are computed as products, which are quicker than a general power and
// as accurate. Beyond, powers leave the exponent range for data that spans a few orders of
// magnitude.
constexpr double kLargestProduct = 64;

// Up to here float32 has room for the powers of differences from 1e-7 to 1e9; larger powers are
// summed in float64, rather than one distance after the other computed again.
constexpr double kLargestInFloat32 = 4;

Recipe Minkowski(const char* op, double p) {
  if (!(p >= 0)) Fail(op, ": p is ", p, ", expected at least 0");
  if (p == 0) return {Term::kDiffers, Finish::kCopy};
  if (p == 1) return RecipeOf(op, Metric::kManhattan);
  if (p == 2) return RecipeOf(op, Metric::kEuclidean);
  if (std::isinf(p)) return RecipeOf(op, Metric::kChebyshev);
  const bool product = p <= kLargestProduct && 2 * p == std::floor(2 * p);
  Recipe recipe{product ? Term::kHalvesPower : Term::kPower, Finish::kRoot};
  recipe.in_double = p > kLargestInFloat32;
  recipe.p = std::max(p, 0x1p-100);  // 1/p is finite, also in float32
  recipe.term_ns = product ? 0.3 : 3;
  return recipe;
}

}  // namespace

Recipe RecipeOf(const char* op, const DistanceOptions& options) {
  switch (options.metric) {
    case Metric::kEuclidean:
      return {Term::kSquare, Finish::kSqrt};
    case Metric::kSqEuclidean:
      return {Term::kSquare, Finish::kCopy};
    case Metric::kManhattan:
      return {Term::kAbs, Finish::kCopy};
    case Metric::kChebyshev:
      return {Term::kMax, Finish::kCopy};
    case Metric::kMinkowski:
      return Minkowski(op, options.p);
    case Metric::kCosine:
      return {Term::kProduct, Finish::kCosine, Term::kProduct};
    case Metric::kCorrelation:
      return {Term::kProduct, Finish::kCosine, Term::kProduct, {}, Form::kCentred};
    case Metric::kHamming:
      return {Term::kDiffers, Finish::kMean};
    case Metric::kCanberra: {
      // Σ |x+x| that does not overflow says that no |x| + |y| has.
      Recipe recipe{Term::kShare, Finish::kCopySafe, Term::kAbsSum};
      recipe.term_ns = 0.3;
      return recipe;
    }
    case Metric::kBrayCurtis:
      return {Term::kAbs, Finish::kQuotient, {}, Term::kAbsSum};
    case Metric::kJaccard:
      return {Term::kProduct, Finish::kJaccard, Term::kProduct, {}, Form::kTruth};
    case Metric::kDot:
      return {Term::kProduct, Finish::kCopy};
  }
  Fail(op, ": unknown metric ", static_cast<int>(options.metric));
}

Recipe DistanceRecipeOf(const char* op, const DistanceOptions& options) {
  if (options.metric == Metric::kDot) {
    Fail(op, ": metric is 'dot', a similarity, expected a distance");
  }
  return RecipeOf(op, options);
}

}  // namespace lanewise::distance
