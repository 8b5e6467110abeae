// Positions that are neighbours in memory, along one axis of any stride.
#ifndef LANEWISE_OPS_SOFTMAX_COLUMNS_H_
#define LANEWISE_OPS_SOFTMAX_COLUMNS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "ops/softmax/problem.h"
#include "ops/strided.h"
#include "runtime/parallel.h"

namespace lanewise {

// A block of columns is read once, into panels, and written once, by the code that computes the
// results: for 1000 elements 4096 bytes apart, caches, which have few places for such addresses,
// would not hold it where it is.
template <class T>
class Columns {
 public:
  Columns(const Problem<T>& problem, const Plan& plan, Scratch scratch)
      : p_(problem),
        plan_(plan),
        phases_(problem.kernels.panel[static_cast<int>(problem.op)]),
        size_((problem.n + 1) * plan.nr),
        a_(scratch.Take<T>(size_ * plan.panels)),
        b_(scratch.Take<T>(problem.has(kB) ? size_ * plan.panels : 0)),
        partials_(scratch.Take<T>(PartialsSize(problem, plan))),
        max_(scratch.Take<T>(plan.block())),
        totals_(scratch.Take<T>(plan.block())),
        mask_(scratch.Take<uint8_t>(plan.block())) {}

  static size_t ScratchBytes(const Problem<T>& problem, const Plan& plan) {
    const int64_t packed = (problem.n + 1) * plan.block();
    return Scratch::Bytes<T>(packed) + Scratch::Bytes<T>(problem.has(kB) ? packed : 0) +
           Scratch::Bytes<T>(PartialsSize(problem, plan)) + 2 * Scratch::Bytes<T>(plan.block()) +
           Scratch::Bytes<uint8_t>(plan.block());
  }

  // Blocks [begin, end), which never reach from one run of neighbours into the next.
  void Run(int64_t begin, int64_t end) {
    const int64_t run = p_.positions.inner_size(), blocks = CeilDiv(run, plan_.block());
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block % blocks * plan_.block();
      Block(p_.positions.OffsetsOf(block / blocks * run + first),
            std::min(plan_.block(), run - first));
    }
    if (plan_.stream) p_.kernels.flush();
  }

 private:
  static int64_t PartialsSize(const Problem<T>& p, const Plan& plan) {
    return SoftmaxKernels<T>::kMaxSums * p.kernels.partials * plan.nr;
  }

  void Block(const Positions::Offsets& at, int64_t width) {
    const SoftmaxColumns columns{static_cast<size_t>(p_.n), static_cast<size_t>(width),
                                 static_cast<size_t>(size_)};
    const auto pack = [&](int array, T* to, T* max) {
      p_.kernels.pack_columns(p_.sources[array].InPlace() + at[array], p_.strides[array].axis,
                              columns, to, max);
    };
    const bool masked = p_.has(kMask);
    pack(kA, a_, phases_.max != nullptr && !masked ? max_ : nullptr);
    if (p_.has(kB)) pack(kB, b_, nullptr);
    if (masked) Fill(at[kMask], width, -std::numeric_limits<T>::infinity());
    for (int64_t first = 0; first < width; first += plan_.nr) {
      T* const a = a_ + first / plan_.nr * size_;
      const T* const b = b_ + first / plan_.nr * size_;
      if (masked) phases_.max(a, p_.n, true, max_ + first);
      phases_.sum(a, b, p_.n, max_ + first, true, a, partials_);
      phases_.total(p_.n, partials_, max_ + first, totals_ + first);
    }
    if (masked) FinishNaN(at[kMask], width);
    T* const out = p_.out.InPlace() + at[kOut];
    if (p_.reduces()) return static_cast<void>(std::copy_n(totals_, width, out));
    p_.kernels.apply_columns[static_cast<int>(p_.op)](a_, b_, columns, max_, totals_, out,
                                                      p_.strides[kOut].axis, plan_.stream);
  }

  // In the panels, `fill` for what the mask excludes.
  void Fill(int64_t at, int64_t width, T fill) const {
    const int64_t axis = p_.strides[kMask].axis, inner = p_.strides[kMask].inner;
    for (int64_t i = 0; i < p_.n; ++i) {
      const uint8_t* mask = p_.mask + at + i * axis;
      if (inner != 1) {
        Gather(mask, inner, width, mask_);
        mask = mask_;
      }
      T* row = a_ + i * plan_.nr;
      for (int64_t k = 0; k < width; k += plan_.nr, row += size_) {
        p_.kernels.select(mask + k, row, std::min(plan_.nr, width - k), fill, row);
      }
    }
  }

  // What is excluded comes out as 0, unless the column is NaN or has nothing else. Its results are
  // then finished here, and stay what they are when they are stored.
  void FinishNaN(int64_t at, int64_t width) const {
    if (std::none_of(totals_, totals_ + width, [](T total) { return std::isnan(total); })) return;
    for (int64_t first = 0; first < width; first += plan_.nr) {
      T* const a = a_ + first / plan_.nr * size_;
      phases_.apply(a, nullptr, p_.n, max_ + first, totals_ + first, a);
    }
    Fill(at, width, T(0));
    std::fill_n(totals_, width, T(1));
  }

  const Problem<T>& p_;
  const Plan& plan_;
  const SoftmaxPhases<T>& phases_;
  const int64_t size_;  // of a panel, with a line between two, so that they do not alias
  // Scratch.
  T *const a_, *const b_, *const partials_, *const max_, *const totals_;
  uint8_t* const mask_;
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_SOFTMAX_COLUMNS_H_
