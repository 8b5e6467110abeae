// What each metric sums, and how its sums become distances.
#ifndef LANEWISE_OPS_DISTANCE_METRIC_H_
#define LANEWISE_OPS_DISTANCE_METRIC_H_

#include <optional>

#include "kernels/kernels.h"
#include "lanewise/distance.h"

namespace lanewise::distance {

// How the coordinates of a row are seen by the terms.
enum class Form : uint8_t {
  kAsIs,
  kTruth,    // 1 for nonzero, NaN included, and 0
  kCentred,  // less their mean, and scaled by a power of two
};

struct Recipe {
  Term term;
  Finish finish;
  std::optional<Term> norms{};   // summed over each row paired with itself
  std::optional<Term> second{};  // a second total over the same two rows
  Form form = Form::kAsIs;
  bool in_double = false;  // also where the results are float32
  double p = 0;            // of powers and their roots
  double term_ns = 0.04;   // about 25 multiply-adds per ns; others as measured on Zen 3
};

// Throws std::invalid_argument, in the name of `op`, for a p that no minkowski distance has.
Recipe RecipeOf(const char* op, const DistanceOptions& options);

// Also for dot, which is a similarity: nothing is nearest by it.
Recipe DistanceRecipeOf(const char* op, const DistanceOptions& options);

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_METRIC_H_
