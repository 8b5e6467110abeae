#include "ops/softmax/positions.h"

#include <cstdlib>

namespace lanewise {

Positions::Positions(const TensorView* const* arrays, int count, int axis) {
  struct Axis {
    int64_t size;
    Offsets strides;
    int64_t Reach() const {
      return std::abs(strides[0]) + std::abs(strides[1]) + std::abs(strides[2]);
    }
  };
  Axis axes[TensorView::kMaxRank];
  int found = 0;
  for (int a = 0; a < arrays[0]->rank; ++a) {
    if (a == axis) continue;
    count_ *= arrays[0]->shape[a];
    if (arrays[0]->shape[a] == 1) continue;
    Axis& entry = axes[found++];
    entry = {arrays[0]->shape[a], {}};
    for (int i = 0; i < count; ++i) entry.strides[i] = arrays[i]->strides[a];
  }
  if (found == 0) axes[found++] = {1, {}};
  std::stable_sort(axes, axes + found,
                   [](const Axis& a, const Axis& b) { return a.Reach() > b.Reach(); });

  for (int a = 0; a < found; ++a) {
    const auto continues = [&] {  // the axis before steps over exactly this one
      for (int i = 0; i < count; ++i) {
        if (strides_[rank_ - 1][i] != axes[a].strides[i] * axes[a].size) return false;
      }
      return true;
    };
    const bool merge = rank_ > 0 && continues();
    if (!merge) ++rank_;
    sizes_[rank_ - 1] = merge ? sizes_[rank_ - 1] * axes[a].size : axes[a].size;
    strides_[rank_ - 1] = axes[a].strides;
  }
}

Positions::Offsets Positions::OffsetsOf(int64_t position) const {
  Offsets offsets{};
  const auto add = [&](int axis, int64_t at) {
    for (int i = 0; i < kMaxArrays; ++i) offsets[i] += at * strides_[axis][i];
  };
  for (int a = rank_ - 1; a > 0; --a) {
    add(a, position % sizes_[a]);
    position /= sizes_[a];
  }
  add(0, position);
  return offsets;
}

}  // namespace lanewise
