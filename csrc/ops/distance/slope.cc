#include "ops/distance/slope.h"

#include <cmath>

#include "ops/distance/metric.h"
#include "runtime/error.h"

namespace lanewise::distance {
namespace {

// Up to here multiples of 1/2 are computed as products, as the forward's powers are.
constexpr double kLargestProduct = 64;

SlopeRecipe Minkowski(const char* op, double p, bool distances_were_rounded) {
  const auto same_as = [&](Metric metric) { return SlopeOf(op, metric, distances_were_rounded); };
  if (p == 1) return same_as(Metric::kManhattan);
  if (p == 2) return same_as(Metric::kEuclidean);
  if (std::isinf(p)) return same_as(Metric::kChebyshev);
  const double power = p - 1;
  const bool product = power > 0 && power <= kLargestProduct && 2 * power == std::floor(2 * power);
  SlopeRecipe recipe{product ? Slope::kHalvesPower : Slope::kPower, Coefficient::kInverse};
  recipe.second = true;
  // Negative powers grow where |x - y| / d shrinks, down to where float32 has no such share.
  recipe.in_double = power < 0;
  recipe.p = power;
  recipe.term_ns = product ? 0.3 : 3;
  return recipe;
}

[[noreturn]] void FailConstant(const char* op, const char* metric) {
  Fail(op, ": ", metric, " is piecewise constant: its gradient is 0 or does not exist");
}

double Sign(double t) { return t > 0 ? 1 : t < 0 ? -1 : t; }  // NaN of NaN

}  // namespace

SlopeRecipe SlopeOf(const char* op, const DistanceOptions& options, bool distances_were_rounded) {
  RecipeOf(op, options);  // checks p
  switch (options.metric) {
    case Metric::kEuclidean:
      return {Slope::kDifference, Coefficient::kQuotient};
    case Metric::kSqEuclidean: {
      SlopeRecipe recipe{Slope::kDifference, Coefficient::kGiven};
      recipe.factor = 2;
      return recipe;
    }
    case Metric::kManhattan:
      return {Slope::kSign, Coefficient::kLargest};
    case Metric::kChebyshev: {
      SlopeRecipe recipe{Slope::kLargest, Coefficient::kLargest, true};
      if (distances_were_rounded) recipe.sums = PairSum::kLargest;
      return recipe;
    }
    case Metric::kMinkowski:
      if (options.p == 0) FailConstant(op, "metric 'minkowski' with p = 0");
      return Minkowski(op, options.p, distances_were_rounded);
    case Metric::kCosine:
      return {Slope::kDifference, Coefficient::kGiven, true, PairSum::kNone, true};
    case Metric::kCorrelation:
      return {Slope::kDifference, Coefficient::kGiven, true, PairSum::kNone, true, true};
    case Metric::kHamming:
      FailConstant(op, "metric 'hamming'");
    case Metric::kCanberra: {
      SlopeRecipe recipe{Slope::kShare, Coefficient::kGiven};
      recipe.term_ns = 0.5;
      return recipe;
    }
    case Metric::kBrayCurtis:
      return {Slope::kTwoSigns, Coefficient::kShares, true, PairSum::kSizes};
    case Metric::kJaccard:
      FailConstant(op, "metric 'jaccard'");
    case Metric::kDot:
      return {Slope::kProduct, Coefficient::kGiven};
  }
  Fail(op, ": unknown metric ", static_cast<int>(options.metric));
}

double ExactSlope(const SlopeRecipe& recipe, double x, double y, double g, double d, double size) {
  const double t = x - y;
  if (d == 0) return 0;
  switch (recipe.coefficient) {
    case Coefficient::kLargest: {
      const bool counts = recipe.slope == Slope::kSign || std::isnan(t) || std::abs(t) == d;
      return counts ? g * Sign(t) : 0;
    }
    case Coefficient::kQuotient:
      return g * (t / d);
    case Coefficient::kInverse:
      if (std::isnan(d)) return d;
      return t == 0 ? 0 : g * (Sign(t) * std::pow(std::abs(t) / d, recipe.p));
    default:
      return g * ((Sign(t) - d * Sign(x + y)) / size);
  }
}

template <class T>
double SizeOf(const Row<T>& x, const Row<T>& y, int64_t d) {
  double size = 0;
  for (int64_t k = 0; k < d; ++k) {
    T a, b;
    (x.source + k * x.stride).Read(1, 1, &a);
    (y.source + k * y.stride).Read(1, 1, &b);
    size += std::abs(double(a) + double(b));
  }
  return size;
}

template <class T>
Unit UnitOf(const Row<T>& row, int64_t d, bool centred) {
  Unit unit;
  if (centred) {
    unit.centre = CentreOf(row, d);
  } else {
    unit.centre.scale = ScaleFor(LargestOf(row, d));
  }
  const Centre centre = unit.centre;
  double total = 0;
  row.ForEachChunk(0, d, [&](const T* chunk, int64_t n) {
    double sums[8] = {};  // independent, which the compiler keeps in vectors
    const auto square = [&](T value) {
      const double coordinate = (value * centre.scale - centre.pivot) - centre.mean;
      return coordinate * coordinate;
    };
    int64_t k = 0;
    for (; k + 8 <= n; k += 8) {
      for (int64_t s = 0; s < 8; ++s) sums[s] += square(chunk[k + s]);
    }
    for (; k < n; ++k) sums[0] += square(chunk[k]);
    total +=
        ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  });
  unit.inverse = 1 / std::sqrt(total);
  return unit;
}

#define LANEWISE_INSTANTIATE(T)                                  \
  template double SizeOf(const Row<T>&, const Row<T>&, int64_t); \
  template Unit UnitOf(const Row<T>&, int64_t, bool);
LANEWISE_INSTANTIATE(float)
LANEWISE_INSTANTIATE(double)
#undef LANEWISE_INSTANTIATE

}  // namespace lanewise::distance
