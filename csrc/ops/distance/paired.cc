// Distances of pairs of rows. NR pairs at a time fill the lanes of two panels, [k][NR] of x and of
// y, whose terms the kernel sums lane by lane: in the blocks and with the finish that all pairs
// have.
#include <algorithm>
#include <utility>

#include "kernels/kernels.h"
#include "lanewise/distance.h"
#include "ops/distance/arguments.h"
#include "ops/distance/bits.h"
#include "ops/distance/finish.h"
#include "ops/distance/metric.h"
#include "ops/distance/rows.h"
#include "runtime/cpu.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace distance {
namespace {

constexpr const char* kOp = "paired_distances";

// Terms of a task, so that one takes some 100 µs.
constexpr int64_t kTermsPerTask = int64_t{1} << 16;

// Up to NR pairs at a time, in one thread's scratch.
template <class T>
class Pairs {
 public:
  Pairs(const DistanceKernels<T>& kernels, const Recipe& recipe, const TensorView& x,
        const TensorView& y, const Results<T>& results, Scratch scratch)
      : kernels_(kernels),
        recipe_(recipe),
        results_(results),
        nr_(kernels.nr),
        d_(x.shape[x.rank - 1]),
        terms_(Terms(nr_, d_)),
        finisher_(kernels, recipe, d_),
        x_(x, scratch, nr_, terms_),
        y_(y, scratch, nr_, terms_),
        out_offsets_(scratch.Take<int64_t>(nr_)),
        totals_(scratch.Take<T>(nr_)),
        second_(scratch.Take<T>(nr_)),
        distances_(scratch.Take<T>(nr_)) {}

  static size_t ScratchBytes(int64_t nr, int64_t d) {
    return 2 * Side::ScratchBytes(nr, Terms(nr, d)) + Scratch::Bytes<int64_t>(nr) +
           3 * Scratch::Bytes<T>(nr);
  }

  // The distances at positions [begin, begin + count), count <= NR.
  void Run(const LeadingAxes& positions, int64_t begin, int64_t count) {
    for (int64_t j = 0; j < count; ++j) {
      const auto [x_at, y_at, out_at] = positions.OffsetsOf(begin + j);
      x_.offsets[j] = x_at;
      y_.offsets[j] = y_at;
      out_offsets_[j] = out_at;
    }
    int64_t first = 0;
    do {  // once at least, so that d = 0 gives the empty sum
      const int64_t terms = std::min(terms_, d_ - first);
      for (const Side* side : {&x_, &y_}) Pack(*side, count, first, terms);
      Accumulate(recipe_.term, x_.panel, y_.panel, terms, totals_, first == 0);
      if (recipe_.second) {
        Accumulate(*recipe_.second, x_.panel, y_.panel, terms, second_, first == 0);
      }
      first += terms;
    } while (first < d_);
    DistanceTotals<T> totals = finisher_.Totals();
    totals.rows = 1;
    totals.n = count;
    totals.totals = totals_;
    totals.second = second_;
    totals.x_norms = x_.norms;
    totals.y_norms = y_.norms;
    totals.pairs = true;
    finisher_(totals, distances_, nr_,
              [&](int64_t, int64_t j) { return std::pair(x_.row(j), y_.row(j)); });
    Store(count);
  }

 private:
  // The rows of one operand and what is made of them, lane by lane.
  struct Side {
    const Source<T> source;
    const int64_t stride;
    int64_t* const offsets;
    Centre* const centres;
    T *const norms, *const panel;

    Side(const TensorView& view, Scratch& scratch, int64_t nr, int64_t terms)
        : source(view),
          stride(view.strides[view.rank - 1]),
          offsets(scratch.Take<int64_t>(nr)),
          centres(scratch.Take<Centre>(nr)),
          norms(scratch.Take<T>(nr)),
          panel(scratch.Take<T>(terms * nr)) {}
    static size_t ScratchBytes(int64_t nr, int64_t terms) {
      return Scratch::Bytes<int64_t>(nr) + Scratch::Bytes<Centre>(nr) + Scratch::Bytes<T>(nr) +
             Scratch::Bytes<T>(terms * nr);
    }
    Row<T> row(int64_t lane) const { return {source + offsets[lane], stride}; }
  };

  // Two panels take half of L1.
  static int64_t Terms(int64_t nr, int64_t d) {
    const int64_t most = static_cast<int64_t>(Caches().l1) / 4 / (nr * int64_t{sizeof(T)});
    return std::min(d, std::max<int64_t>(kSumBlock, most / kSumBlock * kSumBlock));
  }

  void Pack(const Side& side, int64_t count, int64_t first, int64_t terms) {
    if (recipe_.form == Form::kAsIs && side.source.native()) {  // whole lines are written
      const T* from = side.source.InPlace() + first * side.stride;
      for (int64_t k = 0; k < terms; ++k, from += side.stride) {
        for (int64_t j = 0; j < count; ++j) side.panel[k * nr_ + j] = from[side.offsets[j]];
      }
    } else {
      for (int64_t j = 0; j < count; ++j) {
        if (first == 0) {
          side.centres[j] = recipe_.form == Form::kCentred ? CentreOf(side.row(j), d_) : Centre();
        }
        PackRow(side.row(j), recipe_.form, side.centres[j], first, terms, nr_, side.panel + j);
      }
    }
    ClearLanes(count, terms, nr_, side.panel);
    if (recipe_.norms) {
      Accumulate(*recipe_.norms, side.panel, side.panel, terms, side.norms, first == 0);
    }
  }

  void Accumulate(Term term, const T* x, const T* y, int64_t terms, T* totals, bool is_first) {
    if (terms == 0) std::fill_n(totals, nr_, T(0));
    kernels_.accumulate_pairs[static_cast<int>(term)](x, y, terms, recipe_.p, totals, is_first);
  }

  // In runs of evenly spaced results.
  void Store(int64_t count) const {
    for (int64_t j = 0; j < count;) {
      const int64_t stride = j + 1 < count ? out_offsets_[j + 1] - out_offsets_[j] : 1;
      int64_t end = j + 1;
      while (end < count && out_offsets_[end] - out_offsets_[end - 1] == stride) ++end;
      results_.Write(distances_ + j, end - j, out_offsets_[j], stride);
      j = end;
    }
  }

  const DistanceKernels<T>& kernels_;
  const Recipe& recipe_;
  const Results<T>& results_;
  const int64_t nr_, d_, terms_;
  const Finisher<T> finisher_;
  const Side x_, y_;
  int64_t* const out_offsets_;
  T *const totals_, *const second_, *const distances_;
};

template <class T>
void Run(const TensorView& x, const TensorView& y, const Recipe& recipe, const TensorView& out) {
  const auto& kernels = DistanceKernelsFor<T>(ActiveTarget());
  const LeadingAxes positions = LeadingAxesOf(x, y, 1, out, 0);
  const int64_t d = x.shape[x.rank - 1], count = positions.count(), nr = kernels.nr;
  const Results<T> results(out);
  // Packing, two coordinates a term, weighs more than most terms.
  const double total_ns = double(count) * (double(d) * (1 + recipe.term_ns) + 10);
  const int64_t most = RoundUp(std::max<int64_t>(1, kTermsPerTask / std::max<int64_t>(d, 1)), nr);
  const Split tasks(count, nr, most);
  const Work work{tasks.count, total_ns, Pairs<T>::ScratchBytes(nr, d)};
  ParallelFor(work, [&](int64_t task, Scratch scratch) {
    Pairs<T> pairs(kernels, recipe, x, y, results, scratch);
    for (int64_t begin = tasks.begin(task); begin < tasks.end(task); begin += nr) {
      pairs.Run(positions, begin, std::min(nr, tasks.end(task) - begin));
    }
  });
}

}  // namespace
}  // namespace distance

Shape PairedDistancesShape(const Shape& x, const Shape& y) {
  Shape out = distance::BroadcastLeadingAxes(distance::kOp, x, y, 1);
  return CheckedShape(distance::kOp, std::move(out));
}

void PairedDistances(const TensorView& x, const TensorView& y, const DistanceOptions& options,
                     const TensorView& out) {
  const distance::Recipe recipe = distance::RecipeOf(distance::kOp, options);
  const Shape shape = PairedDistancesShape(x.sizes(), y.sizes());
  distance::CheckArguments(distance::kOp, x, y, shape, out);
  if (distance::CountsBits(recipe, x.dtype, y.dtype)) {
    return distance::PairedBits(x, y, recipe, out);
  }
  distance::DispatchSums(recipe, out.dtype,
                         [&](auto zero) { distance::Run<decltype(zero)>(x, y, recipe, out); });
}

}  // namespace lanewise
