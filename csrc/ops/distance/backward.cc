// Gradients of distances: one pass over their gradient for x, and one for y.
#include <algorithm>

#include "lanewise/distance.h"
#include "ops/distance/arguments.h"
#include "ops/distance/gradient.h"
#include "ops/distance/slope.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace distance {
namespace {

struct Operands {
  const TensorView &grad, &x, &y, &d, &dx, &dy;
};

// Of T, for what results of one type are computed in.
bool HoldRounded(const TensorView& d, const TensorView& dx) {
  return d.dtype != ComputeType(dx.dtype);
}

void CheckBackward(const char* op, const Operands& operands, const Shape& shape) {
  const auto& [grad, x, y, d, dx, dy] = operands;
  const auto check_shape = [&](const char* name, const TensorView& view) {
    if (view.sizes() == shape) return;
    Fail(op, ": ", name, " has shape ", ToString(view.sizes()), ", expected ", ToString(shape),
         ", that of the distances of x ", ToString(x.sizes()), " and y ", ToString(y.sizes()));
  };
  check_shape("grad", grad);
  check_shape("d", d);
  if (!IsFloat(dx.dtype)) {
    FailDType(op, ": dx has dtype ", ToString(dx.dtype), ", expected a floating-point type");
  }
  CheckView(op, "dx", dx, dx.dtype, x.sizes());
  CheckView(op, "dy", dy, dx.dtype, y.sizes());
  const auto check = [&](const char* name, DType dtype) {
    if (CanCast(dtype, dx.dtype)) return;
    FailDType(op, ": ", name, " has dtype ", ToString(dtype), ", which the gradients' dtype ",
              ToString(dx.dtype), " does not hold exactly");
  };
  check("x", x.dtype);
  check("y", y.dtype);
  check("grad", grad.dtype);
  check("d", d.dtype);
}

template <class T>
void RunBoth(const SlopeRecipe& recipe, const Walk& x_walk, const Walk& y_walk) {
  Gradient<T> x(recipe, x_walk), y(recipe, y_walk);
  const double total_ns = x.total_ns() + y.total_ns();
  x.Plan(total_ns);
  y.Plan(total_ns);
  // In one loop, so that all scratch is there before the first result is written.
  const Work work{x.tasks() + y.tasks(), total_ns, std::max(x.ScratchBytes(), y.ScratchBytes())};
  ParallelFor(work, [&](int64_t task, Scratch scratch) {
    if (task < x.tasks()) {
      x.Run(task, scratch);
    } else {
      y.Run(task - x.tasks(), scratch);
    }
  });
}

void Run(const SlopeRecipe& recipe, DType dtype, const Walk& x, const Walk& y) {
  if (recipe.in_double) return RunBoth<double>(recipe, x, y);
  DispatchFloat(dtype, [&](auto zero) { RunBoth<decltype(zero)>(recipe, x, y); });
}

}  // namespace
}  // namespace distance

void PairwiseDistancesBackward(const TensorView& grad, const TensorView& x, const TensorView& y,
                               const TensorView& d, const DistanceOptions& options,
                               const TensorView& dx, const TensorView& dy) {
  constexpr const char* kOp = "pairwise_distances_backward";
  const auto recipe = distance::SlopeOf(kOp, options, distance::HoldRounded(d, dx));
  Shape shape = distance::BroadcastLeadingAxes(kOp, x.sizes(), y.sizes(), 2);
  shape.push_back(x.shape[x.rank - 2]);
  shape.push_back(y.shape[y.rank - 2]);
  distance::CheckBackward(kOp, {grad, x, y, d, dx, dy}, shape);
  distance::Run(recipe, dx.dtype, distance::WalkPairwise(x, y, grad, d, dx, false),
                distance::WalkPairwise(y, x, grad, d, dy, true));
}

void PairedDistancesBackward(const TensorView& grad, const TensorView& x, const TensorView& y,
                             const TensorView& d, const DistanceOptions& options,
                             const TensorView& dx, const TensorView& dy) {
  constexpr const char* kOp = "paired_distances_backward";
  const auto recipe = distance::SlopeOf(kOp, options, distance::HoldRounded(d, dx));
  const Shape shape = distance::BroadcastLeadingAxes(kOp, x.sizes(), y.sizes(), 1);
  distance::CheckBackward(kOp, {grad, x, y, d, dx, dy}, shape);
  distance::Run(recipe, dx.dtype, distance::WalkPaired(x, y, grad, d, dx),
                distance::WalkPaired(y, x, grad, d, dy));
}

}  // namespace lanewise
