#include "ops/softmax/axes.h"

#include <cstdlib>

#include "runtime/dtype.h"
#include "runtime/error.h"

namespace lanewise {

ReducedAxes::ReducedAxes(const char* op, const Shape& shape, const Axes& axes) {
  const int rank = static_cast<int>(shape.size());
  for (const int axis : axes) {
    if (axis < -rank || axis >= rank) {
      Fail(op, ": axis ", axis, " is out of bounds for shape ", ToString(shape));
    }
    bool& contains = contains_[axis < 0 ? axis + rank : axis];
    if (contains) Fail(op, ": axis ", axis, " is given twice");
    contains = true;
  }
  for (int a = 0; a < rank; ++a) {
    int64_t& product = contains_[a] ? length_ : positions_;
    product = CheckedProduct(op, product, shape[a]);
  }
  CheckedProduct(op, length_, positions_);
}

Positions PositionsOf(const Views& views, const ReducedAxes& reduced) {
  struct Axis {
    int64_t size, reach;
    Positions::Offsets strides;
  };
  Axis axes[TensorView::kMaxRank];
  int found = 0;
  for (int a = 0; a < views[kOut]->rank; ++a) {
    if (reduced.contains(a) || views[kOut]->shape[a] == 1) continue;
    Axis& axis = axes[found++] = {views[kOut]->shape[a], 0, {}};
    for (int i = 0; i < kMaxArrays; ++i) {
      if (views[i] == nullptr) continue;
      axis.strides[i] = views[i]->strides[a];
      axis.reach += std::abs(axis.strides[i]);
    }
  }
  std::stable_sort(axes, axes + found,
                   [](const Axis& a, const Axis& b) { return a.reach > b.reach; });
  Positions positions;
  for (int a = 0; a < found; ++a) positions.Append(axes[a].size, axes[a].strides);
  return positions;
}

Along AlongOf(const TensorView& view, const ReducedAxes& reduced) {
  Along along;
  for (int a = 0; a < view.rank; ++a) {
    if (reduced.contains(a)) along.Append(view.shape[a], {view.strides[a]});
  }
  return along;
}

TensorView AtPositions(const TensorView& out, const TensorView& x, const ReducedAxes& reduced,
                       bool keepdims) {
  TensorView view;
  view.data = out.data;
  view.dtype = out.dtype;
  view.rank = x.rank;
  int next = 0;
  for (int a = 0; a < x.rank; ++a) {
    view.shape[a] = reduced.contains(a) ? 1 : x.shape[a];
    view.strides[a] = reduced.contains(a) ? 0 : out.strides[next];
    next += !reduced.contains(a) || keepdims;
  }
  return view;
}

void CheckComputable(const char* op, const TensorView& out, const char* name,
                     const TensorView& input) {
  if (!IsFloat(out.dtype)) {
    FailDType(op, ": out has dtype ", ToString(out.dtype), ", expected a floating-point one");
  }
  if (!CanCast(input.dtype, ComputeType(out.dtype))) {
    FailDType(op, ": ", name, " has dtype ", ToString(input.dtype), ", of which no ",
              ToString(out.dtype), " out can be computed");
  }
}

}  // namespace lanewise
