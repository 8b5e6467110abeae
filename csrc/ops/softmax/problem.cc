#include "ops/softmax/problem.h"

#include <algorithm>

#include "ops/stream.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// Up to this length rows are cheaper to transpose into panels than to finish one by one. Measured
// with AVX-512, float32, ns per element as a panel and as a row: softmax of 10 0.5 and 1.9, of 48
// 0.40 and 0.41, of 64 0.40 and 0.34; log_softmax, which has a logarithm per row or one per 16
// rows, of 64 0.48 and 0.69, of 128 0.45 and 0.45; softmax_backward of 32 0.34 and 0.40, of 64 0.22
// and 0.22.
int64_t ShortRow(SoftmaxOp op) {
  return IsBackward(op) ? 48 : op == SoftmaxOp::kSoftmax ? 63 : 112;
}

// Whether no array's elements along the axes are neighbours in memory: all rows are packed.
template <class T>
bool AreScattered(const Problem<T>& p) {
  bool scattered = true;
  for (int array = 0; array < kMaxArrays; ++array) {
    if (p.has(array)) scattered = scattered && !p.strides[array].contiguous();
  }
  return scattered;
}

// Whether positions are neighbours in memory, and elements along the axes are not.
template <class T>
bool Across(const Problem<T>& p) {
  bool inner = true, along = true;
  for (int array = p.reduces() ? kA : kOut; array < kMask; ++array) {
    if (!p.has(array)) continue;
    inner = inner && p.strides[array].inner == 1;
    along = along && p.strides[array].axis == 1;
  }
  return inner && !along;
}

// Whether each array fits `wanted`, and nothing is masked.
template <class T, class F>
bool Every(const Problem<T>& p, const F& wanted) {
  bool all = !p.has(kMask);
  for (int array = kOut; array < kMask; ++array) {
    if (p.has(array)) all = all && wanted(array);
  }
  return all;
}

template <class T>
bool AreRows(const Problem<T>& p) {
  return Every(p, [&](int array) {
    const bool reduced = array == kOut && p.reduces();
    return p.native(array) && (reduced || p.strides[array].contiguous());
  });
}

// Rows of another type must be neighbours, so that many are converted at once.
template <class T>
bool AreShortRows(const Problem<T>& p) {
  return p.n <= ShortRow(p.op) && Every(p, [&](int array) {
           if (array == kOut && p.reduces()) return true;
           const Strides& strides = p.strides[array];
           return strides.contiguous() && (p.native(array) || strides.inner == p.n);
         });
}

template <class T>
bool AreColumns(const Problem<T>& p) {
  bool all = true;
  for (int array = kOut; array < kMaxArrays; ++array) {
    if (!p.has(array)) continue;
    all = all && p.strides[array].along.single();
    all = all && (array == kMask || (p.native(array) && p.strides[array].inner == 1));
  }
  return all;
}

// softmax_backward of 256 rows of 50257 takes 3.0 ms past the caches, and 4.9 through them. Not in
// place, where the lines have just been read.
template <class T>
bool Streams(const Problem<T>& p) {
  const int64_t bytes = p.positions.count() * p.n * int64_t{sizeof(T)};
  return !p.reduces() && p.out.InPlace() != p.sources[kA].InPlace() &&
         StreamsPay(p.out.InPlace(), bytes);
}

}  // namespace

template <class T>
Problem<T>::Problem(SoftmaxOp op_, const Views& views, const ReducedAxes& reduced)
    : op(op_),
      kernels(SoftmaxKernelsFor<T>(ActiveTarget())),
      n(reduced.length()),
      positions(PositionsOf(views, reduced)),
      out(*views[kOut]) {
  for (int array = 0; array < kMaxArrays; ++array) {
    has_[array] = views[array] != nullptr;
    if (has_[array])
      strides[array] = Strides(*views[array], reduced, positions.inner_stride(array));
    if (has_[array] && array < kMask) sources[array] = Source<T>(*views[array]);
  }
  if (has_[kMask]) mask = Data<const uint8_t>(*views[kMask]);
}

template <class T>
Plan PlanFor(const Problem<T>& p) {
  const int64_t count = p.positions.count(), n = p.n, size = sizeof(T);
  const int64_t line = p.kernels.nr, partials = p.kernels.partials;
  // Panels pay where positions are neighbours in memory, or rows short; and if they are mostly
  // full, or no longer than that.
  const bool filled = count >= line / 2 || (count >= line / 4 && n <= line);
  const bool panels_pay = filled && (Across(p) || n <= ShortRow(p.op));
  const int64_t nr = panels_pay ? line : 1;

  // 1 ns per float32 where there is an exponential, 0.3 where there is none.
  const bool exponential = p.op != SoftmaxOp::kSoftmaxBackward;
  const double total_ns =
      double(count) * double(n) * (exponential ? 1.0 : 0.3) * double(size) / sizeof(float);
  const int64_t threads = ThreadsFor(total_ns);

  // Rows of one panel that the inputs' share of L2 holds.
  const int64_t inputs = IsBackward(p.op) ? 2 : 1;
  const int64_t room = std::max(partials, int64_t(Caches().l2) / 2 / (nr * size * inputs));
  int64_t panels = 1, chunk = n;
  if (n > room) {
    // Four cache lines at a time keep the memory's prefetchers busy.
    panels = nr == 1 ? 1 : 4;
    chunk = std::max(partials, room / panels / partials * partials);
  } else if (nr > 1 || AreScattered(p)) {
    panels =
        nr > 1 ? std::clamp<int64_t>(room / n, 1, 16) : std::clamp<int64_t>(room / n / 2, 1, 4);
  }
  panels = std::min(panels, std::max<int64_t>(1, CeilDiv(CeilDiv(count, threads), nr)));

  const int64_t at_most = std::max(nr * panels, kTaskElements / n);
  Plan plan{Path::kBlocks, false, 1, nr, panels, chunk, Split(count, nr * panels, at_most),
            total_ns};
  if (nr > 1 && chunk == n && AreShortRows(p)) {
    plan.path = Path::kShortRows;
    plan.group = std::min(CeilDiv(int64_t{2048}, n * nr) * nr, RoundUp(count, nr));
    plan.tasks = Split(count, plan.group, at_most);
  } else if (nr == 1 && chunk == n && AreRows(p)) {
    plan.path = Path::kRowGroups;
    plan.stream = Streams(p);
    // Rows and results that L1 holds; half of it, where there are rows ahead as well.
    plan.group =
        std::clamp<int64_t>(int64_t(Caches().l1) / (n * size * (inputs == 2 ? 3 : 6)), 1, 8);
    // The first rows of a task have nobody to take their maxima ahead.
    plan.tasks = Split(count, plan.group, std::max(at_most, count / (8 * threads)));
  } else if (chunk == n && nr > 1 && AreColumns(p) && p.positions.inner_size() >= 4 * nr) {
    plan.path = Path::kColumns;
    plan.stream = Streams(p);
    // 512 bytes of a row at a time; more would not stay in L2.
    plan.panels = std::min(panels, int64_t{8});
    const int64_t runs = count / p.positions.inner_size();
    plan.tasks =
        Split(runs * CeilDiv(p.positions.inner_size(), plan.block()), 1, at_most / plan.block());
  }
  return plan;
}

template struct Problem<float>;
template struct Problem<double>;
template Plan PlanFor(const Problem<float>&);
template Plan PlanFor(const Problem<double>&);

}  // namespace lanewise
