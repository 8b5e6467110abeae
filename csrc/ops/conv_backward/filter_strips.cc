// Filters' gradients where groups have few channels: lanes are output channels, across groups, as
// in the convolution itself (ops/conv/grouped.cc), whose strips these are. Rows of x and of dy are
// laid out as vectors, x's with the padding around them and with channel c of each lane's group in
// plane c; a tap of a channel is then a distance, and its sums one vector.
//
// Order of the sums, a function of the shape only: outputs are cut in blocks, some whole lines or a
// piece of one, of at most 256 (kBlockTerms). A block's products are one chain of multiply-adds, in
// the order (row, column), which is then added to the total. Blocks follow in the order (image,
// piece of the columns, rows). Where channels are few, the blocks are in up to 64 slices with
// totals of their own, which are added in order.
#include "ops/conv_backward/filter_strips.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/kernels.h"
#include "ops/conv/grouped_plan.h"
#include "ops/conv/grouped_strips.h"
#include "ops/conv_backward/filter_direct_plan.h"
#include "ops/strided.h"
#include "ops/wrapping_sum.h"
#include "runtime/buffer.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// Of a group in, out, and their product; and the product from which outer products are faster if
// they join taps: 16 groups of 8→16 channels, 28², 8 images, 3×3, take 1.15 ms instead of 1.92, and
// groups of 8→8 1.53 instead of 1.75 (two threads).
constexpr int64_t kMostChannels = 16, kMostPairs = 128, kJoinedPairs = 64;
constexpr int64_t kBlockTerms = 256;
// Slices are made while channels times slices are no more than this, for threads to share; totals
// of all slices have at most so many elements; and each slice so many products.
constexpr int64_t kSharedChannels = 4096, kTotals = int64_t{1} << 17, kSliceProducts = 1 << 18;
// Up to so many taps are taken at once by the kernel.
constexpr int64_t kTapsAtOnce = 12;
// Rows of a ring beyond those that a block needs, so that it is seldom moved to its beginning.
constexpr int64_t kMostSpareRows = 16;

// A convolution whose image is `x`, as far as its strips are concerned.
template <class T>
ConvProblem<T> ConvolutionOf(const ConvShape& shape, const Border& rows, const Border& columns,
                             int64_t batch, const Source<T>& x, const ImageStrides& strides) {
  return {shape,   rows, columns,           batch,   1,  x,  strides, {}, {},
          nullptr, 0,    Activation::kNone, nullptr, {}, {}, nullptr};
}

// dy as the image of 1×1 filters of a channel each.
template <class T>
ConvProblem<T> SlopesOf(const FilterGradient<T>& g) {
  const int64_t rows = g.shape.h.out, columns = g.shape.w.out;
  const auto pixels = [](int64_t n) { return WindowAxis{n, 1, 1, 1, 0, 0, n}; };
  return ConvolutionOf<T>({g.shape.filters(), 1, 1, pixels(rows), pixels(columns)},
                          Border(PadMode::kConstant, rows), Border(PadMode::kConstant, columns),
                          g.batch, g.dy, g.dy_strides);
}

// The blocks of a bank's outputs, and slices of these.
struct Blocks {
  Split columns, rows;
  int64_t count, slices = 1;

  Blocks(const ConvShape& shape, int64_t images) {
    // Strips of a block are no longer where strides are large.
    const int64_t inputs =
        std::min(shape.h.stride, shape.h.window) * std::min(shape.w.stride, shape.w.window);
    const int64_t terms = std::clamp<int64_t>(8 * kBlockTerms / inputs, 8, kBlockTerms);
    columns = Split(shape.w.out, 1, terms);
    rows = Split(shape.h.out, 1, terms / std::max<int64_t>(1, columns.longest()));
    count = images * columns.count * rows.count;
    const int64_t filters = std::max<int64_t>(shape.filters(), kMostChannels);  // a vector of them
    const double products = double(images) * double(shape.pixels()) * double(shape.terms()) *
                            double(filters) / kSliceProducts;
    const int64_t most = std::min({kSharedChannels / filters, kTotals / (filters * shape.terms()),
                                   count, products < 64 ? int64_t(products) : 64});
    while (2 * slices <= most) slices *= 2;
  }
  int64_t SliceBegin(int64_t slice) const { return count * slice / slices; }
};

// Which rows of x a ring holds, for the taps [r, r + count) of a column of the window: row `slot`
// of an image's sweep, from 0 on. Neighbouring outputs share rows, unless their windows are apart;
// then each has its own.
struct SweepRows {
  const WindowAxis& h;
  int64_t r, count, common;
  int64_t shift, tap;  // slots from one output row, or tap row, to the next one's

  SweepRows(const WindowAxis& axis, int64_t r_, int64_t count_)
      : h(axis), r(r_), count(count_), common(std::gcd(axis.stride, axis.dilation)) {
    shift = h.stride / common;
    tap = h.dilation / common;
    if (shared()) return;
    common = 0;
    shift = count;
    tap = 1;
  }
  int64_t span() const { return (count - 1) * tap + 1; }
  bool shared() const { return common > 0 && span() > shift; }
  int64_t Slots(int64_t rows) const { return (rows - 1) * shift + span(); }
  int64_t Input(int64_t slot) const {
    return common > 0 ? h.Input(0, r) + slot * common : h.Input(slot / count, r + slot % count);
  }
};

// A ring of strips of an image; GroupedPlan holds the form of a StripRing.
template <class T>
GroupedPlan RingOf(const ConvProblem<T>& problem, GroupedAccess access, int64_t lanes, int64_t taps,
                   int64_t columns, int64_t slots) {
  GroupedPlan ring(access, Phases(problem.shape.w, taps, 0, false));
  ring.from_planes = problem.x_strides.c != 1;
  ring.lanes = lanes;
  ring.part_rows = slots;
  ring.depth = access == GroupedAccess::kLookup ? 1 : problem.shape.group_c;
  ring.length = (columns + ring.phases.length) | 1;
  return ring;
}

// Whether rows are kept as the channels that a unit reads, if these fill one vector at most, and
// spread over its lanes one channel of a group at a time, when the rows are used: then they stay in
// L1. 256 channels in groups of 8 take 1.7 ms instead of 2.2 (28², 8 images, 3×3).
template <class T>
GroupedAccess AccessOf(const ChannelUnits<T>& units, int64_t lanes) {
  if (units.identity()) return GroupedAccess::kStrips;
  for (int64_t unit = 0; unit < units.count(); ++unit) {
    if (units.In(unit) > lanes) return GroupedAccess::kStrips;
  }
  return GroupedAccess::kLookup;
}

// Parts of the window that are worked through at a time, and sets of units. They follow caches and
// threads; no sum's order depends on them.
template <class T>
struct StripsPlan {
  StripsPlan(const ConvProblem<T>& image, const ConvProblem<T>& slopes, const Blocks& blocks,
             const ChannelUnits<T>& x_units, int64_t lanes, int64_t banks);

  int64_t parts() const { return rows.count * taps.count; }
  int64_t most_taps() const { return rows.longest() * taps.longest(); }
  // Elements of the totals of one unit.
  int64_t totals() const { return most_taps() * channels * x.lanes; }
  // Elements of the rows under a block, for one channel of each lane's group.
  int64_t spread() const { return lookup() ? x.ring() : 0; }
  bool lookup() const { return x.access == GroupedAccess::kLookup; }
  int64_t bytes_per_unit() const {
    return (x.ring() + (dy_in_place ? 0 : dy.ring()) + totals()) * int64_t{sizeof(T)};
  }

  Split rows, taps;   // of the window
  int64_t channels;   // of a group of x
  GroupedPlan x, dy;  // rings
  bool dy_in_place;
  Split units;
  double total_ns;

 private:
  static GroupedPlan RingOfPart(const ConvProblem<T>& image, const Blocks& blocks,
                                GroupedAccess access, int64_t lanes, int64_t window, int64_t taps) {
    const SweepRows sweep(image.shape.h, 0, window);
    const int64_t overlap = std::max<int64_t>(0, sweep.span() - sweep.shift);
    const int64_t spare = blocks.rows.count > 1 ? std::min(2 * overlap, kMostSpareRows) : 0;
    return RingOf(image, access, lanes, taps, blocks.columns.longest(),
                  sweep.Slots(blocks.rows.longest()) + spare);
  }
};

template <class T>
StripsPlan<T>::StripsPlan(const ConvProblem<T>& image, const ConvProblem<T>& slopes,
                          const Blocks& blocks, const ChannelUnits<T>& x_units, int64_t lanes,
                          int64_t banks)
    : rows(image.shape.h.window, 1, image.shape.h.window),
      taps(image.shape.w.window, 1, image.shape.w.window),
      channels(image.shape.group_c),
      x(RingOfPart(image, blocks, AccessOf(x_units, lanes), lanes, rows.longest(), taps.longest())),
      dy(RingOf(slopes, GroupedAccess::kStrips, lanes, 1, blocks.columns.longest(),
                blocks.rows.longest())),
      dy_in_place(image.shape.terms() <= kTapsAtOnce && slopes.x.native() &&
                  slopes.x_strides.c == 1 && image.shape.filters() >= lanes),
      total_ns(GroupedNs(image)) {
  const int64_t room = int64_t(Caches().l2) / 2;
  while (bytes_per_unit() > room && most_taps() > 1) {
    Split& cut = rows.longest() > 1 ? rows : taps;
    cut = Split(cut.total, 1, CeilDiv(cut.longest(), 2));
    x = RingOfPart(image, blocks, x.access, lanes, rows.longest(), taps.longest());
  }
  const int64_t others = banks * blocks.slices * parts();
  const int64_t pieces = CeilDiv(4 * ThreadsFor(total_ns), std::max<int64_t>(1, others));
  units = Split(x_units.count(), 1, std::max<int64_t>(1, room / bytes_per_unit()), pieces);
  x.unit_pieces = dy.unit_pieces = units;
}

// One task, in one thread's scratch: the totals of some units, a part of the window and a slice.
template <class T>
class StripsTask {
 public:
  StripsTask(const ConvProblem<T>& image, const ConvProblem<T>& slopes, const Blocks& blocks,
             const StripsPlan<T>& plan, const ChannelUnits<T>& x_units,
             const ChannelUnits<T>& dy_units, Scratch scratch)
      : image_(image),
        slopes_(slopes),
        blocks_(blocks),
        plan_(plan),
        channels_(x_units),
        x_(image, ConvKernelsFor<T>(ActiveTarget()), plan.x, x_units, scratch),
        dy_(slopes, ConvKernelsFor<T>(ActiveTarget()), plan.dy, dy_units, scratch),
        spread_(scratch.Take<T>(plan.spread())),
        offsets_(scratch.Take<size_t>(plan.most_taps() * plan.x.depth)) {}

  static size_t ScratchBytes(const ConvProblem<T>& image, const ConvProblem<T>& slopes,
                             const StripsPlan<T>& plan) {
    return StripRing<T>::ScratchBytes(image, plan.x) + StripRing<T>::ScratchBytes(slopes, plan.dy) +
           Scratch::Bytes<T>(plan.spread()) +
           Scratch::Bytes<size_t>(plan.most_taps() * plan.x.depth);
  }

  // Of images from `first_image` on: blocks of the slice. totals[unit][c][r][s][lane]
  void Run(int64_t first_image, int64_t slice, int64_t part, int64_t unit_piece, T* totals) {
    r_ = part / plan_.taps.count;
    s_ = part % plan_.taps.count;
    SetOffsets();
    const int64_t begin = plan_.units.begin(unit_piece), end = plan_.units.end(unit_piece);
    std::fill_n(totals, (end - begin) * plan_.totals(), T(0));
    // Planes are read a vector of channels at a time: the rows of 16 of them are few streams, and
    // next to each other, where planes are small. 384 channels at 14² take 0.61 ms instead of 0.67.
    units_ = plan_.x.from_planes ? 1 : end - begin;
    for (unit_ = begin; unit_ < end; unit_ += units_) {
      totals_ = totals + (unit_ - begin) * plan_.totals();
      AddBlocks(first_image, slice);
    }
  }

 private:
  void AddBlocks(int64_t first_image, int64_t slice) {
    int64_t sweep = -1;
    for (int64_t b = blocks_.SliceBegin(slice); b < blocks_.SliceBegin(slice + 1); ++b) {
      if (b / blocks_.rows.count != sweep) {
        sweep = b / blocks_.rows.count;
        Begin(first_image + sweep / blocks_.columns.count, sweep % blocks_.columns.count);
      }
      AddBlock(b % blocks_.rows.count);
    }
  }

  int64_t taps() const { return plan_.taps.end(s_) - plan_.taps.begin(s_); }
  SweepRows Rows() const {
    const int64_t r = plan_.rows.begin(r_);
    return SweepRows(image_.shape.h, r, plan_.rows.end(r_) - r);
  }

  // Where the inputs of the block's first output are, from its row of the ring on.
  void SetOffsets() {
    const SweepRows rows = Rows();
    const GroupedPlan& x = plan_.x;
    size_t* to = offsets_;
    for (int64_t c = 0; c < x.depth; ++c) {
      for (int64_t r = 0; r < rows.count; ++r) {
        for (int64_t s = 0; s < taps(); ++s) {
          const int64_t place = x.phases.Row(s) * x.length + x.phases.Place(s);
          *to++ = r * rows.tap * x.strip() + c * x.plane() + place * x.lanes;
        }
      }
    }
  }

  // A sweep down some columns of an image.
  void Begin(int64_t image, int64_t piece) {
    column_ = blocks_.columns.begin(piece);
    columns_ = blocks_.columns.end(piece) - column_;
    image_dy_ = slopes_.x + image * slopes_.x_strides.n;
    x_.Begin({image_.x + image * image_.x_strides.n, unit_, units_, column_, columns_});
    dy_.Begin({image_dy_, unit_, units_, column_, columns_});
    base_ = filled_ = 0;
  }

  void AddBlock(int64_t piece) {
    const int64_t begin = blocks_.rows.begin(piece), end = blocks_.rows.end(piece);
    const SweepRows rows = Rows();
    const int64_t first = begin * rows.shift;
    FillX(rows, first, first + rows.Slots(end - begin));
    if (!plan_.dy_in_place) {
      for (int64_t i = begin; i < end; ++i) dy_.Fill(i - begin, i, 0, 1);
    }
    TapSums<T> sums{};
    sums.x_row = rows.shift * plan_.x.strip();
    sums.dy_row = plan_.dy_in_place ? slopes_.x_strides.h : plan_.dy.strip();
    sums.dy_step = plan_.dy_in_place ? slopes_.x_strides.w : plan_.dy.lanes;
    sums.rows = end - begin;
    sums.columns = columns_;
    sums.offsets = offsets_;
    sums.taps = plan_.x.depth * rows.count * taps();
    const WindowAxis& w = image_.shape.w;
    sums.run = w.stride == 1 && w.dilation == 1 ? taps() : 1;
    for (int64_t u = 0; u < units_; ++u) {
      sums.x = x_.At(u, first - base_);
      sums.dy = plan_.dy_in_place ? SlopesInPlace(u, begin) : dy_.At(u, 0);
      sums.sums = totals_ + u * plan_.totals();
      if (plan_.lookup()) {
        AddChannels(sums, unit_ + u, rows.Slots(end - begin) * plan_.x.strip());
      } else {
        ConvBackwardKernelsFor<T>(ActiveTarget()).add_taps(sums);
      }
    }
  }

  // Channel by channel of a group, from `count` elements of rows of all of them.
  void AddChannels(TapSums<T> sums, int64_t unit, int64_t count) {
    const int64_t lanes = plan_.x.lanes;
    const T* const from = sums.x;
    const LaneMap<T> map = channels_.Map(unit);
    sums.x = spread_;
    for (int64_t c = 0; c < plan_.channels; ++c, sums.sums += sums.taps * lanes) {
      ConvKernelsFor<T>(ActiveTarget())
          .spread_groups(from, lanes, count / lanes, {1, map.span, map.index + c * lanes}, spread_,
                         0);
      ConvBackwardKernelsFor<T>(ActiveTarget()).add_taps(sums);
    }
  }

  // Rows [first, end) of the sweep, of which some are in the ring. That of row `base_` is its first
  // one, as the kernel steps from row to row.
  void FillX(const SweepRows& rows, int64_t first, int64_t end) {
    filled_ = std::max(filled_, first);
    if (end - base_ > plan_.x.slots()) {
      for (int64_t u = 0; u < units_ && filled_ > first; ++u) {
        std::memmove(x_.At(u, 0), x_.At(u, first - base_),
                     (filled_ - first) * plan_.x.strip() * sizeof(T));
      }
      base_ = first;
    }
    for (; filled_ < end; ++filled_) {
      x_.Fill(filled_ - base_, image_.rows(rows.Input(filled_)), plan_.taps.begin(s_), taps());
    }
  }

  const T* SlopesInPlace(int64_t u, int64_t row) const {
    const ImageStrides& strides = slopes_.x_strides;
    return image_dy_.InPlace() + row * strides.h + column_ * strides.w +
           channels_.FirstOut(unit_ + u);
  }

  const ConvProblem<T>&image_, &slopes_;
  const Blocks& blocks_;
  const StripsPlan<T>& plan_;
  const ChannelUnits<T>& channels_;
  int64_t r_ = 0, s_ = 0, unit_ = 0, units_ = 0, column_ = 0, columns_ = 0;
  int64_t base_ = 0, filled_ = 0;
  Source<T> image_dy_;
  T* totals_ = nullptr;
  // Scratch.
  StripRing<T> x_, dy_;
  T* spread_;        // rows of the ring, one channel of each lane's group
  size_t* offsets_;  // of the taps (c, r, s) of the part
};

// The totals of one unit and part, to dw of a bank.
template <class T>
void Store(const FilterGradient<T>& g, const Sink<T>& dw, const StripsPlan<T>& plan,
           const ChannelUnits<T>& units, int64_t part, int64_t unit, const T* totals) {
  const FilterStrides& strides = g.dw_strides;
  const int64_t r = part / plan.taps.count, s = part % plan.taps.count, k = g.shape.group_k;
  // Channels that the unit before has as well are stored there.
  const int64_t first = unit * plan.x.lanes, end = units.FirstOut(unit) + units.Out();
  totals += first - units.FirstOut(unit);
  const auto store = [&](const Sink<T>& to) {
    if (k == 1) return to.Write(totals, end - first, strides.g);
    for (int64_t at = first; at < end; at = RoundUp(at + 1, k)) {
      const int64_t n = std::min(end, RoundUp(at + 1, k)) - at;
      (to + (at / k * strides.g + at % k * strides.k)).Write(totals + (at - first), n, strides.k);
    }
  };
  for (int64_t c = 0; c < g.shape.group_c; ++c) {
    for (int64_t i = plan.rows.begin(r); i < plan.rows.end(r); ++i) {
      for (int64_t j = plan.taps.begin(s); j < plan.taps.end(s); ++j, totals += plan.x.lanes) {
        const int64_t tap = c * strides.c + i * strides.r + j * strides.s;
        store(dw + (tap + (k == 1 ? first * strides.g : 0)));
      }
    }
  }
}

template <class T>
class StripsGradient {
 public:
  explicit StripsGradient(const FilterGradient<T>& g)
      : g_(g),
        lanes_(int64_t(ConvKernelsFor<T>(ActiveTarget()).lanes)),
        image_(ConvolutionOf<T>(g.shape, g.rows, g.columns, g.batch, g.x, g.x_strides)),
        slopes_(SlopesOf(g)),
        x_units_(image_.shape, lanes_, GroupedAccess::kStrips),
        dy_units_(slopes_.shape, lanes_, GroupedAccess::kStrips),
        blocks_(g.shape, g.batch / g.banks),
        plan_(image_, slopes_, blocks_, x_units_, lanes_, g.banks) {}

  void Run() const {
    if (blocks_.slices == 1) return RunWhole();
    const Buffer<T> totals(blocks_.slices * plan_.parts() * x_units_.count() * plan_.totals());
    for (int64_t bank = 0; bank < g_.banks; ++bank) RunSlices(bank, totals.get());
  }

 private:
  size_t TaskBytes() const { return StripsTask<T>::ScratchBytes(image_, slopes_, plan_); }
  int64_t FirstImage(int64_t bank) const { return bank * (g_.batch / g_.banks); }
  StripsTask<T> TaskIn(Scratch scratch) const {
    return {image_, slopes_, blocks_, plan_, x_units_, dy_units_, scratch};
  }
  void StoreUnit(int64_t bank, int64_t part, int64_t unit, const T* totals) const {
    Store(g_, g_.dw + bank * g_.dw_strides.n, plan_, x_units_, part, unit, totals);
  }

  // A task has all of its units' sums.
  void RunWhole() const {
    const int64_t pieces = plan_.units.count, parts = plan_.parts();
    const int64_t count = plan_.units.longest() * plan_.totals();
    const Work work{g_.banks * parts * pieces, plan_.total_ns,
                    TaskBytes() + Scratch::Bytes<T>(count)};
    ParallelFor(work, [&](int64_t index, Scratch scratch) {
      T* const totals = scratch.Take<T>(count);
      const int64_t bank = index / pieces / parts, part = index / pieces % parts;
      const int64_t piece = index % pieces, first = plan_.units.begin(piece);
      TaskIn(scratch).Run(FirstImage(bank), 0, part, piece, totals);
      for (int64_t unit = first; unit < plan_.units.end(piece); ++unit) {
        StoreUnit(bank, part, unit, totals + (unit - first) * plan_.totals());
      }
    });
  }

  // totals[slice][part][unit]
  void RunSlices(int64_t bank, T* totals) const {
    const int64_t pieces = plan_.units.count, parts = plan_.parts(), units = x_units_.count();
    const int64_t slices = blocks_.slices, each = plan_.totals();
    const Work work{slices * parts * pieces, plan_.total_ns / double(g_.banks), TaskBytes()};
    ParallelFor(work, [&](int64_t index, Scratch scratch) {
      const int64_t chunk = index / pieces, piece = index % pieces;
      TaskIn(scratch).Run(FirstImage(bank), chunk / parts, chunk % parts, piece,
                          totals + (chunk * units + plan_.units.begin(piece)) * each);
    });
    for (int64_t slice = 1; slice < slices; ++slice) {
      AddTo(totals + slice * parts * units * each, parts * units * each, totals);
    }
    for (int64_t i = 0; i < parts * units; ++i) {
      StoreUnit(bank, i / units, i % units, totals + i * each);
    }
  }

  const FilterGradient<T>& g_;
  const int64_t lanes_;
  const ConvProblem<T> image_, slopes_;
  const ChannelUnits<T> x_units_, dy_units_;
  const Blocks blocks_;
  const StripsPlan<T> plan_;
};

}  // namespace

bool StripsSuit(const ConvShape& shape) {
  const int64_t c = shape.group_c, k = shape.group_k;
  const bool few = c <= kMostChannels && k <= kMostChannels && c * k <= kMostPairs &&
                   (c * k < kJoinedPairs || !TapsJoin(shape));
  return shape.groups > 1 && (few || c == 1);
}

template <class T>
void RunFilterStrips(const FilterGradient<T>& gradient) {
  StripsGradient<T>(gradient).Run();
}

template void RunFilterStrips(const FilterGradient<float>&);
template void RunFilterStrips(const FilterGradient<double>&);
template void RunFilterStrips(const FilterGradient<int32_t>&);
template void RunFilterStrips(const FilterGradient<int64_t>&);

}  // namespace lanewise
