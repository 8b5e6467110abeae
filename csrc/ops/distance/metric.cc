#include "ops/distance/metric.h"

#include <algorithm>
#include <cmath>

#include "runtime/error.h"

namespace lanewise::distance {
namespace {

// Products of p factors are quicker than a general power, and their error, (p - 1)·eps/2, leaves
// less than one eps/2 in the p-th root. Beyond this powers leave the exponent range for any data
// that spans two orders of magnitude.
constexpr double kMostFactors = 64;

Recipe Minkowski(const char* op, double p) {
  if (!(p >= 0)) Fail(op, ": p is ", p, ", expected at least 0");
  if (p == 0) return {Term::kDiffers, Finish::kCopy};
  if (p == 1) return RecipeOf(op, Metric::kManhattan);
  if (p == 2) return RecipeOf(op, Metric::kEuclidean);
  if (std::isinf(p)) return RecipeOf(op, Metric::kChebyshev);
  const bool integer = p <= kMostFactors && p == std::floor(p);
  Recipe recipe{integer ? Term::kIntegerPower : Term::kPower, Finish::kRoot};
  recipe.in_double = true;
  recipe.p = std::max(p, 0x1p-1021);  // 1/p is finite
  recipe.term_ns = integer ? 0.4 : 3;
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

}  // namespace lanewise::distance
