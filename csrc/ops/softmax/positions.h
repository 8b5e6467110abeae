// Arrays of one shape, seen as positions × axis: for ops that work along one axis, at every
// position of the other axes independently.
#ifndef LANEWISE_OPS_SOFTMAX_POSITIONS_H_
#define LANEWISE_OPS_SOFTMAX_POSITIONS_H_

#include <algorithm>
#include <array>
#include <cstdint>

#include "lanewise/tensor.h"

namespace lanewise {

class Positions {
 public:
  static constexpr int kMaxArrays = 3;
  using Offsets = std::array<int64_t, kMaxArrays>;  // in elements, one per array

  // The axes other than `axis` of `count` arrays, in the order of their strides and with neighbours
  // merged where every array's strides allow: the order of independent positions is free.
  Positions(const TensorView* const* arrays, int count, int axis);

  int64_t count() const { return count_; }
  // Between neighbours on the innermost axis.
  int64_t inner_stride(int array) const { return strides_[rank_ - 1][array]; }

  // Calls f(length, offsets of the first) for the pieces of [begin, end) that lie on one innermost
  // axis, in order.
  template <class F>
  void ForEachRun(int64_t begin, int64_t end, const F& f) const {
    const int64_t inner = sizes_[rank_ - 1];
    while (begin < end) {
      const int64_t at = rank_ == 1 ? begin : begin % inner;
      const int64_t length = std::min(inner - at, end - begin);
      f(length, OffsetsOf(begin));
      begin += length;
    }
  }

 private:
  Offsets OffsetsOf(int64_t position) const;

  int rank_ = 0;  // at least 1
  int64_t count_ = 1;
  int64_t sizes_[TensorView::kMaxRank];
  Offsets strides_[TensorView::kMaxRank];
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_SOFTMAX_POSITIONS_H_
