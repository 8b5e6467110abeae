// What each metric's gradient sums.
#ifndef LANEWISE_OPS_DISTANCE_SLOPE_H_
#define LANEWISE_OPS_DISTANCE_SLOPE_H_

#include "kernels/kernels.h"
#include "lanewise/distance.h"
#include "ops/distance/rows.h"

namespace lanewise::distance {

// A total over the coordinates of two rows that coefficients come from, beside their distance.
enum class PairSum : uint8_t { kNone, kSizes, kLargest };

// The gradient by a row x is factor · Σ slope over rows y; of unit rows, which are x / |x| and
// y / |y|, it is (Σ slope - x/|x| · Σ g·d) / |x|.
struct SlopeRecipe {
  Slope slope;
  Coefficient coefficient;
  bool second = false;  // whether there is a coefficient s
  PairSum sums = PairSum::kNone;
  bool unit = false;       // rows are divided by their lengths,
  bool centred = false;    // after their means were taken off
  bool in_double = false;  // also where the results are float32
  double p = 0;            // of powers
  double factor = 1;
  double term_ns = 0.05;

  // Whether coefficients depend on the distances.
  bool needs_distances() const { return unit || coefficient != Coefficient::kGiven; }
};

// Throws std::invalid_argument, in the name of `op`, for what RecipeOf refuses and for metrics that
// are constant but for steps. `distances_were_rounded` says that their type is not the one that is
// computed in, so that a largest difference is not equal to any coordinate's.
SlopeRecipe SlopeOf(const char* op, const DistanceOptions& options, bool distances_were_rounded);

// What coordinates x and y add to the gradient by x of their rows' distance d, times g: for the
// recipes whose coefficients may not be trusted. `size` is Σ |x + y|.
double ExactSlope(const SlopeRecipe& recipe, double x, double y, double g, double d, double size);

// Σ |x + y| in float64; infinite only where it is so there.
template <class T>
double SizeOf(const Row<T>& x, const Row<T>& y, int64_t d);

// How a row becomes one of length 1: (its coordinate in the form of `centre`)·inverse. NaN for a
// row of zeros, or, centred, a constant one.
struct Unit {
  Centre centre;
  double inverse = 1;

  template <class T>
  T Of(T coordinate) const {
    return static_cast<T>(((coordinate * centre.scale - centre.pivot) - centre.mean) * inverse);
  }
  // The gradient by a coordinate of the row, which is x in the unit row, from Σ slope and Σ g·d.
  template <class T>
  T Gradient(T slopes, T x, T products) const {
    const double across = double(slopes) - double(x) * double(products);
    return static_cast<T>(across * inverse * centre.scale);
  }
};

template <class T>
Unit UnitOf(const Row<T>& row, int64_t d, bool centred);

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_SLOPE_H_
