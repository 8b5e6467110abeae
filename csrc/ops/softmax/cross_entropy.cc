// Cross-entropy along the axes of any array.
//
//   group       as many rows as their losses are kept for
//     task      a range of rows, in the order of the target's axes, as their sum has to be in
//       block   one row, or a few panels of NR neighbouring rows
//         phase   max, sum, apply, in chunks, as for softmax (softmax.cc)
#include "lanewise/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "ops/softmax/loss_block.h"
#include "ops/softmax/short_losses.h"
#include "runtime/buffer.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr const char* kName = "cross_entropy";

// Losses of this many rows are kept until they are summed.
constexpr int64_t kGroupRows = 16 * kSumRows;

// A float that rounds to any narrower type as x does: the bits that x has beyond it leave their
// mark on the last place (rounding to odd).
float RoundToOdd(double x) {
  float rounded = static_cast<float>(x);
  if (!std::isfinite(rounded) || static_cast<double>(rounded) == x) return rounded;
  const float other =
      std::nextafter(rounded, static_cast<double>(rounded) < x ? HUGE_VALF : -HUGE_VALF);
  uint32_t bits;
  std::memcpy(&bits, &rounded, sizeof(bits));
  return bits & 1 ? rounded : other;
}

// The same rows as the problem has; its positions in the order of the array's axes.
Positions InOrder(const Views& views, const ReducedAxes& reduced) {
  Positions positions;
  for (int a = 0; a < views[kOut]->rank; ++a) {
    if (reduced.contains(a)) continue;
    Positions::Offsets strides{};
    for (int i = 0; i < kMaxArrays; ++i) {
      if (views[i] != nullptr) strides[i] = views[i]->strides[a];
    }
    positions.Append(views[kOut]->shape[a], strides);
  }
  return positions;
}

struct Arguments {
  const TensorView &x, &target, &loss;
  const TensorView* gradient;
  const CrossEntropyOptions& options;
  ReducedAxes reduced;
  bool has_labels;
};

template <class T>
Losses<T> LossesOf(const Arguments& a) {
  // Without a gradient, what is as large as it and nowhere.
  TensorView nowhere = a.x;
  std::fill_n(nowhere.strides, nowhere.rank, 0);
  nowhere.dtype = a.loss.dtype;
  const Views views{a.gradient != nullptr ? a.gradient : &nowhere, &a.x,
                    a.has_labels ? nullptr : &a.target};
  const SoftmaxOp like = a.gradient != nullptr ? SoftmaxOp::kSoftmax : SoftmaxOp::kLogSumExp;
  Losses<T> losses{Problem<T>(like, views, a.reduced),
                   CrossEntropyKernelsFor<T>(ActiveTarget()),
                   ClassWeights<T>(a.options.weight),
                   Labels(),
                   a.has_labels,
                   a.gradient != nullptr,
                   a.options.from_probs,
                   static_cast<T>(a.options.label_smoothing)};
  Problem<T>& problem = losses.problem;
  problem.positions = InOrder(views, a.reduced);
  for (int i = 0; i < kMaxArrays; ++i) {
    if (views[i] != nullptr) problem.strides[i].inner = problem.positions.inner_stride(i);
  }
  if (a.has_labels) {
    losses.labels = Labels(a.target, a.reduced.length(), a.options.ignore_index);
  }
  return losses;
}

// Where losses of rows go: to the result, or to memory that holds a group of them until it is
// summed.
template <class T>
class Destination {
 public:
  Destination(const Arguments& a, int64_t rows)
      : loss_(a.loss),
        out_(a.loss),
        reduces_(a.options.reduction != Reduction::kNone),
        group_(reduces_ ? std::min(rows, kGroupRows) : rows),
        kept_(reduces_ ? group_ : 0) {
    for (int axis = 0; axis < loss_.rank; ++axis) {
      outs_.Append(loss_.shape[axis], {loss_.strides[axis]});
    }
  }

  int64_t group() const { return group_; }
  // Losses of rows [begin, end).
  void Take(const T* losses, int64_t begin, int64_t end) const {
    if (reduces_) {
      std::copy_n(losses, end - begin, kept_.get() + begin % group_);
      return;
    }
    outs_.ForEachRun(begin, end, [&](int64_t length, const MergedAxes<1>::Offsets& at) {
      (out_ + at[0]).Write(losses, length, outs_.inner_stride(0));
      losses += length;
    });
  }
  // After the last row of a group, which has so many.
  void Finish(int64_t rows) {
    if (reduces_) sum_ += SumOfRows(kept_.get(), rows);
  }
  // After the last group.
  void Store(double divisor) const {
    if (!reduces_) return;
    T loss = static_cast<T>(sum_ / divisor);
    if constexpr (std::is_same_v<T, float>) {
      if (!out_.native()) loss = RoundToOdd(sum_ / divisor);
    }
    out_.Write(&loss, 1, 1);
  }

 private:
  const TensorView& loss_;
  const Sink<T> out_;
  const bool reduces_;
  const int64_t group_;
  const Buffer<T> kept_;
  MergedAxes<1> outs_;
  double sum_ = 0;
};

template <class Block, class T>
void RunBlocks(const Losses<T>& losses, const Plan& plan, int64_t rows,
               Destination<T>& destination) {
  const size_t scratch_bytes = Block::ScratchBytes(losses, plan);
  const int64_t size = Block::Rows(plan);
  for (int64_t first = 0; first < rows; first += destination.group()) {
    const int64_t count = std::min(destination.group(), rows - first);
    const Split tasks(count, size, std::max(size, kTaskElements / losses.problem.n));
    const Work work{tasks.count, plan.total_ns * double(count) / double(rows), scratch_bytes};
    ParallelFor(work, [&](int64_t task, Scratch scratch) {
      Block block(losses, plan, scratch);
      const int64_t end = first + tasks.end(task);
      for (int64_t at = first + tasks.begin(task); at < end; at += size) {
        const int64_t to = std::min(end, at + size);
        destination.Take(block.Run(at, to), at, to);
      }
    });
    destination.Finish(count);
  }
}

template <class T>
void Run(const Arguments& a) {
  const int64_t rows = a.reduced.positions();
  Losses<T> losses = LossesOf<T>(a);
  double divisor = 1;
  if (a.has_labels) {
    const double weight = losses.labels.Check(losses.weights).weight;
    if (a.options.reduction == Reduction::kMean) divisor = weight;
  } else if (a.options.reduction == Reduction::kMean) {
    divisor = static_cast<double>(rows);
  }
  losses.scale = static_cast<T>(1 / divisor);

  const Plan plan = PlanFor(losses.problem);
  Destination<T> destination(a, rows);
  if (ShortLosses<T>::Take(losses, plan)) {
    RunBlocks<ShortLosses<T>>(losses, plan, rows, destination);
  } else {
    RunBlocks<LossBlock<T>>(losses, plan, rows, destination);
  }
  destination.Store(divisor);
}

// No rows, or rows of no classes, whose loss is 0, a sum of nothing. A mean of no rows is NaN.
void RunEmpty(const Arguments& a) {
  double counted = static_cast<double>(a.reduced.positions());
  if (a.has_labels && counted > 0) {
    const Labels labels(a.target, 0, a.options.ignore_index);
    counted = labels.Check(ClassWeights<double>(nullptr)).weight;
  }
  const double loss = a.options.reduction == Reduction::kMean ? 0 / counted : 0;
  int64_t count = 1;
  MergedAxes<1> outs;
  for (int axis = 0; axis < a.loss.rank; ++axis) {
    count *= a.loss.shape[axis];
    if (count > 0) outs.Append(a.loss.shape[axis], {a.loss.strides[axis]});
  }
  DispatchFloat(a.loss.dtype, [&](auto zero) {
    const auto value = static_cast<decltype(zero)>(loss);
    const Sink<decltype(zero)> out(a.loss);
    for (int64_t i = 0; i < count; ++i) (out + outs.OffsetsOf(i)[0]).Write(&value, 1, 1);
  });
}

Shape WithoutAxes(const Shape& x, const ReducedAxes& reduced) {
  Shape rows;
  for (int a = 0; a < static_cast<int>(x.size()); ++a) {
    if (!reduced.contains(a)) rows.push_back(x[a]);
  }
  return rows;
}

void CheckTarget(const TensorView& x, const TensorView& target, const CrossEntropyOptions& options,
                 const ReducedAxes& reduced, const TensorView& loss) {
  if (target.dtype == DType::kBool) {
    FailDType(kName,
              ": target has dtype bool, expected integers (class indices) or floating-point "
              "numbers (probabilities)");
  }
  const bool labels = IsInteger(target.dtype);
  if (labels && options.axes.size() != 1) {
    Fail(kName, ": ", options.axes.size(),
         " axes, but a target of class indices needs exactly one");
  }
  const Shape expected = labels ? WithoutAxes(x.sizes(), reduced) : x.sizes();
  if (target.sizes() != expected) {
    Fail(kName, ": target has shape ", ToString(target.sizes()), ", expected ", ToString(expected),
         labels ? " for class indices" : " for probabilities", " and logits of shape ",
         ToString(x.sizes()));
  }
  if (!labels) {
    CheckComputable(kName, loss, "target", target);
    if (options.ignore_index) {
      Fail(kName, ": ignore_index is for class indices, but target holds probabilities");
    }
  }
}

void CheckWeight(const TensorView& weight, int64_t classes, const TensorView& loss) {
  CheckView(kName, "weight", weight, weight.dtype, {classes});
  CheckComputable(kName, loss, "weight", weight);
}

}  // namespace

Shape CrossEntropyShape(const Shape& x, const CrossEntropyOptions& options) {
  const ReducedAxes reduced(kName, x, options.axes);
  return options.reduction == Reduction::kNone ? WithoutAxes(x, reduced) : Shape{};
}

void CrossEntropy(const TensorView& x, const TensorView& target, const CrossEntropyOptions& options,
                  const TensorView& loss, const TensorView* gradient) {
  const Arguments arguments{x,
                            target,
                            loss,
                            gradient,
                            options,
                            ReducedAxes(kName, x.sizes(), options.axes),
                            IsInteger(target.dtype)};
  const ReducedAxes& reduced = arguments.reduced;
  CheckTarget(x, target, options, reduced, loss);
  CheckComputable(kName, loss, "logits", x);
  if (!(options.label_smoothing >= 0 && options.label_smoothing <= 1)) {
    Fail(kName, ": label_smoothing is ", options.label_smoothing, ", expected 0 to 1");
  }
  if (options.weight != nullptr) CheckWeight(*options.weight, reduced.length(), loss);
  CheckView(kName, "loss", loss, loss.dtype, CrossEntropyShape(x.sizes(), options));
  if (gradient != nullptr) CheckView(kName, "gradient", *gradient, loss.dtype, x.sizes());
  if (reduced.length() == 0 || reduced.positions() == 0) return RunEmpty(arguments);
  DispatchFloat(loss.dtype, [&](auto zero) { Run<decltype(zero)>(arguments); });
}

}  // namespace lanewise
