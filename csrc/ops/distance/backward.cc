// Gradients of distances: one pass over their gradient for x, and one for y.
#include <algorithm>

#include "lanewise/distance.h"
#include "ops/distance/arguments.h"
#include "ops/distance/gradient.h"
#include "ops/distance/pair_gradients.h"
#include "ops/distance/slope.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace distance {
namespace {

// Of T, for what results of one type are computed in.
bool HoldRounded(const TensorView& d, const TensorView& dx) {
  return d.dtype != ComputeType(dx.dtype);
}

void CheckBackward(const char* op, const BackwardArguments& arguments, const Shape& shape) {
  const auto& [grad, x, y, d, dx, dy] = arguments;
  const auto check_shape = [&](const char* name, const TensorView& view) {
    if (view.sizes() == shape) return;
    Fail(op, ": ", name, " has shape ", ToString(view.sizes()), ", expected ", ToString(shape),
         ", that of the distances of x ", ToString(x.sizes()), " and y ", ToString(y.sizes()));
  };
  check_shape("grad", grad);
  check_shape("d", d);
  CheckFloat(op, "dx", dx.dtype);
  CheckView(op, "dx", dx, dx.dtype, x.sizes());
  CheckView(op, "dy", dy, dx.dtype, y.sizes());
  const auto check_holds = [&, type = dx.dtype](const char* name, const TensorView& view) {
    CheckHolds(op, "the gradients'", type, name, view.dtype);
  };
  check_holds("x", x);
  check_holds("y", y);
  check_holds("grad", grad);
  check_holds("d", d);
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
  const auto x_walk = distance::WalkPairwise(x, y, grad, d, dx, false);
  const auto y_walk = distance::WalkPairwise(y, x, grad, d, dy, true);
  distance::DispatchSums(recipe, dx.dtype, [&](auto zero) {
    distance::RunBoth<decltype(zero)>(recipe, x_walk, y_walk);
  });
}

void PairedDistancesBackward(const TensorView& grad, const TensorView& x, const TensorView& y,
                             const TensorView& d, const DistanceOptions& options,
                             const TensorView& dx, const TensorView& dy) {
  constexpr const char* kOp = "paired_distances_backward";
  const auto recipe = distance::SlopeOf(kOp, options, distance::HoldRounded(d, dx));
  const Shape shape = distance::BroadcastLeadingAxes(kOp, x.sizes(), y.sizes(), 1);
  const distance::BackwardArguments arguments{grad, x, y, d, dx, dy};
  distance::CheckBackward(kOp, arguments, shape);
  const auto x_walk = distance::WalkPaired(x, y, grad, d, dx);
  const auto y_walk = distance::WalkPaired(y, x, grad, d, dy);
  const bool single = x.sizes() == y.sizes() && recipe.sums == distance::PairSum::kNone;
  distance::DispatchSums(recipe, dx.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (single) {
      distance::RunPairs<T>(recipe, arguments);
    } else {
      distance::RunBoth<T>(recipe, x_walk, y_walk);
    }
  });
}

}  // namespace lanewise
