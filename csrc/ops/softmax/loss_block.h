// Losses of a block of rows, and their gradient: how a cross-entropy is computed.
#ifndef LANEWISE_OPS_SOFTMAX_LOSS_BLOCK_H_
#define LANEWISE_OPS_SOFTMAX_LOSS_BLOCK_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/kernels.h"
#include "ops/softmax/labels.h"
#include "ops/softmax/panels.h"
#include "ops/softmax/problem.h"
#include "runtime/parallel.h"

namespace lanewise {

// What a loss is computed from, in T. The arrays of the softmax family's Problem are the gradient
// (kOut), the logits (kA) and targets that are probabilities (kB).
template <class T>
struct Losses {
  Problem<T> problem;
  const CrossEntropyKernels<T>& kernels;
  ClassWeights<T> weights;
  Labels labels;
  bool has_labels, has_gradient, from_probs;
  T smoothing;
  T scale = 1;  // of the gradient

  // Whether every class may have a share in the target.
  bool dense() const { return !has_labels || smoothing > 0; }
  // Whether targets have to be made of labels, weights or smoothing.
  bool mixes() const { return dense() && (has_labels || smoothing > 0 || weights.given()); }
  CrossEntropySum sum() const {
    if (from_probs) return CrossEntropySum::kTerms;
    if (dense()) return CrossEntropySum::kTargets;
    return has_gradient ? CrossEntropySum::kLabelAndGradient : CrossEntropySum::kLabel;
  }
  // Labels of rows [begin, end), and the weight of each one's class, 0 if it is ignored.
  void ReadLabels(int64_t begin, int64_t end, int64_t* to, T* weight) const {
    labels.Read(begin, end, to);
    for (int64_t row = 0; row < end - begin; ++row) {
      weight[row] = to[row] < 0 ? T(0) : weights.At(to[row]);
    }
  }
};

// A block of rows, in one thread's scratch.
template <class T>
class LossBlock {
 public:
  LossBlock(const Losses<T>& losses, const Plan& plan, Scratch scratch)
      : l_(losses),
        p_(losses.problem),
        plan_(plan),
        phases_(plan.nr == 1 ? losses.kernels.row : losses.kernels.panel),
        panels_(losses.problem, plan, scratch) {
    for (const int array : {kOut, kA, kB}) in_place_[array] = InPlace(l_, plan_, array);
    const Sizes sizes(losses, plan);
    a_ = scratch.Take<T>(sizes.a);
    targets_ = scratch.Take<T>(sizes.targets);
    terms_ = scratch.Take<T>(sizes.terms);
    weights_ = scratch.Take<T>(sizes.weights);
    partials_ = scratch.Take<T>(sizes.partials);
    for (T** lanes : {&max_, &below_, &maxima_, &loss_, &factor_, &picked_, &weight_, &at_label_}) {
      *lanes = scratch.Take<T>(plan.block());
    }
    labels_ = scratch.Take<int64_t>(plan.block());
  }

  static size_t ScratchBytes(const Losses<T>& losses, const Plan& plan) {
    const Sizes sizes(losses, plan);
    return Panels<T>::ScratchBytes(plan) + Scratch::Bytes<T>(sizes.a) +
           Scratch::Bytes<T>(sizes.targets) + Scratch::Bytes<T>(sizes.terms) +
           Scratch::Bytes<T>(sizes.weights) + Scratch::Bytes<T>(sizes.partials) +
           8 * Scratch::Bytes<T>(plan.block()) + Scratch::Bytes<int64_t>(plan.block());
  }

  static int64_t Rows(const Plan& plan) { return plan.block(); }

  // Rows [begin, end), at most a block of them; their losses, in scratch.
  const T* Run(int64_t begin, int64_t end) {
    rows_ = end - begin;
    panels_.Hold(begin, end);
    std::fill_n(loaded_, kMaxArrays, false);
    if (l_.has_labels) ReadLabels(begin, end);
    const bool nothing = plan_.nr == 1 && ignored_ == rows_;
    if (nothing || (l_.from_probs && !l_.dense())) {
      PickLogits(begin, end);
      return Picked();
    }
    FillIdleLanes();
    if (l_.from_probs) {
      Probabilities();
    } else {
      ForEachChunk([&](int64_t i, int64_t n) { Max(i, n); });
      if (!l_.dense()) PickLogits(begin, end);
      ForEachChunk([&](int64_t i, int64_t n) { Sum(i, n); });
      Finish();
      if (l_.has_gradient) ForEachChunk([&](int64_t i, int64_t n) { Apply(i, n); });
    }
    if (loaded_[kB] && l_.has_labels) SetLabels(0, p_.n, T(0));
    return loss_;
  }

 private:
  struct Sizes {
    int64_t a = 0, targets = 0, terms = 0, weights = 0, partials;
    Sizes(const Losses<T>& l, const Plan& plan) : partials(plan.panels * PartialsSize(l, plan)) {
      const int64_t packed = plan.block() * plan.chunk;
      // `a` is read in place where nothing is stored of it but in the gradient's own memory.
      const bool stores =
          l.has_gradient ? !InPlace(l, plan, kOut) : l.sum() == CrossEntropySum::kTargets;
      if (stores || !InPlace(l, plan, kA)) a = packed;
      if (l.mixes() || (!l.has_labels && !InPlace(l, plan, kB))) targets = packed;
      if (l.from_probs && l.dense()) terms = packed;
      if (l.mixes()) weights = plan.chunk;
    }
  };
  static int64_t PartialsSize(const Losses<T>& losses, const Plan& plan) {
    return CrossEntropyKernels<T>::kMaxSums * losses.kernels.partials * plan.nr;
  }
  // Whether the phases read, or write, an array's own memory.
  static bool InPlace(const Losses<T>& losses, const Plan& plan, int array) {
    const Problem<T>& p = losses.problem;
    if (array == kOut && !losses.has_gradient) return false;
    return plan.nr == 1 && p.has(array) && p.strides[array].contiguous() &&
           p.sources[array].native();
  }

  template <class F>
  void ForEachChunk(const F& f) {
    for (int64_t i = 0; i < p_.n; i += plan_.chunk) f(i, std::min(plan_.chunk, p_.n - i));
  }
  // f(panel, where it begins in packed arrays, where in those of one element per row).
  template <class F>
  void ForEachPanel(const F& f) {
    for (int64_t panel = 0; panel < panels_.count(); ++panel) {
      f(panel, panel * panels_.size(), panel * plan_.nr);
    }
  }
  // f(row, where its label is in a packed chunk) for those whose label is in [i, i + n).
  template <class F>
  void ForEachLabelIn(int64_t i, int64_t n, const F& f) {
    for (int64_t row = 0, panel = 0; row < rows_; ++panel) {
      for (int64_t lane = 0; lane < plan_.nr && row < rows_; ++lane, ++row) {
        const int64_t c = labels_[row] - i;
        if (c >= 0 && c < n) f(row, panel * panels_.size() + c * plan_.nr + lane);
      }
    }
  }
  bool Whole() const { return plan_.chunk == p_.n; }
  T* Partials(int64_t panel) const { return partials_ + panel * PartialsSize(l_, plan_); }

  // ------------------------------------------------------------------------------------- labels

  void ReadLabels(int64_t begin, int64_t end) {
    l_.ReadLabels(begin, end, labels_, weight_);
    ignored_ = l_.labels.ignores() ? std::count(labels_, labels_ + rows_, Labels::kIgnored) : 0;
  }

  // The logits that labels pick. In cache, if that is done after another phase.
  void PickLogits(int64_t begin, int64_t end) {
    int64_t row = 0;
    p_.positions.ForEachRun(begin, end, [&](int64_t length, const Positions::Offsets& at) {
      Pick(p_.sources[kA] + at[kA], labels_ + row, length, picked_ + row);
      row += length;
    });
  }
  // Those of neighbouring rows, of ignored ones anything.
  void Pick(const Source<T>& from, const int64_t* labels, int64_t rows, T* picked) const {
    const int64_t axis = p_.strides[kA].axis, inner = p_.strides[kA].inner;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t offset = row * inner + std::max<int64_t>(0, labels[row]) * axis;
      if (from.native()) {
        picked[row] = from.InPlace()[offset];
      } else {
        (from + offset).Read(1, 1, picked + row);
      }
    }
  }

  // From the labels' probabilities, which are all that matters; nothing, if all are ignored.
  const T* Picked() {
    for (int64_t row = 0; row < rows_; ++row) {
      const T w = weight_[row];
      loss_[row] = w == 0 ? T(0) : -w * std::log(picked_[row]);
      at_label_[row] = w == 0 ? T(0) : -w * l_.scale / picked_[row];
    }
    if (l_.has_gradient) ForEachChunk([&](int64_t i, int64_t n) { StoreZeros(i, n); });
    return loss_;
  }

  // A gradient of 0 but for the labels' rows that have a share of it.
  void StoreZeros(int64_t i, int64_t n) {
    T* out = Target(i);
    ForEachPanel([&](int64_t, int64_t at, int64_t) { std::fill_n(out + at, n * plan_.nr, T(0)); });
    ForEachLabelIn(i, n, [&](int64_t row, int64_t at) { out[at] = at_label_[row]; });
    Store(i, n);
  }

  // ------------------------------------------------------------------------------------- phases

  // Lanes that no row fills take part in the arithmetic, so they must hold numbers.
  void FillIdleLanes() {
    if (panels_.last_is_full()) return;
    const int64_t last = (panels_.count() - 1) * panels_.size();
    std::fill_n(a_ + last, panels_.size(), T(0));
    if (!l_.has_labels) std::fill_n(targets_ + last, panels_.size(), T(0));
  }

  void Max(int64_t i, int64_t n) {
    const T* a = LoadA(i, n);
    ForEachPanel(
        [&](int64_t, int64_t at, int64_t row) { phases_.max(a + at, n, i == 0, max_ + row); });
  }

  void Sum(int64_t i, int64_t n) {
    const T* a = LoadA(i, n);
    const T* targets = l_.dense() ? LoadTargets(i, n) : targets_;
    T* out = Target(i);
    ForEachPanel([&](int64_t panel, int64_t at, int64_t row) {
      SumOf(l_.sum())(a + at, targets + at, n, max_ + row, i == 0, out + at, Partials(panel));
    });
    if (!Whole() && KeepsExponentials()) Store(i, n);
  }

  auto SumOf(CrossEntropySum sum) const { return phases_.sum[static_cast<int>(sum)]; }

  // totals[row] = one of the sums.
  void TotalOf(int sum, T* totals) {
    ForEachPanel([&](int64_t panel, int64_t, int64_t row) {
      T* const partials = Partials(panel) + sum * l_.kernels.partials * plan_.nr;
      phases_.total(p_.n, partials, nullptr, totals + row);
    });
  }

  // The losses, and what the gradients need.
  void Finish() {
    TotalOf(0, below_);
    TotalOf(1, maxima_);
    if (l_.dense()) {
      TotalOf(2, loss_);
      TotalOf(3, weight_);
    }
    const LossRows<T> rows{below_,   maxima_, max_,    picked_,  weight_,
                           l_.scale, loss_,   factor_, at_label_};
    const auto finish = l_.dense() ? l_.kernels.finish_targets : l_.kernels.finish_labels;
    finish(rows, rows_, l_.has_gradient);
    ForgetIgnored(loss_);
    if (l_.dense()) std::fill_n(weight_, plan_.block(), l_.scale);
  }

  void Apply(int64_t i, int64_t n) {
    const T* e = Exponentials(i, n);
    T* out = Target(i);
    const T* targets = l_.dense() ? LoadTargets(i, n) : targets_;
    const auto apply = l_.dense() ? phases_.subtract : phases_.scale;
    ForEachPanel([&](int64_t, int64_t at, int64_t row) {
      apply(e + at, targets + at, n, weight_ + row, factor_ + row, out + at);
    });
    if (!l_.dense()) {
      ForEachLabelIn(i, n, [&](int64_t row, int64_t at) { out[at] = at_label_[row]; });
    }
    ForgetIgnoredRows(n, out);
    Store(i, n);
  }

  // From probabilities, in one pass.
  void Probabilities() {
    ForEachChunk([&](int64_t i, int64_t n) {
      const T* a = LoadA(i, n);
      const T* targets = LoadTargets(i, n);
      T* const out = l_.has_gradient ? Target(i) : nullptr;
      ForEachPanel([&](int64_t panel, int64_t at, int64_t row) {
        T* const terms = terms_ + at;
        l_.kernels.probabilities(a + at, targets + at, n * plan_.nr, l_.scale, terms,
                                 out == nullptr ? out : out + at);
        SumOf(CrossEntropySum::kTerms)(terms, terms, n, max_ + row, i == 0, terms, Partials(panel));
      });
      if (!l_.has_gradient) return;
      ForgetIgnoredRows(n, out);
      Store(i, n);
    });
    TotalOf(0, loss_);
    ForgetIgnored(loss_);
  }

  // 0 for ignored rows, whatever they hold.
  void ForgetIgnored(T* of_rows) {
    for (int64_t row = 0; ignored_ > 0 && row < rows_; ++row) {
      if (labels_[row] < 0) of_rows[row] = 0;
    }
  }
  void ForgetIgnoredRows(int64_t n, T* out) {
    for (int64_t row = 0; ignored_ > 0 && row < rows_; ++row) {
      T* const to = out + row / plan_.nr * panels_.size() + row % plan_.nr;
      for (int64_t k = 0; labels_[row] < 0 && k < n; ++k) to[k * plan_.nr] = 0;
    }
  }

  // ------------------------------------------------------------------------------------- memory

  // Whether exponentials that do not fit in scratch wait in the gradient, as they are.
  bool KeepsExponentials() const { return l_.has_gradient && p_.out.native(); }

  // What Sum stored. Where there was no place for it, it is computed a second time, into `a`.
  const T* Exponentials(int64_t i, int64_t n) {
    if (Whole()) return Target(i);
    if (KeepsExponentials()) {
      if (in_place_[kOut]) return Target(i);
      panels_.Load(kOut, i, n, a_);
      return a_;
    }
    const T* a = LoadA(i, n);
    ForEachPanel([&](int64_t panel, int64_t at, int64_t row) {
      SumOf(CrossEntropySum::kLabelAndGradient)(a + at, nullptr, n, max_ + row, true, a_ + at,
                                                Partials(panel));
    });
    return a_;
  }

  // Where a phase writes classes from i on: the gradient itself, or over `a`, of which it has the
  // last use.
  T* Target(int64_t i) const {
    return in_place_[kOut] ? p_.out.InPlace() + panels_.Offset(kOut, i) : a_;
  }

  const T* LoadA(int64_t i, int64_t n) {
    if (in_place_[kA]) return p_.sources[kA].InPlace() + panels_.Offset(kA, i);
    if (loaded_[kA]) return a_;
    loaded_[kA] = Whole();
    panels_.Load(kA, i, n, a_);
    return a_;
  }

  // q = w·((1 - e)·t + e/C), in place where it is t.
  const T* LoadTargets(int64_t i, int64_t n) {
    if (!l_.mixes() && in_place_[kB]) return p_.sources[kB].InPlace() + panels_.Offset(kB, i);
    if (loaded_[kB]) return targets_;
    loaded_[kB] = Whole();
    if (l_.mixes() && !(Whole() && weights_read_)) l_.weights.Read(i, n, weights_);
    if (l_.has_labels) {
      FromLabels(i, n);
    } else {
      panels_.Load(kB, i, n, targets_);
      if (l_.mixes()) Mix(n, panels_.count(), [](T t) { return t; });
    }
    weights_read_ = true;
    return targets_;
  }

  // q of a class, by value so that loops keep it in registers.
  struct Mixture {
    T kept, spread;  // 1 - e, e/C
    T operator()(T w, T t) const { return w * (kept * t + spread); }
  };
  Mixture Mixing() const { return {1 - l_.smoothing, l_.smoothing / static_cast<T>(p_.n)}; }

  // targets_ = the mixture of weights_ and t(targets_).
  template <class F>
  void Mix(int64_t n, int64_t panels, const F& t) {
    const Mixture mixed = Mixing();
    const T* const w = weights_;
    for (int64_t panel = 0; panel < panels; ++panel) {
      T* q = targets_ + panel * panels_.size();
      if (plan_.nr == 1) {  // in vectors of classes
        for (int64_t k = 0; k < n; ++k) q[k] = mixed(w[k], t(q[k]));
        continue;
      }
      for (int64_t k = 0; k < n; ++k, q += plan_.nr) {
        for (int64_t lane = 0; lane < plan_.nr; ++lane) q[lane] = mixed(w[k], t(q[lane]));
      }
    }
  }

  // What no label has a part in is the same for every block, and stays where it is Whole.
  void FromLabels(int64_t i, int64_t n) {
    if (!Whole() || !weights_read_) Mix(n, plan_.panels, [](T) { return T(0); });
    SetLabels(i, n, T(1));
  }
  void SetLabels(int64_t i, int64_t n, T t) {
    const Mixture mixed = Mixing();
    ForEachLabelIn(i, n, [&](int64_t row, int64_t at) {
      targets_[at] = mixed(weights_[labels_[row] - i], t);
    });
  }

  // From Target to classes [i, i + n) of the gradient.
  void Store(int64_t i, int64_t n) {
    if (!in_place_[kOut]) panels_.Store(a_, i, n);
  }

  const Losses<T>& l_;
  const Problem<T>& p_;
  const Plan& plan_;
  const CrossEntropyPhases<T>& phases_;
  Panels<T> panels_;
  bool in_place_[kMaxArrays] = {}, loaded_[kMaxArrays], weights_read_ = false;
  int64_t rows_ = 0, ignored_ = 0;
  // Scratch.
  T *a_, *targets_, *terms_;  // [panel][chunk][nr]
  T* weights_;                // [chunk]
  T* partials_;               // [panel][sum][B][nr]
  // One element per row (LossRows). Of `weight_` gradients with targets make the scale.
  T *max_, *below_, *maxima_, *loss_, *factor_, *picked_, *weight_, *at_label_;
  int64_t* labels_;
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_SOFTMAX_LOSS_BLOCK_H_
