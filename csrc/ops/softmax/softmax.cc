// Softmax along the axes of any array.
//
//   task      a range of positions (of the other axes)
//     block   one row, or a few panels of NR neighbouring positions
//       phase   max, sum, apply: each runs over all of the axes before the next
//         chunk   as many of their elements as scratch holds; read in place where it can be
//
// Where one chunk holds all elements, they are packed once per block and stay in cache.
#include "lanewise/softmax.h"

#include <algorithm>
#include <limits>

#include "ops/softmax/columns.h"
#include "ops/softmax/panels.h"
#include "ops/softmax/problem.h"
#include "ops/softmax/rows.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// Blocks of positions, in one thread's scratch.
template <class T>
class Blocks {
 public:
  Blocks(const Problem<T>& problem, const Plan& plan, Scratch scratch)
      : p_(problem),
        plan_(plan),
        phases_((plan.nr == 1 ? problem.kernels.row
                              : problem.kernels.panel)[static_cast<int>(problem.op)]),
        panels_(problem, plan, scratch) {
    for (int i = 0; i < kMaxArrays; ++i) in_place_[i] = InPlace(p_, plan_, i);
    a_ = scratch.Take<T>(PackedSize(problem, plan, kA));
    b_ = scratch.Take<T>(PackedSize(problem, plan, kB));
    mask_ = scratch.Take<uint8_t>(PackedSize(problem, plan, kMask));
    partials_ = scratch.Take<T>(plan.panels * PartialsSize(problem, plan));
    max_ = scratch.Take<T>(plan.block());
    totals_ = scratch.Take<T>(plan.block());
  }

  static size_t ScratchBytes(const Problem<T>& problem, const Plan& plan) {
    return Panels<T>::ScratchBytes(plan) + Scratch::Bytes<T>(PackedSize(problem, plan, kA)) +
           Scratch::Bytes<T>(PackedSize(problem, plan, kB)) +
           Scratch::Bytes<uint8_t>(PackedSize(problem, plan, kMask)) +
           Scratch::Bytes<T>(plan.panels * PartialsSize(problem, plan)) +
           2 * Scratch::Bytes<T>(plan.block());
  }

  void Run(int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += plan_.block()) {
      Block(at, std::min(end, at + plan_.block()));
    }
  }

 private:
  // Positions [begin, end), at most plan.block() of them.
  void Block(int64_t begin, int64_t end) {
    panels_.Hold(begin, end);
    std::fill_n(loaded_, kMaxArrays, false);
    FillIdleLanes();
    if (phases_.max != nullptr) ForEachChunk([&](int64_t i, int64_t n) { Max(i, n); });
    ForEachChunk([&](int64_t i, int64_t n) { Sum(i, n); });
    ForEachPanel([&](int64_t panel) {
      phases_.total(p_.n, Partials(panel), max_ + panel * plan_.nr, totals_ + panel * plan_.nr);
    });
    if (p_.reduces()) return panels_.StoreTotals(totals_);
    ForEachChunk([&](int64_t i, int64_t n) { Apply(i, n); });
  }

  static int64_t PartialsSize(const Problem<T>& problem, const Plan& plan) {
    return SoftmaxKernels<T>::kMaxSums * problem.kernels.partials * plan.nr;
  }
  // Whether the phases read, or write, an array's own memory.
  static bool InPlace(const Problem<T>& problem, const Plan& plan, int array) {
    if (plan.nr > 1 || !problem.has(array) || !problem.strides[array].contiguous()) return false;
    return array == kMask || problem.sources[array].native();
  }
  // `a` is packed unless it and out are used in place and nothing is masked, `b` and the mask
  // unless they are used in place or not there.
  static int64_t PackedSize(const Problem<T>& problem, const Plan& plan, int array) {
    const bool in_place = InPlace(problem, plan, array);
    const bool needed = array == kA ? !in_place || problem.has(kMask) ||
                                          (!problem.reduces() && !InPlace(problem, plan, kOut))
                                    : !in_place && problem.has(array);
    return needed ? plan.block() * plan.chunk : 0;
  }

  template <class F>
  void ForEachChunk(const F& f) {
    for (int64_t i = 0; i < p_.n; i += plan_.chunk) f(i, std::min(plan_.chunk, p_.n - i));
  }
  template <class F>
  void ForEachPanel(const F& f) {
    for (int64_t panel = 0; panel < panels_.count(); ++panel) f(panel);
  }
  bool Whole() const { return plan_.chunk == p_.n; }
  T* Partials(int64_t panel) const { return partials_ + panel * PartialsSize(p_, plan_); }

  // Lanes that no position fills take part in the arithmetic, so they must hold numbers.
  void FillIdleLanes() {
    if (panels_.last_is_full()) return;
    const int64_t last = (panels_.count() - 1) * panels_.size();
    std::fill_n(a_ + last, panels_.size(), T(0));
    if (p_.has(kB)) std::fill_n(b_ + last, panels_.size(), T(0));
    if (p_.has(kMask)) std::fill_n(mask_ + last, panels_.size(), uint8_t{1});
  }

  void Max(int64_t i, int64_t n) {
    const T* a = LoadA(i, n);
    ForEachPanel([&](int64_t panel) {
      phases_.max(a + panel * panels_.size(), n, i == 0, max_ + panel * plan_.nr);
    });
  }

  void Sum(int64_t i, int64_t n) {
    const T* a = LoadA(i, n);
    const T* b = Load(kB, i, n, b_);
    T* out = Target(i);
    ForEachPanel([&](int64_t panel) {
      const int64_t at = panel * panels_.size();
      phases_.sum(a + at, b + at, n, max_ + panel * plan_.nr, i == 0, out + at, Partials(panel));
    });
    if (!Whole() && KeepsExponentials()) Store(i, n);
  }

  void Apply(int64_t i, int64_t n) {
    T* out = Target(i);
    const T* a = p_.op == SoftmaxOp::kSoftmax ? Exponentials(i, n) : LoadA(i, n);
    const T* b = Load(kB, i, n, b_);
    ForEachPanel([&](int64_t panel) {
      const int64_t at = panel * panels_.size();
      phases_.apply(a + at, b + at, n, max_ + panel * plan_.nr, totals_ + panel * plan_.nr,
                    out + at);
    });
    if (p_.has(kMask)) Select(i, n, out, T(0), out);
    Store(i, n);
  }

  // Whether softmax's exponentials, which do not fit in scratch, wait in out, as they are.
  bool KeepsExponentials() const { return p_.op == SoftmaxOp::kSoftmax && p_.out.native(); }

  // What Sum stored. Where there was no place for it, it is computed a second time, into `a`.
  const T* Exponentials(int64_t i, int64_t n) {
    if (Whole()) return Target(i);
    if (KeepsExponentials()) return Load(kOut, i, n, a_);
    const T* a = LoadA(i, n);
    ForEachPanel([&](int64_t panel) {
      const int64_t at = panel * panels_.size();
      phases_.sum(a + at, nullptr, n, max_ + panel * plan_.nr, true, a_ + at, Partials(panel));
    });
    return a_;
  }

  // Where a phase writes elements from i on: out itself, or over `a`, of which it has the last use.
  T* Target(int64_t i) const {
    return in_place_[kOut] ? p_.out.InPlace() + panels_.Offset(kOut, i) : a_;
  }

  // Elements [i, i + n) along the axes, in place or packed.
  const T* Load(int array, int64_t i, int64_t n, T* packed) {
    if (!p_.has(array)) return packed;
    if (in_place_[array]) return p_.sources[array].InPlace() + panels_.Offset(array, i);
    if (loaded_[array]) return packed;
    loaded_[array] = Whole();
    panels_.Load(array, i, n, packed);
    return packed;
  }

  // x or dy; what is masked is read as -inf.
  const T* LoadA(int64_t i, int64_t n) {
    if (!p_.has(kMask)) return Load(kA, i, n, a_);
    if (loaded_[kA]) return a_;
    Select(i, n, Load(kA, i, n, a_), -std::numeric_limits<T>::infinity(), a_);
    loaded_[kA] = Whole();
    return a_;
  }

  // to = from where the mask is true, else fill.
  void Select(int64_t i, int64_t n, const T* from, T fill, T* to) {
    const uint8_t* mask = mask_;
    if (in_place_[kMask]) {
      mask = p_.mask + panels_.Offset(kMask, i);
    } else if (!loaded_[kMask]) {
      loaded_[kMask] = Whole();
      panels_.LoadMask(i, n, mask_);
    }
    ForEachPanel([&](int64_t panel) {
      const int64_t at = panel * panels_.size();
      p_.kernels.select(mask + at, from + at, n * plan_.nr, fill, to + at);
    });
  }

  // From Target to elements [i, i + n) of out.
  void Store(int64_t i, int64_t n) {
    if (!in_place_[kOut]) panels_.Store(a_, i, n);
  }

  const Problem<T>& p_;
  const Plan& plan_;
  const SoftmaxPhases<T>& phases_;
  Panels<T> panels_;
  bool in_place_[kMaxArrays], loaded_[kMaxArrays];
  // Scratch.
  T *a_, *b_;  // [panel][chunk][nr]
  uint8_t* mask_;
  T *partials_, *max_, *totals_;
};

template <class T>
void Run(SoftmaxOp op, const Views& views, const ReducedAxes& reduced) {
  const Problem<T> problem(op, views, reduced);
  const Plan plan = PlanFor(problem);
  const auto run = [&](size_t scratch_bytes, const auto& make_task) {
    ParallelFor({plan.tasks.count, plan.total_ns, scratch_bytes},
                [&](int64_t task, Scratch scratch) {
                  make_task(scratch).Run(plan.tasks.begin(task), plan.tasks.end(task));
                });
  };
  switch (plan.path) {
    case Path::kBlocks:
      return run(Blocks<T>::ScratchBytes(problem, plan),
                 [&](Scratch scratch) { return Blocks<T>(problem, plan, scratch); });
    case Path::kShortRows:
      return run(ShortRows<T>::ScratchBytes(problem, plan),
                 [&](Scratch scratch) { return ShortRows<T>(problem, plan, scratch); });
    case Path::kColumns:
      return run(Columns<T>::ScratchBytes(problem, plan),
                 [&](Scratch scratch) { return Columns<T>(problem, plan, scratch); });
    case Path::kRowGroups:
      return run(RowGroups<T>::ScratchBytes(problem, plan),
                 [&](Scratch scratch) { return RowGroups<T>(problem, plan, scratch); });
  }
}

void Dispatch(SoftmaxOp op, const Views& views, const ReducedAxes& reduced) {
  if (reduced.length() == 0 || reduced.positions() == 0) return;
  DispatchFloat(views[kOut]->dtype, [&](auto zero) { Run<decltype(zero)>(op, views, reduced); });
}

// An op whose result has the shape of its operands, which are a, b if it is there, and the mask.
void Elementwise(SoftmaxOp op, const char* name, const Axes& axes, const Views& views,
                 const char* a_name) {
  const TensorView &out = *views[kOut], &a = *views[kA];
  const ReducedAxes reduced(name, a.sizes(), axes);
  CheckView(name, "out", out, out.dtype, a.sizes());
  CheckComputable(name, out, a_name, a);
  if (views[kB] != nullptr) CheckComputable(name, out, "y", *views[kB]);
  Dispatch(op, views, reduced);
}

void Backward(SoftmaxOp op, const char* name, const TensorView& dy, const TensorView& y,
              const Axes& axes, const TensorView& out) {
  SoftmaxBackwardShape(name, dy.sizes(), y.sizes());
  Elementwise(op, name, axes, {&out, &dy, &y}, "dy");
}

// `mask` in x's shape, with strides of 0 where it is broadcast.
TensorView BroadcastMask(const TensorView& mask, const TensorView& x) {
  CheckView("softmax", "mask", mask, DType::kBool, mask.sizes());
  TensorView all = x;
  all.data = mask.data;
  all.dtype = mask.dtype;
  const int missing = x.rank - mask.rank;
  bool fits = missing >= 0;
  for (int a = 0; a < x.rank && fits; ++a) {
    const bool broadcast = a < missing || mask.shape[a - missing] == 1;
    fits = broadcast || mask.shape[a - missing] == x.shape[a];
    all.strides[a] = broadcast ? 0 : mask.strides[a - missing];
  }
  if (!fits) {
    Fail("softmax: mask has shape ", ToString(mask.sizes()), ", which does not broadcast to x's ",
         ToString(x.sizes()));
  }
  return all;
}

}  // namespace

void Softmax(const TensorView& x, const Axes& axes, const TensorView* mask, const TensorView& out) {
  const TensorView all = mask != nullptr ? BroadcastMask(*mask, x) : TensorView();
  Elementwise(SoftmaxOp::kSoftmax, "softmax", axes,
              {&out, &x, nullptr, mask != nullptr ? &all : nullptr}, "x");
}

void LogSoftmax(const TensorView& x, const Axes& axes, const TensorView& out) {
  Elementwise(SoftmaxOp::kLogSoftmax, "log_softmax", axes, {&out, &x}, "x");
}

Shape SoftmaxBackwardShape(const char* op, const Shape& dy, const Shape& y) {
  if (dy != y) {
    Fail(op, ": dy has shape ", ToString(dy), " but y has shape ", ToString(y));
  }
  return dy;
}

void SoftmaxBackward(const TensorView& dy, const TensorView& y, const Axes& axes,
                     const TensorView& out) {
  Backward(SoftmaxOp::kSoftmaxBackward, "softmax_backward", dy, y, axes, out);
}

void LogSoftmaxBackward(const TensorView& dy, const TensorView& y, const Axes& axes,
                        const TensorView& out) {
  Backward(SoftmaxOp::kLogSoftmaxBackward, "log_softmax_backward", dy, y, axes, out);
}

Shape LogSumExpShape(const Shape& x, const Axes& axes, bool keepdims) {
  const ReducedAxes reduced("logsumexp", x, axes);
  Shape shape;
  for (int a = 0; a < static_cast<int>(x.size()); ++a) {
    if (!reduced.contains(a)) shape.push_back(x[a]);
    if (reduced.contains(a) && keepdims) shape.push_back(1);
  }
  return shape;
}

void LogSumExp(const TensorView& x, const Axes& axes, bool keepdims, const TensorView& out) {
  constexpr const char* kName = "logsumexp";
  CheckView(kName, "out", out, out.dtype, LogSumExpShape(x.sizes(), axes, keepdims));
  CheckComputable(kName, out, "x", x);
  const ReducedAxes reduced(kName, x.sizes(), axes);
  const TensorView results = AtPositions(out, x, reduced, keepdims);
  if (reduced.length() > 0) {
    return Dispatch(SoftmaxOp::kLogSumExp, {&results, &x}, reduced);
  }
  // A sum over nothing is 0, as is one over a single exp(-inf).
  const float log_of_zero = -std::numeric_limits<float>::infinity();
  TensorView nothing(&log_of_zero, {});
  nothing.rank = x.rank;
  for (int a = 0; a < x.rank; ++a) {
    nothing.shape[a] = reduced.contains(a) ? 1 : x.shape[a];
    nothing.strides[a] = 0;
  }
  Dispatch(SoftmaxOp::kLogSumExp, {&results, &nothing}, ReducedAxes(kName, nothing.sizes(), axes));
}

}  // namespace lanewise
