// Losses of short rows with a label each, and their gradient.
#ifndef LANEWISE_OPS_SOFTMAX_SHORT_LOSSES_H_
#define LANEWISE_OPS_SOFTMAX_SHORT_LOSSES_H_

#include <algorithm>
#include <cstdint>

#include "ops/softmax/loss_block.h"

namespace lanewise {

// By one kernel, many rows at a time, as ShortRows are: 65536 rows of 3 take a thread 0.33 ms, and
// 0.62 as blocks; of 10 0.58 and 0.66.
template <class T>
class ShortLosses {
 public:
  ShortLosses(const Losses<T>& losses, const Plan&, Scratch scratch)
      : l_(losses),
        p_(losses.problem),
        weight_(scratch.Take<T>(kRows)),
        loss_(scratch.Take<T>(kRows)),
        panel_(scratch.Take<T>(PanelSize(losses))),
        labels_(scratch.Take<int64_t>(kRows)) {}

  // Whether these losses can be had this way.
  static bool Take(const Losses<T>& losses, const Plan& plan) {
    const Problem<T>& p = losses.problem;
    const bool native = p.native(kA) && (!losses.has_gradient || p.native(kOut));
    return plan.path == Path::kShortRows && native && !losses.dense() && !losses.from_probs;
  }
  static size_t ScratchBytes(const Losses<T>& losses, const Plan&) {
    return 2 * Scratch::Bytes<T>(kRows) + Scratch::Bytes<T>(PanelSize(losses)) +
           Scratch::Bytes<int64_t>(kRows);
  }
  static int64_t Rows(const Plan&) { return kRows; }

  // Rows [begin, end), at most a block of them; their losses, in scratch.
  const T* Run(int64_t begin, int64_t end) {
    l_.ReadLabels(begin, end, labels_, weight_);
    int64_t row = 0;
    p_.positions.ForEachRun(begin, end, [&](int64_t count, const Positions::Offsets& at) {
      SoftmaxRows<T> rows{};
      rows.count = count;
      rows.n = p_.n;
      rows.a = p_.sources[kA].InPlace() + at[kA];
      rows.a_step = p_.strides[kA].inner;
      if (l_.has_gradient) rows.out = p_.out.InPlace() + at[kOut];
      rows.out_step = p_.strides[kOut].inner;
      l_.kernels.short_rows(rows, labels_ + row, weight_ + row, l_.scale, loss_ + row, panel_);
      row += count;
    });
    return loss_;
  }

 private:
  static constexpr int64_t kRows = 256;

  static int64_t PanelSize(const Losses<T>& l) {
    return (2 * l.problem.n + 2 * l.kernels.partials + 6) * l.problem.kernels.nr;
  }

  const Losses<T>& l_;
  const Problem<T>& p_;
  // Scratch.
  T *const weight_, *const loss_, *const panel_;
  int64_t* const labels_;
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_SOFTMAX_SHORT_LOSSES_H_
