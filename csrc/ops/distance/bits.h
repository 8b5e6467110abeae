// Distances that are counts of true coordinates, which are packed as bits: 64 to a word.
#ifndef LANEWISE_OPS_DISTANCE_BITS_H_
#define LANEWISE_OPS_DISTANCE_BITS_H_

#include "lanewise/tensor.h"
#include "ops/distance/metric.h"

namespace lanewise::distance {

// Whether a recipe only asks whether coordinates of these types are true: all with Form::kTruth,
// and those that count where two bools differ.
bool CountsBits(const Recipe& recipe, DType x, DType y);

// The distances of all pairs of rows, and of pairs of rows in turn, by a recipe that CountsBits.
// The counts are exact, so the results are those of its terms as long as T has all integers up to
// 2·d.
void PairwiseBits(const TensorView& x, const TensorView& y, const Recipe& recipe,
                  const TensorView& out);
void PairedBits(const TensorView& x, const TensorView& y, const Recipe& recipe,
                const TensorView& out);

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_BITS_H_
