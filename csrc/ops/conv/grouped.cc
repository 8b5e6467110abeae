// Convolution in groups of few channels, down to one (depthwise): lanes are output channels, and
// vectors are full however small a group is, as a vector may span several of them.
//
//   strips     Each row of x is laid out with its padding as vectors: strip[c][phase][position]
//              holds in each lane input channel c of the lane's own group. Pixels under
//              neighbouring outputs are neighbours: where the stride is above 1, they are split by
//              phase. Planes (NCHW) are transposed on the way, and other types converted. Strips
//              are kept in a ring for as long as output rows need them.
//   in place   Depthwise, where channels are neighbours in memory (NHWC) and the window is small,
//              reads x where it is. Outputs at the border are computed one column at a time, with
//              the taps that lie inside the image.
//
// Both run the chain of multiply-adds of the direct convolution, in the order (r, s, c), and so
// give the same bits in both layouts. Rows and taps in the padding are left out where all taps are
// finite, as adding 0·tap then changes nothing.
#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/epilogue.h"
#include "ops/conv/pack.h"
#include "ops/conv/packed_filter.h"
#include "ops/strided.h"
#include "runtime/buffer.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr double kFlopsPerNs = 60, kBytesPerNs = 12;
constexpr double kNsPerPackedElement = 1;

// How x is read.
enum class Access {
  kStrips,     // as strips of C vectors per position, in which lanes of one group are alike
  kLookup,     // as strips of the channels themselves, which the kernel gives to the lanes
  kInPlace,    // as vectors of channels where they are
  kBroadcast,  // element by element where they are, as a vector belongs to one group
};

// Output channels in units of a vector. A unit may overlap the one before, so that it is full: the
// last of all, or, for kBroadcast, of each group.
template <class T>
class Units {
 public:
  using Index = typename Strips<T>::Index;

  Units(const ConvProblem<T>& problem, int64_t lanes, Access access)
      : shape_(problem.shape),
        lanes_(lanes),
        block_(access == Access::kBroadcast ? shape_.group_k : shape_.filters()) {
    if (access != Access::kLookup && (access != Access::kStrips || identity())) return;
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

  // Whether every output channel has the input channel of its own number.
  bool identity() const { return shape_.group_c == 1 && shape_.group_k == 1; }
  // Blocks of channels are cut into units of their own: all channels, or groups.
  int64_t block() const { return block_; }
  int64_t per_block() const { return CeilDiv(block_, lanes_); }
  int64_t count() const { return shape_.filters() / block_ * per_block(); }
  // The channels written: from FirstOut on, Out of them.
  int64_t FirstOut(int64_t unit) const {
    const int64_t last = std::max<int64_t>(0, block_ - lanes_);
    return unit / per_block() * block_ + std::min(unit % per_block() * lanes_, last);
  }
  int64_t Out() const { return std::min(lanes_, block_); }
  // The channels read.
  int64_t FirstIn(int64_t unit) const { return FirstOut(unit) / shape_.group_k * shape_.group_c; }
  int64_t In(int64_t unit) const {
    return CeilDiv(FirstOut(unit) + Out(), shape_.group_k) * shape_.group_c - FirstIn(unit);
  }
  LaneMap<T> Map(int64_t unit) const {
    return {static_cast<size_t>(shape_.group_c), static_cast<size_t>(In(unit)),
            index_.get() + unit * shape_.group_c * lanes_};
  }

 private:
  const ConvShape& shape_;
  const int64_t lanes_, block_;
  Buffer<Index> index_;  // [unit][c][lane]: which of the channels read
};

// The filters as vectors: [bank][unit][term][lane], zeros past the last channel, and after them
// whether all of them are finite.
template <class T>
struct FilterVectors {
  int64_t unit, bank;  // distances
  PackedFilters<T> data;
  bool finite;  // all taps are

  FilterVectors(const ConvProblem<T>& problem, const ConvKernels<T>& kernels, const Units<T>& units)
      : unit(problem.shape.terms() * static_cast<int64_t>(kernels.lanes)),
        bank(units.count() * unit),
        data(GetFilters(problem, FilterForm::kVectors, kernels, 0,
                        [&] { return PackAll(problem, kernels, units); })),
        finite(data.get()[problem.banks * bank] != 0) {}

 private:
  Buffer<T> PackAll(const ConvProblem<T>& problem, const ConvKernels<T>& kernels,
                    const Units<T>& units) const {
    const FilterStrides& strides = problem.filter_strides;
    const int64_t blocks = problem.shape.filters() / units.block();
    const double ns = kNsPerPackedElement * double(problem.banks) * double(bank);
    Buffer<T> packed(problem.banks * bank + 1);
    std::vector<uint8_t> finite_blocks(problem.banks * blocks);
    ParallelFor({problem.banks * blocks, ns, 0}, [&](int64_t i, Scratch) {
      T* const to = packed.get() + i * units.per_block() * unit;
      Pack(problem, kernels, problem.filter + (i / blocks * strides.n + i % blocks * strides.g),
           units.block(), to);
      finite_blocks[i] = kernels.finite(to, units.per_block() * unit);
    });
    const bool all = std::count(finite_blocks.begin(), finite_blocks.end(), 0) == 0;
    packed.get()[problem.banks * bank] = T(all);
    return packed;
  }

  // n filters, of one group or of all.
  void Pack(const ConvProblem<T>& problem, const ConvKernels<T>& kernels, const Source<T>& from,
            int64_t n, T* to) const {
    const ConvShape& shape = problem.shape;
    const FilterStrides& strides = problem.filter_strides;
    const int64_t c = shape.group_c, k = shape.group_k, lanes = kernels.lanes;
    const int64_t width = shape.w.window, taps = shape.taps(), terms = shape.terms();
    // Distances of taps and of filters, where these are equally spaced.
    const int64_t tap = width > 1 ? strides.s : strides.r, next = k > 1 ? strides.k : strides.g;
    const bool even_taps = width == 1 || shape.h.window == 1 || strides.r == width * tap;
    const bool even_filters = k == 1 || n == k || strides.g == k * next;
    const bool native = from.native() && even_taps && even_filters;
    if (native && next == 1 && (c == 1 || taps == 1 || tap == c * strides.c)) {  // HWIO
      const int64_t step = c == 1 ? tap : strides.c;
      return kernels.spread_channels(from.InPlace(), step, terms, n, to, unit);
    }
    if (native && tap == 1 && next > 0 && n >= lanes) {  // OIHW
      for (int64_t first = 0; first < n; first += lanes, to += unit) {
        for (int64_t i = 0; i < c; ++i) {
          const Source<T> rows = from + (std::min(first, n - lanes) * next + i * strides.c);
          kernels.transpose(rows.InPlace(), next, lanes, taps, to + i * lanes, c * lanes);
        }
      }
      return;
    }
    const Buffer<T> row(n);
    for (int64_t t = 0; t < terms; ++t, to += lanes) {
      const Source<T> term =
          from + (t / (width * c) * strides.r + t / c % width * strides.s + t % c * strides.c);
      for (int64_t i = 0; i < n; i += even_filters ? n : k) {
        (term + i / k * strides.g).Read(next, even_filters ? n : k, row.get() + i);
      }
      kernels.spread_channels(row.get(), 0, 1, n, to, unit);
    }
  }
};

// How the problem is cut. Sizes follow caches and threads; no sum's order depends on them.
struct Plan {
  Access access;
  bool from_planes, to_planes;  // channels are not neighbours in x, in the result
  int64_t lanes, strip_rows;
  // Output rows oh and oh + row_step share strips: their windows are `shift` tap rows apart.
  int64_t row_step, shift;
  // The part of the window that is worked through at a time: all of it, unless its strips are
  // larger than the caches.
  int64_t part_rows, part_taps;
  Phases phases;                // of the columns under the taps of a part, without outputs
  int64_t depth;                // vectors of a position
  int64_t length;               // positions of a phase
  int64_t strip;                // elements of a strip
  int64_t slots;                // of a ring of strips
  bool sliding;                 // neighbouring taps have neighbouring positions
  std::vector<size_t> offsets;  // of the terms (s, c) of a part's row
  Split rows, columns;          // of the output
  // Units in sets of `unit_set`; the last `overlapping` join the last set.
  int64_t unit_set, overlapping;
  Split unit_pieces;
  double total_ns;

  bool in_place() const { return access == Access::kInPlace || access == Access::kBroadcast; }
  int64_t UnitsBegin(int64_t piece) const { return unit_pieces.begin(piece) * unit_set; }
  int64_t UnitsEnd(int64_t piece) const {
    return unit_pieces.end(piece) * unit_set + (piece + 1 == unit_pieces.count ? overlapping : 0);
  }
  int64_t most_units() const { return unit_pieces.longest() * unit_set + overlapping; }
};

template <class T>
Access AccessOf(const ConvProblem<T>& problem, int64_t lanes) {
  const ConvShape& shape = problem.shape;
  const bool inner = problem.x.native() && problem.rows.constant() && problem.columns.constant();
  if (shape.group_k >= lanes) return inner ? Access::kBroadcast : Access::kStrips;
  if (shape.group_c > 1) {
    // Groups that a vector can touch.
    const int64_t groups = (lanes + shape.group_k - 2) / shape.group_k + 1;
    const bool whole = lanes % shape.group_k == 0 && shape.filters() % lanes == 0;
    const int64_t touched = std::min(shape.groups, whole ? lanes / shape.group_k : groups);
    return touched * shape.group_c <= lanes ? Access::kLookup : Access::kStrips;
  }
  const bool small = shape.taps() <= 9 * shape.h.stride * shape.w.stride;
  const bool vectors = problem.x_strides.c == 1 && shape.filters() >= lanes;
  return inner && small && vectors && shape.group_k == 1 ? Access::kInPlace : Access::kStrips;
}

template <class T>
Plan MakePlan(const ConvProblem<T>& problem, const ConvKernels<T>& kernels, Access access,
              const Units<T>& all) {
  const ConvShape& shape = problem.shape;
  const WindowAxis &h = shape.h, &w = shape.w;
  const bool from_planes = problem.x_strides.c != 1 && shape.channels() > 1;
  const bool to_planes = problem.out_strides.c != 1 && shape.filters() > 1;
  const int64_t lanes = kernels.lanes, strip_rows = kernels.strip_rows, c = shape.group_c;
  const int64_t common = std::gcd(h.stride, h.dilation);
  const int64_t row_step = h.dilation / common, shift = h.stride / common;
  const bool in_place = access == Access::kInPlace || access == Access::kBroadcast;
  const int64_t depth = access == Access::kStrips ? c : 1;

  int64_t part_rows = h.window, part_taps = w.window;
  const auto phases_of = [&](int64_t taps) { return Phases(w, taps, 0, false); };
  Phases phases = phases_of(part_taps);
  const auto slots = [&] { return (strip_rows - 1) * shift + part_rows; };
  // Columns whose strips fit in a quarter of L2, for all of a ring.
  const int64_t l2 = Caches().l2, vector_bytes = lanes * int64_t{sizeof(T)};
  const auto fitting = [&] {
    return l2 / 4 / vector_bytes / (slots() * depth * phases.count) - phases.length;
  };
  const int64_t least = std::min<int64_t>(w.out, 8);
  if (!in_place && fitting() < least) {
    part_rows = 1;
    while (fitting() < least && part_taps > 1) {
      part_taps = CeilDiv(part_taps, 2);
      phases = phases_of(part_taps);
    }
  }
  const double elements = double(h.in) * double(w.in) * double(shape.channels()) +
                          double(shape.pixels()) * double(shape.filters());
  const double total_ns =
      problem.flops() / kFlopsPerNs + double(problem.batch) * elements * sizeof(T) / kBytesPerNs;
  const int64_t threads = ThreadsFor(total_ns);
  const int64_t wanted = threads == 1 ? 1 : CeilDiv((to_planes ? 4 : 2) * threads, problem.batch);
  const Split columns(w.out, 1, std::max(least, fitting()));
  const int64_t length = (columns.longest() + phases.length) | 1;
  const int64_t strip = depth * phases.count * length * lanes;
  const int64_t ring_bytes = in_place ? 0 : slots() * strip * int64_t{sizeof(T)};
  const int64_t unit_set = access == Access::kBroadcast ? all.per_block() : 1;
  const int64_t overlapping = unit_set == 1 && access != Access::kBroadcast &&
                                      shape.filters() > lanes && shape.filters() % lanes > 0
                                  ? 1
                                  : 0;
  const int64_t unit_sets = all.count() / unit_set - overlapping;
  const int64_t most = in_place ? unit_sets : std::max<int64_t>(1, l2 / 2 / ring_bytes);
  const int64_t halo = std::max<int64_t>(0, h.window - h.stride) * h.dilation;
  const int64_t least_rows = std::max<int64_t>(strip_rows, in_place ? 0 : 40 * halo / shape.taps());
  // Two threads seldom write the same cache line where each has planes of its own, or rows of
  // neighbouring channels.
  const auto cut = [&](int64_t done, int64_t at_most) {
    if (2 * done >= wanted) return int64_t{1};
    const int64_t pieces = std::clamp<int64_t>(at_most, 1, CeilDiv(wanted, done));
    return pieces > threads ? pieces / threads * threads : pieces;
  };
  const int64_t most_row_pieces = h.out / least_rows;
  const bool units_first = to_planes;
  int64_t row_pieces = units_first ? 1 : cut(columns.count, most_row_pieces);
  const Split pieces(unit_sets, 1, most,
                     cut(columns.count * row_pieces,
                         units_first ? unit_sets : unit_sets * std::max<int64_t>(unit_set, 1) / 4));
  if (units_first) row_pieces = cut(columns.count * pieces.count, most_row_pieces);
  const Split rows(h.out, strip_rows, h.out, row_pieces);
  Plan plan{access,
            from_planes,
            to_planes,
            lanes,
            strip_rows,
            row_step,
            shift,
            part_rows,
            part_taps,
            phases,
            depth,
            length,
            strip,
            slots(),
            c == 1 && (access == Access::kInPlace || access == Access::kStrips) && w.stride == 1 &&
                w.dilation == 1,
            {},
            rows,
            columns,
            unit_set,
            overlapping,
            pieces,
            total_ns};
  for (int64_t s = 0; s < part_taps; ++s) {
    for (int64_t i = 0; i < c; ++i) {
      const int64_t plane = (depth > 1 ? i : 0) * phases.count + phases.Row(s);
      plan.offsets.push_back(access == Access::kBroadcast
                                 ? s * w.dilation * problem.x_strides.w + i * problem.x_strides.c
                             : in_place ? s * w.dilation * problem.x_strides.w
                                        : (plane * length + phases.Place(s)) * lanes);
    }
  }
  return plan;
}

// One task, in one thread's scratch.
template <class T>
class Task {
 public:
  Task(const ConvProblem<T>& problem, const ConvKernels<T>& kernels, const Plan& plan,
       const FilterVectors<T>& filters, const Units<T>& units, Scratch scratch)
      : problem_(problem), kernels_(kernels), plan_(plan), filters_(filters), channels_(units) {
    ring_ = scratch.Take<T>(RingCount(plan));
    strips_ = scratch.Take<const T*>(plan.slots);
    sums_ = scratch.Take<T>(SumCount(plan, problem));
    stage_ = scratch.Take<T>(StageCount(plan, problem));
    planes_ = scratch.Take<T>(PlaneCount(plan, problem));
  }

  static size_t ScratchBytes(const Plan& plan, const ConvProblem<T>& problem) {
    return Scratch::Bytes<T>(RingCount(plan)) + Scratch::Bytes<const T*>(plan.slots) +
           Scratch::Bytes<T>(SumCount(plan, problem)) +
           Scratch::Bytes<T>(StageCount(plan, problem)) +
           Scratch::Bytes<T>(PlaneCount(plan, problem));
  }

  void Run(int64_t image, int64_t unit_piece, int64_t row_piece, int64_t column_piece) {
    image_ = image;
    row_end_ = plan_.rows.end(row_piece);
    column_ = plan_.columns.begin(column_piece);
    columns_ = plan_.columns.end(column_piece) - column_;
    unit_ = plan_.UnitsBegin(unit_piece);
    units_ = plan_.UnitsEnd(unit_piece) - unit_;
    x_ = problem_.x + image * problem_.x_strides.n;
    const int64_t begin = plan_.rows.begin(row_piece);
    for (first_row_ = begin; first_row_ < std::min(begin + plan_.row_step, row_end_);
         ++first_row_) {
      if (plan_.in_place()) {
        SweepInPlace();
      } else {
        Sweep();
      }
    }
  }

 private:
  // Some output rows, some of the window, and some columns.
  struct Block {
    int64_t j, rows;  // output rows first_row_ + (j + i)·row_step, i < rows
    int64_t r, window, s, taps;
    int64_t column, columns;
    bool first, last;  // of the parts of the window
    bool down;         // vectors go down the rows of one column
    ptrdiff_t x_offset;
  };

  static bool Whole(const Plan& plan, const ConvShape& shape) {
    return plan.part_rows == shape.h.window && plan.part_taps == shape.w.window;
  }
  // Whether the kernel applies bias and activation.
  static bool Activates(const Plan& plan, const ConvProblem<T>& problem) {
    return Whole(plan, problem.shape) && problem.activation <= Activation::kRelu6;
  }
  // Whether it stores results, too.
  static bool Stores(const Plan& plan, const ConvProblem<T>& problem) {
    return Activates(plan, problem) && problem.out.native() && problem.clamp == nullptr &&
           !plan.to_planes;
  }
  static int64_t RingCount(const Plan& plan) {
    return plan.in_place() ? 0 : plan.most_units() * plan.slots * plan.strip;
  }
  // Sums outlive a call of the kernel, and so have to be those of every unit, only where the window
  // is worked through in parts.
  static int64_t UnitSums(const Plan& plan) {
    return plan.strip_rows * plan.columns.longest() * plan.lanes;
  }
  static int64_t SumCount(const Plan& plan, const ConvProblem<T>& problem) {
    if (Stores(plan, problem)) return 0;
    return UnitSums(plan) * (Whole(plan, problem.shape) ? 1 : plan.most_units());
  }
  // No more channels of x than these are under the units of a task, or under one unit.
  static int64_t StageCount(const Plan& plan, const ConvProblem<T>& problem) {
    const ConvShape& shape = problem.shape;
    if (plan.in_place() || (problem.x.native() && !plan.from_planes)) return 0;
    const int64_t units = plan.from_planes ? 1 : plan.most_units();
    return StagePixels(plan, shape) *
           std::max(plan.lanes, (CeilDiv(units * plan.lanes, shape.group_k) + 1) * shape.group_c);
  }
  static int64_t StagePixels(const Plan& plan, const ConvShape& shape) {
    return std::min(shape.w.in, plan.length * shape.w.stride);
  }
  static int64_t PlaneCount(const Plan& plan, const ConvProblem<T>& problem) {
    const ConvShape& shape = problem.shape;
    const int64_t in =
        plan.in_place() || !plan.from_planes || (problem.x.native() && problem.x_strides.w == 1)
            ? 0
            : StagePixels(plan, shape) * (CeilDiv(plan.lanes, shape.group_k) + 1) * shape.group_c;
    const int64_t out = plan.to_planes && (!problem.out.native() || problem.clamp != nullptr ||
                                           problem.out_strides.w != 1)
                            ? plan.columns.longest() * plan.lanes
                            : 0;
    return std::max(in, out);
  }

  T* Slot(int64_t unit, int64_t n) const {
    return ring_ + (unit * plan_.slots + n % plan_.slots) * plan_.strip;
  }
  // The row of x under strip n, which is under tap row n - j·shift of the sweep's output row j.
  int64_t InputRow(int64_t n) const {
    return problem_.rows(problem_.shape.h.First(first_row_) + n * problem_.shape.h.dilation);
  }
  int64_t RowCount() const { return CeilDiv(row_end_ - first_row_, plan_.row_step); }

  // Output rows first_row_, first_row_ + row_step, … of the task.
  void Sweep() {
    const WindowAxis &h = problem_.shape.h, &w = problem_.shape.w;
    const bool whole = Whole(plan_, problem_.shape);
    int64_t packed = 0;
    for (int64_t j = 0; j < RowCount(); j += plan_.strip_rows) {
      const int64_t rows = std::min(plan_.strip_rows, RowCount() - j);
      for (int64_t r = 0; r < h.window; r += plan_.part_rows) {
        const int64_t window = std::min(plan_.part_rows, h.window - r);
        const int64_t begin = j * plan_.shift + r, end = begin + (rows - 1) * plan_.shift + window;
        for (int64_t s = 0; s < w.window; s += plan_.part_taps) {
          const int64_t taps = std::min(plan_.part_taps, w.window - s);
          for (int64_t n = whole ? std::max(packed, begin) : begin; n < end; ++n)
            PackStrip(n, s, taps);
          packed = end;
          for (int64_t n = begin; n < end; ++n) {
            strips_[n - begin] = Skipped(InputRow(n)) ? nullptr : Slot(0, n);
          }
          const bool last = r + window == h.window && s + taps == w.window;
          Compute(
              {j, rows, r, window, s, taps, column_, columns_, r == 0 && s == 0, last, false, 0});
        }
      }
    }
  }

  bool Skipped(int64_t ih) const { return ih == Border::kNone && filters_.finite; }

  void SweepInPlace() {
    const WindowAxis &h = problem_.shape.h, &w = problem_.shape.w;
    // Columns all of whose taps are inside the image, and rows, counted as the sweep's.
    const int64_t end = column_ + columns_, count = RowCount();
    const int64_t inner = std::clamp(CeilDiv(w.before, w.stride), column_, end);
    const int64_t past = std::clamp(InsideBefore(w), inner, end);
    const auto row_of = [&](int64_t oh) {
      return std::clamp<int64_t>(CeilDiv(oh - first_row_, plan_.row_step), 0, count);
    };
    const int64_t low = row_of(CeilDiv(h.before, h.stride));
    const int64_t high = std::max(low, row_of(InsideBefore(h)));
    // Columns at the border: each has its own taps, and its vectors go down the rows.
    const auto border = [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const Interior inside(w.First(i), w.dilation, w.window, w.in);
        const int64_t s = inside.begin, taps = inside.end - s;
        for (int64_t j = 0; j < low; ++j) ComputeInPlace(j, 1, s, taps, i, 1);
        const int64_t at_once = plan_.strip_rows * plan_.columns.longest();
        for (int64_t j = low; j < high; j += at_once) {
          ComputeInPlace(j, std::min(at_once, high - j), s, taps, i, 1);
        }
        for (int64_t j = high; j < count; ++j) ComputeInPlace(j, 1, s, taps, i, 1);
      }
    };
    border(column_, inner);
    border(past, end);
    for (int64_t j = 0; j < count && inner < past; j += plan_.strip_rows) {
      const int64_t rows = std::min(plan_.strip_rows, count - j);
      ComputeInPlace(j, rows, 0, w.window, inner, past - inner);
    }
  }

  // The first output of an axis some of whose taps are behind the last input.
  static int64_t InsideBefore(const WindowAxis& axis) {
    const int64_t room = axis.in - 1 - (axis.window - 1) * axis.dilation + axis.before;
    return room < 0 ? 0 : room / axis.stride + 1;
  }

  // Output rows j, … of the sweep, with the taps [s, s + taps); if it is one column, all at once.
  void ComputeInPlace(int64_t j, int64_t rows, int64_t s, int64_t taps, int64_t column,
                      int64_t columns) {
    const WindowAxis &h = problem_.shape.h, &w = problem_.shape.w;
    const ImageStrides& strides = problem_.x_strides;
    const bool down = columns == 1 && rows > plan_.strip_rows;
    const T* const x = x_.InPlace() + channels_.FirstIn(unit_) * strides.c;
    for (int64_t q = 0; q < (down ? 0 : rows - 1) * plan_.shift + h.window; ++q) {
      const int64_t ih = InputRow(j * plan_.shift + q);
      strips_[q] = ih == Border::kNone ? nullptr : x + ih * strides.h;
    }
    const ptrdiff_t offset = w.Input(column, s) * strides.w;
    Compute({j, rows, 0, h.window, s, taps, column, columns, true, true, down, offset});
  }

  // Strip n of every unit, for the taps [s, s + taps).
  void PackStrip(int64_t n, int64_t s, int64_t taps) {
    const WindowAxis& w = problem_.shape.w;
    const int64_t ih = InputRow(n);
    if (Skipped(ih)) return;
    if (ih == Border::kNone) {
      for (int64_t u = 0; u < units_; ++u) std::fill_n(Slot(u, n), plan_.strip, T(0));
      return;
    }
    const Source<T> row = x_ + ih * problem_.x_strides.h;
    const int64_t first = w.Input(column_, s), last = w.Input(column_ + columns_ - 1, s + taps - 1);
    const int64_t begin = std::clamp<int64_t>(first, 0, w.in),
                  end = std::clamp(last + 1, begin, w.in);
    if (plan_.from_planes) {
      for (int64_t u = 0; u < units_; ++u) {
        const Pixels pixels = Transpose(row, u, begin, end - begin);
        PackPositions(pixels, n, u, 1, first, begin, end, taps);
      }
    } else {
      PackPositions(Convert(row, begin, end - begin), n, 0, units_, first, begin, end, taps);
    }
    if (!problem_.columns.constant()) PackBorder(row, n, first, taps);
  }

  // Pixels as vectors of channels.
  struct Pixels {
    const T* first;
    int64_t step;
  };

  // The positions of strip n, of `units` units from u on, whose columns are [begin, end) of x, and
  // zeros in the others.
  void PackPositions(const Pixels& pixels, int64_t n, int64_t u, int64_t units, int64_t first,
                     int64_t begin, int64_t end, int64_t taps) {
    const WindowAxis& w = problem_.shape.w;
    const int64_t length = Phases(w, taps, columns_, false).length;
    for (int64_t phase = 0; phase < plan_.phases.count; ++phase) {
      const int64_t start = first + plan_.phases.Input(phase, 0), at = phase * plan_.length;
      const Interior inside(start, w.stride, length, end);
      Clear(n, u, units, at, inside.begin);
      const Pixels from{pixels.first + (start + inside.begin * w.stride - begin) * pixels.step,
                        w.stride * pixels.step};
      Spread(from, inside.end - inside.begin, n, u, units, at + inside.begin);
      Clear(n, u, units, at + inside.end, length - inside.end);
    }
  }

  void PackBorder(const Source<T>& row, int64_t n, int64_t first, int64_t taps) {
    const WindowAxis& w = problem_.shape.w;
    const int64_t length = Phases(w, taps, columns_, false).length;
    for (int64_t phase = 0; phase < plan_.phases.count; ++phase) {
      for (int64_t i = 0; i < length; ++i) {
        const int64_t position = first + plan_.phases.Input(phase, i);
        if (Inside(position, w.in)) continue;
        const int64_t column = problem_.columns(position), at = phase * plan_.length + i;
        for (int64_t u = 0; plan_.from_planes && u < units_; ++u) {
          Spread(Transpose(row, u, column, 1), 1, n, u, 1, at);
        }
        if (!plan_.from_planes) Spread(Convert(row, column, 1), 1, n, 0, units_, at);
      }
    }
  }

  void Clear(int64_t n, int64_t u, int64_t units, int64_t position, int64_t count) {
    if (count == 0) return;
    const int64_t plane = plan_.phases.count * plan_.length * plan_.lanes;
    for (int64_t i = u; i < u + units; ++i) {
      for (int64_t c = 0; c < plan_.depth; ++c) {
        std::fill_n(Slot(i, n) + c * plane + position * plan_.lanes, count * plan_.lanes, T(0));
      }
    }
  }

  // Pixels to positions of strip n.
  void Spread(const Pixels& pixels, int64_t count, int64_t n, int64_t u, int64_t units,
              int64_t position) {
    if (count == 0) return;
    T* const to = Slot(u, n) + position * plan_.lanes;
    const int64_t ring = plan_.slots * plan_.strip,
                  plane = plan_.phases.count * plan_.length * plan_.lanes;
    const int64_t base = channels_.FirstIn(unit_ + u);
    if (channels_.identity()) {
      const int64_t n_channels = channels_.FirstIn(unit_ + u + units - 1) + channels_.Out() - base;
      kernels_.spread_channels(pixels.first, pixels.step, count, n_channels, to, ring);
      return;
    }
    for (int64_t i = 0; i < units; ++i) {
      if (plan_.access == Access::kLookup) {
        const int64_t unit = unit_ + u + i;
        kernels_.spread_channels(pixels.first + channels_.FirstIn(unit) - base, pixels.step, count,
                                 channels_.In(unit), to + i * ring, ring);
        continue;
      }
      kernels_.spread_groups(pixels.first + channels_.FirstIn(unit_ + u + i) - base, pixels.step,
                             count, channels_.Map(unit_ + u + i), to + i * ring, plane);
    }
  }

  // `count` pixels of all channels that the task's units read, where these are neighbours.
  Pixels Convert(const Source<T>& row, int64_t column, int64_t count) {
    const int64_t step = problem_.x_strides.w, first = channels_.FirstIn(unit_);
    const int64_t last = unit_ + units_ - 1;
    const int64_t channels = channels_.FirstIn(last) + channels_.In(last) - first;
    const Source<T> from = row + (column * step + first);
    if (from.native()) return {from.InPlace(), step};
    if (step == channels) {
      from.Read(1, count * channels, stage_);
    } else {
      for (int64_t i = 0; i < count; ++i)
        (from + i * step).Read(1, channels, stage_ + i * channels);
    }
    return {stage_, channels};
  }

  // `count` pixels of the channels that one unit reads.
  Pixels Transpose(const Source<T>& row, int64_t u, int64_t column, int64_t count) {
    const ImageStrides& strides = problem_.x_strides;
    const int64_t channels = channels_.In(unit_ + u);
    const Source<T> from = row + (column * strides.w + channels_.FirstIn(unit_ + u) * strides.c);
    const bool in_place = from.native() && strides.w == 1 && strides.c > 0;
    if (!in_place) {
      for (int64_t c = 0; c < channels; ++c) {
        (from + c * strides.c).Read(strides.w, count, planes_ + c * count);
      }
    }
    const T* const planes = in_place ? from.InPlace() : planes_;
    const int64_t stride = in_place ? strides.c : count;
    if (channels <= plan_.lanes) {
      kernels_.transpose(planes, stride, channels, count, stage_, plan_.lanes);
      return {stage_, plan_.lanes};
    }
    kernels_.transpose(planes, stride, channels, count, stage_, channels);
    return {stage_, channels};
  }

  void Compute(const Block& block) {
    const ConvShape& shape = problem_.shape;
    const ImageStrides& strides = problem_.out_strides;
    const int64_t oh = first_row_ + block.j * plan_.row_step;
    const bool stores = Stores(plan_, problem_);
    Strips<T> strips;
    strips.rows = strips_;
    strips.count = block.down ? 1 : block.rows;
    strips.shift = plan_.shift;
    strips.window = block.window;
    strips.offsets = plan_.offsets.data();
    strips.terms = block.taps * shape.group_c;
    strips.sliding = plan_.sliding && !block.down ? block.taps / 3 * 3 : 0;
    strips.period = shape.group_c;
    strips.x_step = block.down ? plan_.shift * shape.h.dilation * problem_.x_strides.h
                               : shape.w.stride * problem_.x_strides.w;
    strips.x_unit = plan_.in_place() ? 0 : plan_.slots * plan_.strip;
    strips.filter_step = shape.w.window * shape.group_c * plan_.lanes;
    strips.filter_unit = filters_.unit;
    strips.vectors = block.down ? block.rows : block.columns;
    strips.first = block.first;
    strips.sums_stride = block.columns * plan_.lanes;
    strips.activation = problem_.activation;
    strips.row_stride = stores ? plan_.row_step * strides.h : strips.sums_stride;
    strips.vector_stride = !stores      ? plan_.lanes
                           : block.down ? plan_.row_step * strides.h
                                        : strides.w;
    const auto run = plan_.access == Access::kBroadcast ? kernels_.broadcast
                     : plan_.access == Access::kInPlace ? kernels_.channels_in_place
                     : plan_.access == Access::kLookup  ? kernels_.lookup_strips
                                                        : kernels_.channel_strips;
    // As many units at a time as the kernel can walk over.
    const int64_t at_once = !stores || plan_.access == Access::kLookup ? 1
                            : plan_.access == Access::kBroadcast       ? plan_.unit_set
                                                                       : units_;
    for (int64_t u = 0; u < units_; u += at_once) {
      const int64_t unit = unit_ + u, channel = channels_.FirstOut(unit);
      const int64_t last = unit + std::min(at_once, units_ - u) - 1;
      const Sink<T> out = problem_.out + (image_ * strides.n + channel * strides.c +
                                          oh * strides.h + block.column * strides.w);
      strips.units = last + 1 - unit;
      strips.n = channels_.FirstOut(last) + channels_.Out() - channel;
      strips.index = plan_.access == Access::kLookup ? channels_.Map(unit).index : nullptr;
      strips.x_offset = block.x_offset +
                        (plan_.in_place() ? (channels_.FirstIn(unit) - channels_.FirstIn(unit_)) *
                                                problem_.x_strides.c
                                          : u * plan_.slots * plan_.strip);
      strips.filter = filters_.data.get() + problem_.bank(image_) * filters_.bank +
                      unit * filters_.unit +
                      (block.r * shape.w.window + block.s) * shape.group_c * plan_.lanes;
      strips.bias = problem_.bias + image_ * problem_.bias_stride + channel;
      strips.sums = sums_ + (Whole(plan_, shape) ? 0 : u * UnitSums(plan_));
      strips.out = stores ? out.InPlace() : Activates(plan_, problem_) ? strips.sums : nullptr;
      run(strips);
      if (!stores && block.last) Finish(block, strips, out);
    }
  }

  // From sums, or results that are to be moved, of one unit to the result.
  void Finish(const Block& block, const Strips<T>& strips, const Sink<T>& out) {
    const ImageStrides& strides = problem_.out_strides;
    const int64_t n = strips.n, lanes = plan_.lanes, columns = block.columns;
    const bool native = out.native() && problem_.clamp == nullptr && strides.w == 1;
    if (strips.out == nullptr) {
      kernels_.finish[static_cast<int>(problem_.activation)](
          strips.sums, lanes, block.rows * columns, n, strips.bias, strips.sums, lanes);
    }
    for (int64_t i = 0; i < block.rows; ++i) {
      T* const sums = strips.sums + i * strips.sums_stride;
      const Sink<T> to = out + i * plan_.row_step * strides.h;
      if (!plan_.to_planes) {
        for (int64_t p = 0; p < columns; ++p) Store(sums + p * lanes, n, to + p * strides.w, 1);
      } else if (native && strides.c > 0) {
        kernels_.vectors_to_rows(sums, n, columns, to.InPlace(), strides.c);
      } else {
        kernels_.vectors_to_rows(sums, n, columns, planes_, columns);
        for (int64_t c = 0; c < n; ++c)
          Store(planes_ + c * columns, columns, to + c * strides.c, strides.w);
      }
    }
  }

  void Store(const T* from, int64_t n, const Sink<T>& to, int64_t stride) {
    to.Write(from, n, stride);
    if (problem_.clamp != nullptr) problem_.clamp(to.bytes(), n, stride);
  }

  const ConvProblem<T>& problem_;
  const ConvKernels<T>& kernels_;
  const Plan& plan_;
  const FilterVectors<T>& filters_;
  const Units<T>& channels_;
  Source<T> x_;
  int64_t image_ = 0, unit_ = 0, units_ = 0;
  int64_t first_row_ = 0, row_end_ = 0, column_ = 0, columns_ = 0;
  // Scratch.
  T* ring_;           // [unit][slot][c][phase][position][lane]
  const T** strips_;  // under the output rows of a block
  T* sums_;           // [row][column][lane], where results cannot be stored as they come
  T* stage_;          // pixels of x, converted or transposed: [pixel][channel]
  T* planes_;         // planes of x or of the result, of another type or not contiguous
};

}  // namespace

template <class T>
void RunGrouped(const ConvProblem<T>& problem) {
  const auto& kernels = ConvKernelsFor<T>(ActiveTarget());
  Access access = AccessOf(problem, kernels.lanes);
  const bool wide = problem.shape.group_k >= static_cast<int64_t>(kernels.lanes);
  if (wide && access != Access::kBroadcast) return RunDirect(problem);
  const Units<T> units(problem, kernels.lanes, access);
  const FilterVectors<T> filters(problem, kernels, units);
  if (!filters.finite && wide) return RunDirect(problem);
  if (!filters.finite && access == Access::kInPlace) access = Access::kStrips;
  const Plan plan = MakePlan(problem, kernels, access, units);
  const int64_t per_unit = plan.rows.count * plan.columns.count;
  const int64_t per_image = plan.unit_pieces.count * per_unit;
  const Work work{problem.batch * per_image, plan.total_ns, Task<T>::ScratchBytes(plan, problem)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    Task<T> task(problem, kernels, plan, filters, units, scratch);
    task.Run(index / per_image, index % per_image / per_unit, index % per_unit / plan.columns.count,
             index % plan.columns.count);
  });
}

template void RunGrouped(const ConvProblem<float>&);
template void RunGrouped(const ConvProblem<double>&);
template void RunGrouped(const ConvProblem<int32_t>&);
template void RunGrouped(const ConvProblem<int64_t>&);

}  // namespace lanewise
