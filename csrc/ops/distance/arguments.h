// Shapes and element types that the distances take.
#ifndef LANEWISE_OPS_DISTANCE_ARGUMENTS_H_
#define LANEWISE_OPS_DISTANCE_ARGUMENTS_H_

#include <string_view>

#include "lanewise/distance.h"
#include "ops/distance/metric.h"
#include "runtime/dtype.h"

namespace lanewise::distance {

// The shape that the axes of x and y before the last `inner` broadcast to. Throws, in the name of
// `op`, where they do not, where x or y has fewer axes, or where their last axes differ.
Shape BroadcastLeadingAxes(const char* op, const Shape& x, const Shape& y, int inner);

// Throws unless out, called `name`, has `shape` and a floating-point type to which x and y convert
// exactly.
void CheckArguments(const char* op, const TensorView& x, const TensorView& y, const Shape& shape,
                    const TensorView& out, const char* name = "out");

// Throws unless `dtype`, of what is called `name`, is such a type.
void CheckOperands(const char* op, const TensorView& x, const TensorView& y, DType dtype,
                   const char* name);

// Throw unless what is called `name` has a floating-point type; unless `dtype`, which is `whose`,
// holds all values of what is called `name` exactly.
void CheckFloat(const char* op, const char* name, DType dtype);
void CheckHolds(const char* op, std::string_view whose, DType dtype, const char* name, DType from);

// f(T()) with the type T that a recipe's sums have for results of `dtype`.
template <class AnyRecipe, class F>
void DispatchSums(const AnyRecipe& recipe, DType dtype, const F& f) {
  if (recipe.in_double) return f(double());
  DispatchFloat(dtype, f);
}

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_ARGUMENTS_H_
