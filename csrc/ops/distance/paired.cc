// Distances of pairs of rows. NR pairs at a time fill the lanes of two panels, [k][NR] of x and of
// y, whose terms the kernel sums lane by lane: in the blocks and with the finish that all pairs
// have.
#include <algorithm>

#include "kernels/kernels.h"
#include "lanewise/distance.h"
#include "ops/distance/arguments.h"
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

// Coordinates (two operands) that a task reads, so that one takes some 100 µs.
constexpr int64_t kTermsPerTask = int64_t{1} << 16;

// Up to NR pairs, in one thread's scratch.
template <class T>
class Pairs {
 public:
  Pairs(const DistanceKernels<T>& kernels, const Recipe& recipe, int64_t d, Scratch scratch)
      : kernels_(kernels),
        recipe_(recipe),
        finisher_(kernels, recipe, d),
        nr_(kernels.nr),
        d_(d),
        terms_(Terms(nr_, d)) {
    for (Side* side : {&x_, &y_}) {
      side->panel = scratch.Take<T>(terms_ * nr_);
      side->norms = scratch.Take<T>(nr_);
      side->rows = scratch.Take<Row<T>>(nr_);
      side->centres = scratch.Take<Centre>(nr_);
    }
    totals_ = scratch.Take<T>(nr_);
    second_ = scratch.Take<T>(nr_);
  }

  static size_t ScratchBytes(int64_t nr, int64_t d) {
    return 2 * (Scratch::Bytes<T>(Terms(nr, d) * nr) + Scratch::Bytes<Row<T>>(nr) +
                Scratch::Bytes<Centre>(nr)) +
           4 * Scratch::Bytes<T>(nr);
  }

  void Set(int64_t lane, const Row<T>& x, const Row<T>& y) {
    x_.rows[lane] = x;
    y_.rows[lane] = y;
  }

  // distances[j] of the rows set in lanes j < count.
  void Run(int64_t count, T* distances) {
    int64_t first = 0;
    do {  // once at least, so that d = 0 gives the empty sum
      const int64_t terms = std::min(terms_, d_ - first);
      for (Side* side : {&x_, &y_}) Pack(*side, count, first, terms);
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
    finisher_(totals, distances, nr_,
              [&](int64_t, int64_t j) { return std::pair(x_.rows[j], y_.rows[j]); });
  }

 private:
  struct Side {
    T *panel, *norms;
    Row<T>* rows;
    Centre* centres;
  };

  // Two panels take half of L1.
  static int64_t Terms(int64_t nr, int64_t d) {
    const int64_t most = static_cast<int64_t>(Caches().l1) / 4 / (nr * int64_t{sizeof(T)});
    return std::min(d, std::max<int64_t>(kSumBlock, most / kSumBlock * kSumBlock));
  }

  void Pack(const Side& side, int64_t count, int64_t first, int64_t terms) {
    for (int64_t j = 0; j < count; ++j) {
      if (recipe_.form == Form::kCentred && first == 0) {
        side.centres[j] = CentreOf(side.rows[j], d_);
      }
      PackRow(side.rows[j], recipe_.form, side.centres[j], first, terms, nr_, side.panel + j);
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

  const DistanceKernels<T>& kernels_;
  const Recipe& recipe_;
  const Finisher<T> finisher_;
  const int64_t nr_, d_, terms_;
  Side x_, y_;
  T *totals_, *second_;
};

template <class T>
void Run(const TensorView& x, const TensorView& y, const Recipe& recipe, const TensorView& out) {
  const auto& kernels = DistanceKernelsFor<T>(ActiveTarget());
  const LeadingAxes positions(x, y, 1, out, 0);
  const int64_t d = x.shape[x.rank - 1], count = positions.count(), nr = kernels.nr;
  const Source<T> x_source(x), y_source(y);
  const Results<T> results(out);
  // The roundings of packing, two coordinates a term, weigh more than most terms.
  const double total_ns = double(count) * (double(d) * (1 + recipe.term_ns) + 10);
  const int64_t most = RoundUp(std::max<int64_t>(1, kTermsPerTask / std::max<int64_t>(d, 1)), nr);
  const Split tasks(count, nr, most);
  const Work work{tasks.count, total_ns,
                  Pairs<T>::ScratchBytes(nr, d) + 2 * Scratch::Bytes<int64_t>(nr)};
  ParallelFor(work, [&](int64_t task, Scratch scratch) {
    int64_t* offsets = scratch.Take<int64_t>(nr);
    T* distances = scratch.Take<T>(nr);
    Pairs<T> pairs(kernels, recipe, d, scratch);
    for (int64_t begin = tasks.begin(task); begin < tasks.end(task); begin += nr) {
      const int64_t lanes = std::min(nr, tasks.end(task) - begin);
      for (int64_t j = 0; j < lanes; ++j) {
        const LeadingAxes::Offsets at = positions.At(begin + j);
        pairs.Set(j, {x_source + at.x, x.strides[x.rank - 1]},
                  {y_source + at.y, y.strides[y.rank - 1]});
        offsets[j] = at.out;
      }
      pairs.Run(lanes, distances);
      for (int64_t j = 0; j < lanes; ++j) results.Write(distances + j, 1, offsets[j], 1);
    }
  });
}

}  // namespace
}  // namespace distance

Shape PairedDistancesShape(const Shape& x, const Shape& y) {
  Shape out = distance::BroadcastLeadingAxes(distance::kOp, x, y, 1);
  int64_t elements = 1;
  for (const int64_t size : out) elements = CheckedProduct(distance::kOp, elements, size);
  return out;
}

void PairedDistances(const TensorView& x, const TensorView& y, const DistanceOptions& options,
                     const TensorView& out) {
  const distance::Recipe recipe = distance::RecipeOf(distance::kOp, options);
  const Shape shape = PairedDistancesShape(x.sizes(), y.sizes());
  distance::CheckArguments(distance::kOp, x, y, shape, out);
  distance::DispatchSums(recipe, out.dtype,
                         [&](auto zero) { distance::Run<decltype(zero)>(x, y, recipe, out); });
}

}  // namespace lanewise
