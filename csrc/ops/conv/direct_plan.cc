#include "ops/conv/direct_plan.h"

#include <cmath>
#include <type_traits>

#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr double kFlopsPerNs = 40;
// For comparing ways to cut only: a core's speed, and its rate from L3.
constexpr double kCoreFlopsPerNs = 150, kBytesPerNs = 10;
constexpr int64_t kTasksPerThread = 4;
// Pixels of fewer channels than this are copied to strips, where the taps of a window row are one
// run: the tile would load its MR pointers anew after every few terms.
constexpr int64_t kMinDepthInPlace = 16;
// Bounds the table of row pointers.
constexpr int64_t kMaxTaps = 64;
// Outputs of a task. A task reads all its filters: the more often, the more they are; where lanes
// are pixels the rows above and below are copied as well. But results, and the pixels that all
// blocks of filters read, should stay near: 1×1 with 64 to 256 channels at 56² runs at 73 % of the
// peak with 96 pixels and at 55 % with 3200.
constexpr int64_t kFewPixels = 96, kManyPixels = 512, kMostPixels = 1024;
// Where one block of filters reads a strip, copying it is a large part, and the more so the fewer
// rows of outputs it is for: 3×3 from 64 to 3 channels at 224² takes 8.6 ms instead of 10.5 in
// NHWC, 7.8 instead of 10.3 in NCHW (4 images, two cores with AVX-512).
constexpr int64_t kPixelsOfFewFilters = 2048;

// Whether the taps of every window row are one run of memory, none of it in the padding.
template <class T>
bool RowsAreRuns(const ConvProblem<T>& problem) {
  const WindowAxis& w = problem.shape.w;
  return w.dilation == 1 && problem.x_strides.w == problem.shape.group_c && w.before == 0 &&
         w.First(w.out - 1) + w.window <= w.in;
}

// With lanes = output channels, groups of few of these would leave most lanes of a vector idle:
// 3×3 with 128 channels at 56² in 32 groups takes 2.0 ms with lanes = pixels instead of 3.3. But
// pixels leave idle what an image of 7² does not fill, and then storing across is the lesser cost;
// as it is where sums are long, and gaps between rows of lanes, and a copy of each tap, are worth
// more: 3×3 with stride 2 from 256 to 512 channels at 40² takes 6.5 ms in NCHW instead of 9.1, and
// 3×3 from 32 to 64 at 112² 0.81 instead of 0.91 (one core with AVX-512), but 1×1 no less.
// Half a panel of mr < 8 rows is fewer sums than two multipliers of latency 4 work on.
template <class T>
bool ChannelLanes(const ConvProblem<T>& problem, int64_t mr, int64_t nr) {
  const ConvShape& shape = problem.shape;
  const bool few_pixels = shape.pixels() <= 8 * mr && shape.terms() >= 4 * nr;
  const bool native = problem.x.native() && problem.out.native() && problem.out_strides.w == 1;
  const bool many_terms = native && shape.taps() > 1 && shape.terms() >= 8 * nr;
  return shape.group_k > nr / (mr < 8 ? 2 : 4) &&
         (problem.out_strides.c == 1 || few_pixels || (many_terms && shape.group_k >= nr));
}

template <class T>
bool InPlace(const ConvProblem<T>& problem, bool channel_lanes, int64_t nr) {
  const ConvShape& shape = problem.shape;
  const WindowAxis& w = shape.w;
  if (!problem.x.native()) return false;
  if (channel_lanes) {
    return (problem.x_strides.c == 1 || shape.group_c == 1) &&
           (shape.group_c >= kMinDepthInPlace || w.window == 1 || w.dilation != 1 ||
            RowsAreRuns(problem));
  }
  return shape.taps() == 1 && shape.h.out == 1 && shape.h.before == 0 && w.stride == 1 &&
         w.before == 0 && w.out == w.in && problem.x_strides.w == 1 && w.in >= nr;
}

template <class T>
bool KernelFinishes(const ConvProblem<T>& problem, bool channel_lanes) {
  const ImageStrides& strides = problem.out_strides;
  return std::is_floating_point_v<T> && problem.out.native() &&
         (channel_lanes ? strides.c : strides.w) == 1 && problem.activation <= Activation::kRelu;
}

template <class T>
class Planner {
 public:
  Planner(const ConvProblem<T>& problem, const ConvKernels<T>& kernels);
  DirectPlan Make();

 private:
  void CutTerms(int64_t most, int64_t most_taps);
  void CutForThreads();
  // The filters of a group in pieces for images of so many pieces.
  Split CutFilters(int64_t pieces, int64_t at_least) const;
  double EstimateNs(const DirectPlan& plan, int64_t threads) const;
  // Whether a piece of the filters serves one task only.
  bool UsedOnce(int64_t pieces) const { return pieces == 1 && problem_.banks == problem_.batch; }
  // Rows of strips that tasks share are copied by each: results fill three quarters of L1.
  int64_t FewPixelsOfTask() const {
    const int64_t results = int64_t(Caches().l1) * 3 / 4 / size_;
    if (plan_.in_place) return kFewPixels;
    return std::clamp(results / std::max<int64_t>(1, shape_.group_k), kFewPixels, 3 * kFewPixels);
  }
  bool FewPixels() const { return shape_.pixels() <= 8 * plan_.mr; }
  int64_t LongestStrip() const {
    return plan_.Most([&](const TermBlock& block) { return plan_.Strip(shape_, block); });
  }

  const ConvProblem<T>& problem_;
  const ConvShape& shape_;
  const int64_t size_ = sizeof(T), l2_ = int64_t(Caches().l2) / size_;  // elements
  bool whole_taps_;  // filters hold their taps side by side: all are read for any of them
  int64_t kept_;     // filters that fill half of L2, where a thread may keep them
  DirectPlan plan_;
};

template <class T>
Planner<T>::Planner(const ConvProblem<T>& problem, const ConvKernels<T>& kernels)
    : problem_(problem),
      shape_(problem.shape),
      whole_taps_(shape_.taps() > 1 && FiltersArePlanes(problem)),
      kept_(l2_ / 2 / std::max<int64_t>(1, shape_.terms())) {
  const double filter_bytes =
      double(size_) * double(problem.banks) * double(shape_.terms()) * double(shape_.filters());
  plan_.mr = int64_t(kernels.mr);
  plan_.nr = int64_t(kernels.nr);
  plan_.total_ns = std::max(problem.flops() / kFlopsPerNs, filter_bytes / kBytesPerNs);
}

template <class T>
DirectPlan Planner<T>::Make() {
  const int64_t mr = plan_.mr, nr = plan_.nr;
  plan_.channel_lanes = ChannelLanes(problem_, mr, nr);
  plan_.in_place = InPlace(problem_, plan_.channel_lanes, nr);
  plan_.runs =
      plan_.channel_lanes && shape_.w.dilation == 1 && (!plan_.in_place || RowsAreRuns(problem_));
  // Rows of a panel that are pages apart are slow to read once per block of filters.
  plan_.pack_panels = !plan_.channel_lanes && plan_.in_place &&
                      problem_.x_strides.c * size_ >= 2048 && shape_.group_k > 4 * mr;
  plan_.kernel_finishes = KernelFinishes(problem_, plan_.channel_lanes);
  plan_.width = plan_.channel_lanes ? nr : mr;

  const int64_t per_pixel = shape_.group_c * shape_.h.stride * shape_.w.stride;
  const bool large = shape_.terms() * shape_.group_k > l2_ / 4;
  const int64_t pixels = std::clamp<int64_t>(l2_ / 2 / std::max<int64_t>(1, per_pixel), kFewPixels,
                                             large                  ? kMostPixels
                                             : plan_.channel_lanes  ? FewPixelsOfTask()
                                             : shape_.group_k <= mr ? kPixelsOfFewFilters
                                                                    : kManyPixels);
  plan_.columns = Split(shape_.w.out, plan_.channel_lanes ? mr : nr, pixels);
  plan_.rows = Split(shape_.h.out, 1, std::max<int64_t>(1, pixels / plan_.columns.longest()));
  // A block of filters in a quarter of L2, or half where it may not be cut between taps.
  const int64_t most_terms = l2_ / (whole_taps_ ? 2 : 4) / nr;
  CutTerms(most_terms, kMaxTaps);
  while (LongestStrip() > l2_ / 2 && plan_.rows.longest() > 1) {
    plan_.rows = Split(shape_.h.out, 1, plan_.rows.longest() / 2);
  }
  plan_.filters = CutFilters(plan_.pieces(), 1);
  CutForThreads();

  const bool used_once = UsedOnce(plan_.pieces());
  plan_.keep_filters = !used_once && plan_.filters.longest() <= kept_;
  // Results in the order of memory: 1×1 from 16 to 96 channels at 112² takes 0.38 ms instead of
  // 0.41, as long as L1 holds the filters.
  plan_.tiles_first = plan_.channel_lanes && plan_.blocks.size() == 1 &&
                      (plan_.keep_filters || problem_.forms != nullptr) &&
                      plan_.filters.longest() * shape_.terms() <= int64_t(Caches().l1) / 2 / size_;
  plan_.fetch = plan_.in_place && plan_.pieces() > 1;
  // Filters for few pixels are read from L1, where packing has just left them.
  if (used_once && plan_.channel_lanes && !whole_taps_ && FewPixels()) {
    CutTerms(std::min<int64_t>(most_terms, Caches().l1 / (plan_.width * size_)), kMaxTaps);
  }
  if (LongestStrip() > l2_ / 2) {
    const int64_t per_channel = plan_.Strip(shape_, {0, 1, 0, 1});
    CutTerms(std::max<int64_t>(1, l2_ / 2 / per_channel), 1);
  }
  return plan_;
}

template <class T>
void Planner<T>::CutTerms(int64_t most, int64_t most_taps) {
  const WindowAxis& w = shape_.w;
  const int64_t row_terms = w.window * shape_.group_c;
  const bool joined = plan_.runs && most_taps > 1 && row_terms > 0 && row_terms <= most;
  plan_.segment_taps = joined ? w.window : 1;
  plan_.blocks = TermBlocks(shape_, most, most_taps * plan_.segment_taps, plan_.segment_taps);
  // Lanes run on from one row to the next: through the few columns in between that windows reach
  // into, or through none where each tap has a copy. That is needed where sums wait for another
  // block of terms, and pays where there are many filters for a copy.
  plan_.spread = plan_.blocks.size() > 1 ||
                 (w.window - 1) * w.dilation * shape_.group_k > 8 * w.stride * w.out;
}

template <class T>
Split Planner<T>::CutFilters(int64_t pieces, int64_t at_least) const {
  // Sums that wait for another block of terms stay in a quarter of L2.
  const bool wait = plan_.blocks.size() > 1 || FewPixels();
  const int64_t most =
      std::min(UsedOnce(pieces) ? l2_ : kept_, wait ? l2_ / 4 / plan_.pixels() : l2_);
  return Split(shape_.group_k, plan_.width, std::max(plan_.width, most / plan_.width * plan_.width),
               at_least);
}

// The time of the thread with the most to do: its sums, and what it moves, the filters that it
// packs and the pixels that it reads, again for every piece of the filters unless they stay in L2.
template <class T>
double Planner<T>::EstimateNs(const DirectPlan& plan, int64_t threads) const {
  const double pieces = double(plan.pieces()), filter_pieces = double(plan.filters.count);
  const double images = double(problem_.batch) * double(shape_.groups);
  const double run = std::ceil(pieces * filter_pieces * images / double(threads));  // its tasks
  const double share = double(plan.pixels()) * double(plan.filters.longest()) /
                       (double(shape_.pixels()) * double(shape_.group_k));  // of an image: a task's
  const double sums_ns = run * share * problem_.flops() / images / kCoreFlopsPerNs;
  const double uses = pieces * double(problem_.batch / problem_.banks);  // of a piece of filters
  const double filter_bytes =
      double(size_) * double(shape_.terms()) * double(shape_.group_k) / filter_pieces;
  const double image_bytes =
      double(size_) * double(shape_.h.in) * double(shape_.w.in) * double(shape_.group_c) / pieces;
  const double once = std::min(run, uses) * image_bytes;
  const bool stays = once < double(l2_ * size_) / 2;
  const double bytes = std::ceil(run / uses) * filter_bytes + (stays ? once : run * image_bytes);
  return sums_ns + bytes / kBytesPerNs;
}

template <class T>
void Planner<T>::CutForThreads() {
  const int64_t threads = ThreadsFor(plan_.total_ns);
  if (threads == 1) return;
  const bool by_rows = shape_.h.out > 1;
  const Split& axis = by_rows ? plan_.rows : plan_.columns;
  const int64_t wanted = kTasksPerThread * threads, fewest = axis.count;
  const int64_t most = std::min(CeilDiv(axis.total, axis.unit), std::max(wanted, fewest));
  DirectPlan best = plan_;
  double least = 0;
  for (int64_t n = fewest; n <= most; ++n) {
    (by_rows ? plan_.rows : plan_.columns).count = n;
    const int64_t tasks = plan_.pieces() * problem_.batch * shape_.groups;
    for (const int64_t at_least : {int64_t{1}, threads, CeilDiv(wanted, tasks)}) {
      plan_.filters = CutFilters(plan_.pieces(), at_least);
      const double ns = EstimateNs(plan_, threads);
      if (least == 0 || ns < least) {
        least = ns;
        best = plan_;
      }
    }
  }
  plan_ = best;
}

}  // namespace

int64_t DirectPlan::Strip(const ConvShape& shape, const TermBlock& block) const {
  if (pack_panels) return RoundUp(columns.longest(), nr) * block.depth();
  if (in_place) return 0;
  return channel_lanes
             ? PixelStrip(shape, block, rows.longest(), columns.longest()).count()
             : PlaneStrip(shape, block, rows.longest(), columns.longest(), spread, nr).count();
}

template <class T>
ConvProblem<T> Flattened(const ConvProblem<T>& problem) {
  const ConvShape& shape = problem.shape;
  const auto whole = [](const WindowAxis& axis) {
    return axis.window == 1 && axis.stride == 1 && axis.before == 0 && axis.out == axis.in;
  };
  const auto flat = [&](const ImageStrides& strides) {
    return strides.h == shape.w.in * strides.w;
  };
  if (!whole(shape.h) || !whole(shape.w) || !flat(problem.x_strides) ||
      !flat(problem.out_strides)) {
    return problem;
  }
  ConvProblem<T> row = problem;
  int64_t pixels = shape.pixels();
  if (problem.banks == 1 && problem.bias_stride == 0 &&
      problem.x_strides.n == pixels * problem.x_strides.w &&
      problem.out_strides.n == pixels * problem.out_strides.w) {
    pixels *= problem.batch;
    row.batch = 1;
  }
  row.shape.h = {1, 1, 1, 1, 0, 0, 1};
  row.shape.w = {pixels, 1, 1, 1, 0, 0, pixels};
  row.rows = Border(PadMode::kConstant, 1);
  row.columns = Border(PadMode::kConstant, pixels);
  return row;
}

template <class T>
DirectPlan MakeDirectPlan(const ConvProblem<T>& problem, const ConvKernels<T>& kernels) {
  return Planner<T>(problem, kernels).Make();
}

#define LANEWISE_INSTANTIATE(T)                             \
  template ConvProblem<T> Flattened(const ConvProblem<T>&); \
  template DirectPlan MakeDirectPlan(const ConvProblem<T>&, const ConvKernels<T>&);
LANEWISE_INSTANTIATE(float)
LANEWISE_INSTANTIATE(double)
LANEWISE_INSTANTIATE(int32_t)
LANEWISE_INSTANTIATE(int64_t)
#undef LANEWISE_INSTANTIATE

}  // namespace lanewise
