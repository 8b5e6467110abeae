// Gradients of distances of pairs of rows where no operand was broadcast: sums of one term.
#ifndef LANEWISE_OPS_DISTANCE_PAIR_GRADIENTS_H_
#define LANEWISE_OPS_DISTANCE_PAIR_GRADIENTS_H_

#include "lanewise/tensor.h"
#include "ops/distance/slope.h"

namespace lanewise::distance {

struct BackwardArguments {
  const TensorView &grad, &x, &y, &d, &dx, &dy;
};

// dx and dy have the bits that the sums of gradient.h have. x and y have one shape, and the recipe
// needs no sums.
template <class T>
void RunPairs(const SlopeRecipe& recipe, const BackwardArguments& arguments);

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_PAIR_GRADIENTS_H_
