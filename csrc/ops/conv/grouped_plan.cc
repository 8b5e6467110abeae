#include "ops/conv/grouped_plan.h"

#include <numeric>

#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr double kFlopsPerNs = 60, kBytesPerNs = 12;
constexpr int64_t kManyTerms = 64;

template <class T>
class Planner {
 public:
  Planner(const ConvProblem<T>& problem, const ConvKernels<T>& kernels, GroupedAccess access,
          const ChannelUnits<T>& units);
  GroupedPlan Make();

 private:
  void CutWindow();
  void CutRowsAndUnits();
  std::vector<size_t> Offsets() const;

  // Columns whose strips fit in a quarter of L2, for all of a ring.
  int64_t FittingColumns() const {
    return l2_ / 4 / plan_.lanes / (plan_.slots() * plan_.depth * plan_.phases.count) -
           plan_.phases.length;
  }
  int64_t LeastColumns() const { return std::min<int64_t>(shape_.w.out, 8); }

  const ConvProblem<T>& problem_;
  const ConvShape& shape_;
  const ChannelUnits<T>& units_;
  const int64_t l2_ = int64_t(Caches().l2 / sizeof(T));  // elements
  GroupedPlan plan_;
};

template <class T>
Planner<T>::Planner(const ConvProblem<T>& problem, const ConvKernels<T>& kernels,
                    GroupedAccess access, const ChannelUnits<T>& units)
    : problem_(problem),
      shape_(problem.shape),
      units_(units),
      plan_(access, Phases(shape_.w, shape_.w.window, 0, false)) {
  plan_.from_planes = problem.x_strides.c != 1 && shape_.channels() > 1;
  plan_.to_planes = problem.out_strides.c != 1 && shape_.filters() > 1;
  plan_.lanes = int64_t(kernels.lanes);
  plan_.strip_rows = int64_t(kernels.strip_rows);
  plan_.part_rows = shape_.h.window;
  plan_.part_taps = shape_.w.window;
  plan_.depth = access == GroupedAccess::kStrips ? shape_.group_c : 1;
  plan_.unit_set = access == GroupedAccess::kBroadcast ? units.per_block() : 1;
  plan_.total_ns = GroupedNs(problem);
}

template <class T>
GroupedPlan Planner<T>::Make() {
  const int64_t common = std::gcd(shape_.h.stride, shape_.h.dilation);
  plan_.row_step = shape_.h.dilation / common;
  plan_.shift = shape_.h.stride / common;
  const bool vectors =
      plan_.access == GroupedAccess::kInPlace || plan_.access == GroupedAccess::kStrips;
  plan_.sliding = vectors && shape_.group_c == 1 && shape_.w.stride == 1 && shape_.w.dilation == 1;

  CutWindow();
  plan_.activates = plan_.whole && problem_.activation <= Activation::kRelu6;
  plan_.stores =
      plan_.activates && problem_.out.native() && problem_.clamp == nullptr && !plan_.to_planes;

  plan_.columns = Split(shape_.w.out, 1, std::max(LeastColumns(), FittingColumns()));
  plan_.length = (plan_.columns.longest() + plan_.phases.length) | 1;
  plan_.offsets = Offsets();
  CutRowsAndUnits();
  return plan_;
}

template <class T>
void Planner<T>::CutWindow() {
  const WindowAxis& w = shape_.w;
  if (plan_.in_place() || FittingColumns() >= LeastColumns()) return;
  plan_.part_rows = 1;
  while (FittingColumns() < LeastColumns() && plan_.part_taps > 1) {
    plan_.part_taps = CeilDiv(plan_.part_taps, 2);
    plan_.phases = Phases(w, plan_.part_taps, 0, false);
  }
  plan_.whole = plan_.part_rows == shape_.h.window && plan_.part_taps == w.window;
}

// Two threads seldom write the same cache line where each has planes of its own, or rows of
// neighbouring channels. Those are cut first, if they can be shared out evenly; else, as for 14
// rows in pairs, units come first: two threads take 115 µs instead of 140 for 3×3, 512 channels in
// 32 groups at 14². Shared cache lines, where results do not begin at a multiple of 64 bytes, cost
// less than that only where an output has many terms: depthwise at 14², 3×3 would take 29 µs
// instead of 23 with 384 channels, and 7×7 would take 50 instead of 49.
template <class T>
void Planner<T>::CutRowsAndUnits() {
  const ConvShape& shape = shape_;
  const WindowAxis& h = shape.h;
  const bool in_place = plan_.in_place();
  const int64_t threads = ThreadsFor(plan_.total_ns);
  // The rows of the thread that has most.
  const int64_t share = CeilDiv(CeilDiv(h.out, plan_.strip_rows), threads) * plan_.strip_rows;
  const bool uneven = 8 * share * threads > 9 * h.out;
  const bool units_first = plan_.to_planes || (uneven && shape.terms() >= kManyTerms);
  const int64_t wanted =
      threads == 1 ? 1 : CeilDiv((plan_.to_planes ? 4 : 2) * threads, problem_.batch);
  const auto cut = [&](int64_t done, int64_t at_most) {
    if (2 * done >= wanted) return int64_t{1};
    const int64_t pieces = std::clamp<int64_t>(at_most, 1, CeilDiv(wanted, done));
    return pieces > threads ? pieces / threads * threads : pieces;
  };

  const bool broadcast = plan_.access == GroupedAccess::kBroadcast;
  const bool partial = shape.filters() > plan_.lanes && shape.filters() % plan_.lanes > 0;
  plan_.overlapping = !broadcast && partial ? 1 : 0;
  const int64_t sets = units_.count() / plan_.unit_set - plan_.overlapping;
  // Planes are read a vector of channels at a time, as few streams: one thread takes 2.5 ms instead
  // of 2.9 for 7×7, 96 channels at 56², and 3.2 instead of 9.1 for 3×3 with stride 2 at 112².
  const int64_t most_sets = in_place            ? sets
                            : plan_.from_planes ? 1
                                                : std::max<int64_t>(1, l2_ / 2 / plan_.ring());
  const int64_t most_unit_pieces = plan_.to_planes ? sets : sets * plan_.unit_set / 4;
  // The rows above and below a task's are laid out for it as well.
  const int64_t halo = std::max<int64_t>(0, h.window - h.stride) * h.dilation;
  const int64_t least_rows =
      std::max<int64_t>(plan_.strip_rows, in_place ? 0 : 40 * halo / shape.taps());
  const int64_t most_row_pieces = h.out / least_rows;

  const int64_t columns = plan_.columns.count;
  int64_t row_pieces = units_first ? 1 : cut(columns, most_row_pieces);
  plan_.unit_pieces = Split(sets, 1, most_sets, cut(columns * row_pieces, most_unit_pieces));
  if (units_first) row_pieces = cut(columns * plan_.unit_pieces.count, most_row_pieces);
  plan_.rows = Split(h.out, plan_.strip_rows, h.out, row_pieces);
}

template <class T>
std::vector<size_t> Planner<T>::Offsets() const {
  const ImageStrides& strides = problem_.x_strides;
  std::vector<size_t> offsets;
  for (int64_t s = 0; s < plan_.part_taps; ++s) {
    const int64_t in_x = s * shape_.w.dilation * strides.w;
    const int64_t in_plane =
        (plan_.phases.Row(s) * plan_.length + plan_.phases.Place(s)) * plan_.lanes;
    for (int64_t c = 0; c < shape_.group_c; ++c) {
      offsets.push_back(plan_.access == GroupedAccess::kBroadcast ? in_x + c * strides.c
                        : plan_.access == GroupedAccess::kInPlace ? in_x
                        : plan_.access == GroupedAccess::kLookup  ? in_plane
                                                                  : c * plan_.plane() + in_plane);
    }
  }
  return offsets;
}

}  // namespace

template <class T>
double GroupedNs(const ConvProblem<T>& problem) {
  const ConvShape& shape = problem.shape;
  const double elements = double(shape.h.in) * double(shape.w.in) * double(shape.channels()) +
                          double(shape.pixels()) * double(shape.filters());
  return problem.flops() / kFlopsPerNs + double(problem.batch) * elements * sizeof(T) / kBytesPerNs;
}

template <class T>
GroupedAccess GroupedAccessOf(const ConvProblem<T>& problem, int64_t lanes) {
  const ConvShape& shape = problem.shape;
  const bool inner = problem.x.native() && problem.rows.constant() && problem.columns.constant();
  if (shape.group_k >= lanes) return inner ? GroupedAccess::kBroadcast : GroupedAccess::kStrips;
  if (shape.group_c > 1) {
    // Groups that a vector can touch.
    const int64_t groups = (lanes + shape.group_k - 2) / shape.group_k + 1;
    const bool even = lanes % shape.group_k == 0 && shape.filters() % lanes == 0;
    const int64_t touched = std::min(shape.groups, even ? lanes / shape.group_k : groups);
    return touched * shape.group_c <= lanes ? GroupedAccess::kLookup : GroupedAccess::kStrips;
  }
  const bool small = shape.taps() <= 9 * shape.h.stride * shape.w.stride;
  const bool vectors = problem.x_strides.c == 1 && shape.filters() >= lanes;
  return inner && small && vectors && shape.group_k == 1 ? GroupedAccess::kInPlace
                                                         : GroupedAccess::kStrips;
}

template <class T>
ChannelUnits<T>::ChannelUnits(const ConvShape& shape, int64_t lanes, GroupedAccess access)
    : shape_(shape),
      lanes_(lanes),
      block_(access == GroupedAccess::kBroadcast ? shape.group_k : shape.filters()) {
  const bool strips = access == GroupedAccess::kStrips && !identity();
  if (access != GroupedAccess::kLookup && !strips) return;
  index_ = Buffer<Index>(count() * shape_.group_c * lanes);
  Index* to = index_.get();
  for (int64_t unit = 0; unit < count(); ++unit) {
    for (int64_t c = 0; c < shape_.group_c; ++c) {
      for (int64_t j = 0; j < lanes; ++j) {
        const int64_t k = std::min(FirstOut(unit) + j, shape_.filters() - 1);
        *to++ = static_cast<Index>(k / shape_.group_k * shape_.group_c + c - FirstIn(unit));
      }
    }
  }
}

template <class T>
GroupedPlan MakeGroupedPlan(const ConvProblem<T>& problem, const ConvKernels<T>& kernels,
                            GroupedAccess access, const ChannelUnits<T>& units) {
  return Planner<T>(problem, kernels, access, units).Make();
}

#define LANEWISE_INSTANTIATE(T)                                                      \
  template double GroupedNs(const ConvProblem<T>&);                                  \
  template class ChannelUnits<T>;                                                    \
  template GroupedAccess GroupedAccessOf(const ConvProblem<T>&, int64_t);            \
  template GroupedPlan MakeGroupedPlan(const ConvProblem<T>&, const ConvKernels<T>&, \
                                       GroupedAccess, const ChannelUnits<T>&);
LANEWISE_INSTANTIATE(float)
LANEWISE_INSTANTIATE(double)
LANEWISE_INSTANTIATE(int32_t)
LANEWISE_INSTANTIATE(int64_t)
#undef LANEWISE_INSTANTIATE

}  // namespace lanewise
