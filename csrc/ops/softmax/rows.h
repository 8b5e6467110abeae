// Rows whose elements are neighbours in memory.
#ifndef LANEWISE_OPS_SOFTMAX_ROWS_H_
#define LANEWISE_OPS_SOFTMAX_ROWS_H_

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "ops/softmax/problem.h"
#include "runtime/parallel.h"

namespace lanewise {

// Short rows, as many at a time as a panel has lanes. What is of another type is converted, many
// neighbouring rows at once.
template <class T>
class ShortRows {
 public:
  ShortRows(const Problem<T>& problem, const Plan& plan, Scratch scratch)
      : p_(problem),
        plan_(plan),
        panel_(scratch.Take<T>(PanelSize(problem))),
        a_(scratch.Take<T>(ConvertedSize(problem, plan))),
        b_(scratch.Take<T>(ConvertedSize(problem, plan))) {}

  static size_t ScratchBytes(const Problem<T>& problem, const Plan& plan) {
    return Scratch::Bytes<T>(PanelSize(problem)) +
           2 * Scratch::Bytes<T>(ConvertedSize(problem, plan));
  }

  void Run(int64_t begin, int64_t end) {
    p_.positions.ForEachRun(begin, end, [&](int64_t count, const Positions::Offsets& at) {
      if (AllNative(p_)) return Rows(count, at);
      for (int64_t r = 0; r < count; r += plan_.group) {
        Positions::Offsets first = at;
        for (int i = 0; i < kMaxArrays; ++i) first[i] += r * p_.strides[i].inner;
        Rows(std::min(plan_.group, count - r), first);
      }
    });
  }

 private:
  static int64_t PanelSize(const Problem<T>& p) {
    return (2 * p.n + SoftmaxKernels<T>::kMaxSums * p.kernels.partials + 2) * p.kernels.nr;
  }
  static int64_t ConvertedSize(const Problem<T>& p, const Plan& plan) {
    return AllNative(p) ? 0 : plan.group * p.n;
  }
  static bool AllNative(const Problem<T>& p) {
    return p.native(kOut) && p.native(kA) && (!p.has(kB) || p.native(kB));
  }

  void Rows(int64_t count, const Positions::Offsets& at) const {
    SoftmaxRows<T> rows{};
    rows.count = count;
    rows.n = p_.n;
    rows.a = Read(kA, count, at, a_, &rows.a_step);
    if (p_.has(kB)) rows.b = Read(kB, count, at, b_, &rows.b_step);
    const bool in_place = p_.native(kOut);
    rows.out = in_place ? p_.out.InPlace() + at[kOut] : a_;
    rows.out_step = in_place ? p_.strides[kOut].inner : p_.reduces() ? 1 : p_.n;
    p_.kernels.short_rows[static_cast<int>(p_.op)](rows, panel_);
    if (in_place) return;
    const Sink<T> out = p_.out + at[kOut];
    if (p_.reduces()) return out.Write(a_, count, p_.strides[kOut].inner);
    out.Write(a_, count * p_.n, 1);
  }

  // In place, or converted.
  const T* Read(int array, int64_t count, const Positions::Offsets& at, T* converted,
                ptrdiff_t* step) const {
    *step = p_.native(array) ? p_.strides[array].inner : p_.n;
    if (p_.native(array)) return p_.sources[array].InPlace() + at[array];
    (p_.sources[array] + at[array]).Read(1, count * p_.n, converted);
    return converted;
  }

  const Problem<T>& p_;
  const Plan& plan_;
  T *const panel_, *const a_, *const b_;  // scratch
};

// Longer rows, a few at a time through each phase, so that the end of one row's overlaps the
// beginning of the next row's: 1000 float32 lose a third of their time between the phases.
// Softmax's maxima are taken a group ahead, during the exponentials, so that memory and arithmetic
// are busy at once: 1024 rows of 1000 take a thread 0.31 ms, and not 0.39.
template <class T>
class RowGroups {
 public:
  RowGroups(const Problem<T>& problem, const Plan& plan, Scratch scratch)
      : p_(problem),
        plan_(plan),
        phases_(problem.kernels.row[static_cast<int>(problem.op)]),
        ahead_(problem.kernels.sum_ahead[static_cast<int>(problem.op)]),
        totals_(scratch.Take<T>(plan.group)),
        partials_(scratch.Take<T>(PartialsSize(problem) * plan.group)),
        exponentials_(scratch.Take<T>(ExponentialsSize(problem, plan))) {
    for (Group* group : {&now_, &next_}) {
      group->rows = scratch.Take<Row>(plan.group);
      group->max = scratch.Take<T>(plan.group);
    }
  }

  static size_t ScratchBytes(const Problem<T>& problem, const Plan& plan) {
    return 2 * Scratch::Bytes<Row>(plan.group) + 3 * Scratch::Bytes<T>(plan.group) +
           Scratch::Bytes<T>(PartialsSize(problem) * plan.group) +
           Scratch::Bytes<T>(ExponentialsSize(problem, plan));
  }

  void Run(int64_t begin, int64_t end) {
    Find(begin, end, next_);
    if (ahead_ != nullptr) TakeMaxima(next_);
    for (int64_t at = begin; at < end; at += now_.count) {
      std::swap(now_, next_);
      Find(at + now_.count, end, next_);
      Finish();
    }
    if (plan_.stream) p_.kernels.flush();
  }

 private:
  struct Row {
    const T *a, *b;
    T *stored, *out;
  };
  struct Group {
    int64_t count;
    Row* rows;
    T* max;
  };

  static int64_t PartialsSize(const Problem<T>& p) {
    return SoftmaxKernels<T>::kMaxSums * p.kernels.partials;
  }
  // Results that go past the caches are no place for exponentials to wait in.
  static int64_t ExponentialsSize(const Problem<T>& p, const Plan& plan) {
    return plan.stream && p.op == SoftmaxOp::kSoftmax ? plan.group * p.n : 0;
  }

  // The rows from `begin` on, as many as a group has.
  void Find(int64_t begin, int64_t end, Group& group) const {
    group.count = std::min(plan_.group, end - begin);
    Row* row = group.rows;
    p_.positions.ForEachRun(begin, begin + group.count, [&](int64_t length, const auto& at) {
      for (int64_t i = 0; i < length; ++i, ++row) {
        row->a = p_.sources[kA].InPlace() + at[kA] + i * p_.strides[kA].inner;
        if (p_.has(kB)) row->b = p_.sources[kB].InPlace() + at[kB] + i * p_.strides[kB].inner;
        row->out = p_.out.InPlace() + at[kOut] + i * p_.strides[kOut].inner;
        row->stored = plan_.stream ? exponentials_ + (row - group.rows) * p_.n : row->out;
      }
    });
  }

  void TakeMaxima(const Group& group) const {
    for (int64_t r = 0; r < group.count; ++r) {
      phases_.max(group.rows[r].a, p_.n, true, group.max + r);
    }
  }

  // All phases, or those after the maxima, if these were taken ahead.
  void Finish() const {
    const int op = static_cast<int>(p_.op);
    if (phases_.max != nullptr && ahead_ == nullptr) TakeMaxima(now_);
    const auto each = [&](const auto& f) {
      for (int64_t r = 0; r < now_.count; ++r) f(now_.rows[r], r);
    };
    each([&](const Row& row, int64_t r) {
      T* const partials = partials_ + r * PartialsSize(p_);
      if (ahead_ != nullptr && r < next_.count) {
        return ahead_(row.a, p_.n, now_.max + r, row.stored, partials, next_.rows[r].a,
                      next_.max + r);
      }
      phases_.sum(row.a, row.b, p_.n, now_.max + r, true, row.stored, partials);
    });
    each([&](const Row&, int64_t r) {
      phases_.total(p_.n, partials_ + r * PartialsSize(p_), now_.max + r, totals_ + r);
    });
    if (p_.reduces()) return each([&](const Row& row, int64_t r) { *row.out = totals_[r]; });
    const auto apply = plan_.stream ? p_.kernels.stream[op] : phases_.apply;
    each([&](const Row& row, int64_t r) {
      apply(p_.op == SoftmaxOp::kSoftmax ? row.stored : row.a, row.b, p_.n, now_.max + r,
            totals_ + r, row.out);
    });
  }

  const Problem<T>& p_;
  const Plan& plan_;
  const SoftmaxPhases<T>& phases_;
  std::decay_t<decltype(*SoftmaxKernels<T>::sum_ahead)> const ahead_;
  Group now_{}, next_{};
  // Scratch, one for each row of a group.
  T *const totals_, *const partials_, *const exponentials_;
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_SOFTMAX_ROWS_H_
