// Walking several arrays of one shape at once, along any axes and strides.
#ifndef LANEWISE_OPS_MERGED_AXES_H_
#define LANEWISE_OPS_MERGED_AXES_H_

#include <algorithm>
#include <array>
#include <cstdint>

#include "lanewise/tensor.h"

namespace lanewise {

// Axes with a stride for each of several arrays; neighbours are merged where every array's strides
// allow, so that most walks are along one axis.
template <int kArrays>
class MergedAxes {
 public:
  using Offsets = std::array<int64_t, kArrays>;  // in elements, one per array

  MergedAxes() { sizes_[0] = 1, strides_[0] = {}; }

  // Adds an axis of at least one element inside those that are there.
  void Append(int64_t size, const Offsets& strides) {
    if (size == 1) return;
    if (count_ > 1 && !Continues(size, strides)) sizes_[rank_++] = 1;
    sizes_[rank_ - 1] *= size;
    strides_[rank_ - 1] = strides;
    count_ *= size;
  }

  int64_t count() const { return count_; }
  bool single() const { return rank_ == 1; }
  int64_t inner_size() const { return sizes_[rank_ - 1]; }
  // Between neighbours on the innermost axis; 0 if there is but one element.
  int64_t inner_stride(int array) const { return strides_[rank_ - 1][array]; }

  [[gnu::noinline]] Offsets OffsetsOf(int64_t element) const {
    Offsets offsets{};
    for (int a = rank_ - 1; a > 0; --a) {
      Add(a, element % sizes_[a], offsets);
      element /= sizes_[a];
    }
    Add(0, element, offsets);
    return offsets;
  }

  // Calls f(length, offsets of the first) for the pieces of [begin, end) that lie on one innermost
  // axis, in order.
  template <class F>
  void ForEachRun(int64_t begin, int64_t end, const F& f) const {
    if (begin >= end) return;
    const int64_t inner = sizes_[rank_ - 1];
    Offsets offsets = OffsetsOf(begin);
    int64_t index[TensorView::kMaxRank];
    if (rank_ > 2) FindIndex(begin / inner, index);
    for (int64_t at = rank_ == 1 ? begin : begin % inner;; at = 0) {
      const int64_t length = std::min(inner - at, end - begin);
      f(length, offsets);
      begin += length;
      if (begin >= end) return;
      NextRun(at, index, offsets);
    }
  }

 private:
  void Add(int axis, int64_t steps, Offsets& offsets) const {
    for (int i = 0; i < kArrays; ++i) offsets[i] += steps * strides_[axis][i];
  }
  // Where a run is on each axis but the outermost and its own.
  void FindIndex(int64_t run, int64_t* index) const {
    for (int a = rank_ - 2; a > 0; --a) {
      index[a] = run % sizes_[a];
      run /= sizes_[a];
    }
  }
  // From element `at` of a run to the beginning of the next, counted on, as divisions would show.
  // Not inlined, for there are many walks.
  [[gnu::noinline]] void NextRun(int64_t at, int64_t* index, Offsets& offsets) const {
    Add(rank_ - 1, -at, offsets);
    int a = rank_ - 2;
    for (Add(a, 1, offsets); a > 0 && ++index[a] == sizes_[a]; Add(--a, 1, offsets)) {
      Add(a, -sizes_[a], offsets);
      index[a] = 0;
    }
  }
  // Whether the innermost axis steps over exactly this one.
  bool Continues(int64_t size, const Offsets& strides) const {
    for (int i = 0; i < kArrays; ++i) {
      if (strides_[rank_ - 1][i] != strides[i] * size) return false;
    }
    return true;
  }

  int rank_ = 1;
  int64_t count_ = 1;
  int64_t sizes_[TensorView::kMaxRank];  // the first rank_ entries count
  Offsets strides_[TensorView::kMaxRank];
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_MERGED_AXES_H_
