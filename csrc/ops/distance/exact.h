// One distance at a time, where the kernels' sums would under- or overflow.
#ifndef LANEWISE_OPS_DISTANCE_EXACT_H_
#define LANEWISE_OPS_DISTANCE_EXACT_H_

#include "ops/distance/metric.h"
#include "ops/distance/rows.h"

namespace lanewise::distance {

// The distance of two rows of d coordinates by a recipe whose finish can doubt a total and whose
// form is kAsIs. float32 is computed in float64, whose range holds every square; float64 is scaled
// by a power of two that brings the largest difference (or coordinate) near 1.
template <class T>
T ExactDistance(const Recipe& recipe, const Row<T>& x, const Row<T>& y, int64_t d);

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_EXACT_H_
