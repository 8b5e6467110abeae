// Direct convolution as an implicit matrix product: sums[row][lane] = Σ_t a[row][t]·b[t][lane], t
// running over the terms (r, s, c).
//
// The two layouts are one algorithm with the operands swapped:
//   lanes = output channels (NHWC, unless groups have very few)
//           a = inputs, read through one pointer per output and tap: in place, where a row of zeros
//           stands for zero padding, or from a strip of pixels
//           b = filters
//   lanes = pixels (otherwise)
//           a = filters
//           b = inputs, from a strip of planes, or in place for 1×1 filters
// Both run the same chain of multiply-adds for an output, so they give the same bits.
//
//   task            a rectangle of outputs × some filters of one group of one image
//     term block    all terms, unless a block of filters would outgrow L2
//       filters     a block of NR or MR, packed as [term][NR or MR]
//         tile      the kernel: MR × NR sums in registers, then bias, activation and store
#include <algorithm>
#include <type_traits>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/direct_plan.h"
#include "ops/conv/epilogue.h"
#include "ops/conv/few_rows.h"
#include "ops/conv/inside.h"
#include "ops/conv/pack.h"
#include "ops/conv/packed_filter.h"
#include "ops/strided.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// Where the outputs of one task are.
template <class T>
struct Place {
  int64_t image, group;
  Region region;
  int64_t k_begin, k_end;  // filters of the group
  Source<T> x;             // channel 0 of the group
};

// What a thread's scratch holds from its last task on.
struct alignas(64) Held {
  int64_t filters = -1;           // the piece that is packed
  int64_t rows = 0, columns = 0;  // of the region for whose strip there are pointers
};

// Lanes = output channels. The outputs of a region, in the order of their rows, are the kernel's
// rows.
template <class T>
class ChannelLanes {
 public:
  ChannelLanes(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, const DirectPlan& plan,
               Scratch& scratch)
      : kernels_(kernels), problem_(problem), plan_(plan) {
    pointers_ = scratch.Take<const T*>(Pointers(plan));
    border_ = scratch.Take<T>(Zeros(plan));
    std::fill_n(border_, Zeros(plan), T(0));
    strip_ = scratch.Take<T>(Strip(problem, plan));
  }
  static size_t Bytes(const ConvProblem<T>& problem, const DirectPlan& plan) {
    return Scratch::Bytes<const T*>(Pointers(plan)) + Scratch::Bytes<T>(Zeros(plan)) +
           Scratch::Bytes<T>(Strip(problem, plan));
  }

  static int64_t MostTiles(const ConvProblem<T>&, const DirectPlan& plan) {
    return CeilDiv(plan.rows.longest() * plan.columns.longest(), plan.mr);
  }

  void Start(const Place<T>& place, Held& held) {
    place_ = &place;
    held_ = &held;
    outputs_ = place.region.rows * place.region.columns;
    tile_ = CeilDiv(outputs_, CeilDiv(outputs_, plan_.mr));
  }
  int64_t tiles() const { return CeilDiv(outputs_, tile_); }

  void Prepare(const TermBlock& block) {
    block_ = &block;
    if (plan_.in_place) {
      PointAtImage(block);
    } else {
      PointAtStrip(block);
    }
  }

  // The kernel's results, if it can store them: n lanes of rows that are equally spaced in `out`.
  ConvResults<T> Results(int64_t tile, int64_t count, const T* bias, const Sink<T>& out) const {
    const ImageStrides& strides = problem_.out_strides;
    const Region& region = place_->region;
    const int64_t begin = tile * tile_, end = std::min(outputs_, begin + tile_);
    const int64_t row = begin / region.columns, column = begin % region.columns;
    const bool spaced =
        strides.h == region.columns * strides.w || column + end - begin <= region.columns;
    const bool full = count == plan_.nr || count == plan_.nr / 2;
    if (!spaced || !full) return {};
    return {out.InPlace() + (row * strides.h + column * strides.w), strides.w, bias, false};
  }

  // `filters` are `count` of the block.
  void Accumulate(int64_t tile, const T* filters, int64_t count, bool first, bool fetch, T* sums,
                  const ConvResults<T>* results) {
    kernels_.accumulate(pointers_ + tile * tile_, outputs_,
                        std::min(tile_, outputs_ - tile * tile_), plan_.Segments(*block_),
                        plan_.Depth(*block_), filters, count <= plan_.nr / 2, first,
                        fetch && plan_.fetch, sums, results);
  }

  // `out` and `bias` are those of the first of the filters.
  void Finish(int64_t tile, int64_t filters, T* sums, const T* bias, const Sink<T>& out) {
    const ImageStrides& strides = problem_.out_strides;
    const Region& region = place_->region;
    const bool flat = strides.h == region.columns * strides.w;
    const int64_t end = std::min(outputs_, (tile + 1) * tile_);
    for (int64_t i = tile * tile_, n = 0; i < end; i += n, sums += n * plan_.nr) {
      const int64_t row = i / region.columns, column = i % region.columns;
      n = flat ? end - i : std::min(end - i, region.columns - column);
      Epilogue<T>{kernels_, problem_}.PerLane(sums, plan_.nr, n, filters, bias,
                                              out + (row * strides.h + column * strides.w),
                                              strides.w, strides.c);
    }
  }

 private:
  static int64_t Segments(const DirectPlan& plan) {
    return plan.Most([&](const TermBlock& block) { return plan.Segments(block); });
  }
  static int64_t Pointers(const DirectPlan& plan) {
    return Segments(plan) * plan.rows.longest() * plan.columns.longest();
  }
  static int64_t Zeros(const DirectPlan& plan) {
    return plan.in_place ? plan.Most([&](const TermBlock& block) { return plan.Depth(block); }) : 0;
  }
  static int64_t Strip(const ConvProblem<T>& problem, const DirectPlan& plan) {
    return plan.Most([&](const TermBlock& block) { return plan.Strip(problem.shape, block); });
  }

  void PointAtImage(const TermBlock& block) {
    const Region& region = place_->region;
    const WindowAxis &h = problem_.shape.h, &w = problem_.shape.w;
    const ImageStrides& strides = problem_.x_strides;
    const T* const x = place_->x.InPlace() + block.c_begin * strides.c;
    const int64_t step = w.stride * strides.w;
    const T** pointer = pointers_;
    for (int64_t tap = block.tap_begin; tap < block.tap_end; tap += plan_.segment_taps) {
      const int64_t first = w.Input(region.ow, tap % w.window);
      for (int64_t i = 0; i < region.rows; ++i) {
        const int64_t ih = problem_.rows(h.Input(region.oh + i, tap / w.window));
        if (ih == Border::kNone) {
          pointer = std::fill_n(pointer, region.columns, border_);
          continue;
        }
        const T* const row = x + ih * strides.h;
        const auto at_border = [&](int64_t iw) {
          const int64_t column = problem_.columns(iw);
          return column == Border::kNone ? border_ : row + column * strides.w;
        };
        int64_t j = 0, iw = first;
        for (; j < region.columns && iw < 0; ++j, iw += w.stride) *pointer++ = at_border(iw);
        const T* at = row + iw * strides.w;
        for (; j < region.columns && iw < w.in; ++j, iw += w.stride, at += step) *pointer++ = at;
        for (; j < region.columns; ++j, iw += w.stride) *pointer++ = at_border(iw);
      }
    }
  }

  void PointAtStrip(const TermBlock& block) {
    const Region& region = place_->region;
    const PixelStrip strip(problem_.shape, block, region.rows, region.columns);
    strip.Fill(kernels_, problem_, place_->x, region, strip_);
    const bool kept = held_->rows == region.rows && held_->columns == region.columns;
    if (kept && plan_.blocks.size() == 1) return;
    held_->rows = region.rows;
    held_->columns = region.columns;
    const int64_t step = strip.step();
    const T** pointer = pointers_;
    for (int64_t tap = block.tap_begin; tap < block.tap_end; tap += plan_.segment_taps) {
      for (int64_t i = 0; i < region.rows; ++i) {
        const T* at = strip_ + strip.Offset(tap, i, 0);
        for (int64_t j = 0; j < region.columns; ++j, at += step) *pointer++ = at;
      }
    }
  }

  const ConvKernels<T>& kernels_;
  const ConvProblem<T>& problem_;
  const DirectPlan& plan_;
  const Place<T>* place_ = nullptr;
  Held* held_ = nullptr;
  int64_t outputs_ = 0, tile_ = 1;  // of the region, and of a tile
  const TermBlock* block_ = nullptr;
  const T** pointers_;  // [segment][output]
  T* border_;           // zeros, which stand for pixels of the padding
  T* strip_;
};

// Lanes = pixels. The outputs of a region, numbered with gaps as in PlaneStrip, are the lanes.
template <class T>
class PixelLanes {
 public:
  PixelLanes(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, const DirectPlan& plan,
             Scratch& scratch)
      : kernels_(kernels), problem_(problem), plan_(plan) {
    offsets_ = scratch.Take<int64_t>(Taps(plan));
    panels_ = scratch.Take<const T*>(Taps(plan));
    strip_ = scratch.Take<T>(Strip(problem, plan));
  }
  static size_t Bytes(const ConvProblem<T>& problem, const DirectPlan& plan) {
    return Scratch::Bytes<int64_t>(Taps(plan)) + Scratch::Bytes<const T*>(Taps(plan)) +
           Scratch::Bytes<T>(Strip(problem, plan));
  }

  static int64_t MostTiles(const ConvProblem<T>& problem, const DirectPlan& plan) {
    const int64_t rows = plan.rows.longest(), columns = plan.columns.longest();
    return CeilDiv(rows * Pitch(problem, plan, rows, columns), plan.nr);
  }

  void Start(const Place<T>& place, Held&) {
    place_ = &place;
    const Region& region = place.region;
    pitch_ = Pitch(problem_, plan_, region.rows, region.columns);
    outputs_ = (region.rows - 1) * pitch_ + region.columns;
  }
  int64_t tiles() const { return CeilDiv(outputs_, plan_.nr); }

  void Prepare(const TermBlock& block) {
    const Region& region = place_->region;
    block_ = &block;
    lane_step_ = 1;
    if (plan_.pack_panels) {
      PackPanels(block);
      return;
    }
    if (plan_.in_place) {
      x_ = place_->x.InPlace() + block.c_begin * problem_.x_strides.c + region.ow;
      offsets_[0] = 0;
      plane_ = problem_.x_strides.c;
      // Past the image there may be nothing to read.
      limit_ = problem_.shape.w.in - region.ow;
      return;
    }
    const PlaneStrip strip(problem_.shape, block, region.rows, region.columns, plan_.spread,
                           plan_.nr);
    strip.Fill(kernels_, problem_, place_->x, region, strip_);
    strip.Offsets(offsets_);
    plane_ = strip.plane();
    x_ = strip_;
    limit_ = RoundUp(outputs_, plan_.nr);
  }

  ConvResults<T> Results(int64_t tile, int64_t, const T* bias, const Sink<T>& out) const {
    const ImageStrides& strides = problem_.out_strides;
    const Region& region = place_->region;
    const int64_t begin = tile * plan_.nr, n = std::min(outputs_ - begin, plan_.nr);
    const int64_t row = begin / pitch_, column = begin % pitch_;
    const bool contiguous =
        (pitch_ == region.columns && strides.h == region.columns) || column + n <= region.columns;
    const bool full = n == plan_.nr || n == plan_.nr / 2;
    if (!contiguous || !full || FirstLane(tile) != begin) return {};
    return {out.InPlace() + (row * strides.h + column), strides.c, bias, false};
  }

  void Accumulate(int64_t tile, const T* filters, int64_t count, bool first, bool fetch, T* sums,
                  const ConvResults<T>* results) {
    const int64_t lane = FirstLane(tile), taps = block_->taps();
    for (int64_t t = 0; t < taps; ++t) panels_[t] = x_ + offsets_[t] + lane * lane_step_;
    kernels_.accumulate_packed(filters, count, panels_, plane_, taps, block_->depth(), Half(tile),
                               first, lane_step_ == 1 && fetch && plan_.fetch, sums, results);
  }

  void Finish(int64_t tile, int64_t filters, T* sums, const T* bias, const Sink<T>& out) {
    const ImageStrides& strides = problem_.out_strides;
    const Region& region = place_->region;
    const bool flat = pitch_ == region.columns && strides.h == region.columns * strides.w;
    const int64_t end = std::min(outputs_, (tile + 1) * plan_.nr), lane = FirstLane(tile);
    for (int64_t i = tile * plan_.nr, n = 0; i < end; i += n) {
      const int64_t row = i / pitch_, column = i % pitch_;
      n = flat ? end - i : std::min(end - i, pitch_ - column);
      const int64_t used = flat ? n : std::min(n, region.columns - column);
      if (used <= 0) continue;
      Epilogue<T>{kernels_, problem_}.PerRow(sums + (i - lane), plan_.nr, filters, used, bias,
                                             out + (row * strides.h + column * strides.w),
                                             strides.c, strides.w);
    }
  }

 private:
  // Whole panels: rows of memory that are planes apart would be slow to read once per block of
  // filters.
  void PackPanels(const TermBlock& block) {
    const int64_t nr = plan_.nr, depth = block.depth(), whole = outputs_ / nr, rest = outputs_ % nr;
    const int64_t step = problem_.x_strides.c;
    const T* from = place_->x.InPlace() + block.c_begin * step + place_->region.ow;
    for (int64_t c = 0; c < depth; ++c, from += step) {
      T* const to = strip_ + c * nr;
      kernels_.copy(from, nr, whole, nr, to, depth * nr);
      if (rest == 0) continue;
      T* const last = to + whole * depth * nr;
      kernels_.copy(from + whole * nr, 0, 1, rest, last, 0);
      std::fill(last + rest, last + nr, T(0));
    }
    offsets_[0] = 0;
    lane_step_ = depth;
    plane_ = nr;
    x_ = strip_;
    limit_ = RoundUp(outputs_, nr);
  }

  static int64_t Taps(const DirectPlan& plan) {
    return plan.Most([](const TermBlock& block) { return block.taps(); });
  }
  static int64_t Strip(const ConvProblem<T>& problem, const DirectPlan& plan) {
    return plan.Most([&](const TermBlock& block) { return plan.Strip(problem.shape, block); });
  }
  bool Half(int64_t tile) const { return outputs_ - tile * plan_.nr <= plan_.nr / 2; }
  static int64_t Pitch(const ConvProblem<T>& problem, const DirectPlan& plan, int64_t rows,
                       int64_t columns) {
    if (plan.in_place) return columns;
    return PlaneStrip(problem.shape, plan.blocks[0], rows, columns, plan.spread, plan.nr).pitch();
  }
  // Of those the kernel reads: the last tile begins earlier where memory ends.
  int64_t FirstLane(int64_t tile) const {
    return std::min(tile * plan_.nr, limit_ - (Half(tile) ? plan_.nr / 2 : plan_.nr));
  }

  const ConvKernels<T>& kernels_;
  const ConvProblem<T>& problem_;
  const DirectPlan& plan_;
  const Place<T>* place_ = nullptr;
  int64_t outputs_ = 0, pitch_ = 0, limit_ = 0;
  const TermBlock* block_ = nullptr;
  int64_t* offsets_;  // [tap]
  const T** panels_;  // [tap]
  int64_t plane_ = 0, lane_step_ = 1;
  T* strip_;
  const T* x_ = nullptr;  // output 0 under tap 0
};

// One task, in one thread's scratch.
template <class T, class Lanes>
class Task {
 public:
  // `kept` are all filters packed, or null.
  Task(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, const DirectPlan& plan,
       const T* kept, Scratch scratch)
      : kernels_(kernels),
        problem_(problem),
        plan_(plan),
        kept_(kept),
        packed_(scratch.Take<T>(Packed(problem, plan))),
        sums_(scratch.Take<T>(Sums(problem, plan))),
        lanes_(kernels, problem, plan, scratch) {}

  static size_t ScratchBytes(const ConvProblem<T>& problem, const DirectPlan& plan) {
    return Scratch::Bytes<T>(Packed(problem, plan)) + Scratch::Bytes<T>(Sums(problem, plan)) +
           Lanes::Bytes(problem, plan);
  }

  // `filters` numbers the pieces of all filters, `pixels` those of an image.
  void Run(int64_t image, int64_t filters, int64_t pixels, Held& held) {
    const ConvShape& shape = problem_.shape;
    const int64_t f = filters % plan_.filters.count;
    const int64_t group = filters / plan_.filters.count % shape.groups;
    const int64_t row = pixels / plan_.columns.count, column = pixels % plan_.columns.count;
    const Place<T> place{
        image,
        group,
        {plan_.rows.begin(row), plan_.columns.begin(column),
         plan_.rows.end(row) - plan_.rows.begin(row),
         plan_.columns.end(column) - plan_.columns.begin(column)},
        plan_.filters.begin(f),
        plan_.filters.end(f),
        problem_.x + (image * problem_.x_strides.n + group * shape.group_c * problem_.x_strides.c)};
    const bool pack = kept_ == nullptr && (!plan_.keep_filters || held.filters != filters);
    held.filters = filters;
    lanes_.Start(place, held);
    // Of the piece, among all filters.
    const int64_t kept_offset =
        ((problem_.bank(image) * shape.groups + group) * RoundUp(shape.group_k, plan_.width) +
         place.k_begin) *
        shape.terms();
    int64_t first_term = 0;
    for (size_t b = 0; b < plan_.blocks.size(); ++b) {
      const TermBlock& block = plan_.blocks[b];
      const bool last = b + 1 == plan_.blocks.size();
      lanes_.Prepare(block);
      const int64_t tiles = lanes_.tiles(), step = plan_.tiles_first ? 1 : tiles;
      for (int64_t tile = 0; tile < tiles; tile += step) {
        for (int64_t k = place.k_begin; k < place.k_end; k += plan_.width) {
          const int64_t piece_offset =
              (k - place.k_begin) * shape.terms() + first_term * plan_.width;
          T* const packed = packed_ + (plan_.keep_filters ? piece_offset : 0);
          if (pack && tile == 0) {
            PackFilterBlock(kernels_, problem_, problem_.bank(image), group, k, plan_.width, block,
                            packed);
          }
          RunTiles(place, k, kept_ == nullptr ? packed : kept_ + kept_offset + piece_offset, tile,
                   tile + step, b == 0, last);
        }
      }
      first_term += block.terms();
    }
  }

 private:
  // The sums of all tiles of the task, if they wait for another block of terms.
  static int64_t Sums(const ConvProblem<T>& problem, const DirectPlan& plan) {
    const int64_t tile = plan.mr * plan.nr;
    if (plan.blocks.size() == 1) return tile;
    return tile * CeilDiv(plan.filters.longest(), plan.width) * Lanes::MostTiles(problem, plan);
  }
  static int64_t Packed(const ConvProblem<T>& problem, const DirectPlan& plan) {
    if (plan.keep_filters)
      return RoundUp(plan.filters.longest(), plan.width) * problem.shape.terms();
    return plan.width * plan.Most([](const TermBlock& block) { return block.terms(); });
  }

  // Tiles [begin, end) of the task for a block of filters.
  void RunTiles(const Place<T>& place, int64_t k, const T* filters, int64_t begin, int64_t end,
                bool first, bool last) {
    const int64_t count = std::min(plan_.width, place.k_end - k);
    const ImageStrides& strides = problem_.out_strides;
    const int64_t channel = place.group * problem_.shape.group_k + k;
    const Sink<T> out = problem_.out + (place.image * strides.n + channel * strides.c +
                                        place.region.oh * strides.h + place.region.ow * strides.w);
    const T* bias = problem_.bias + place.image * problem_.bias_stride + channel;
    const int64_t tiles = lanes_.tiles();
    for (int64_t i = begin; i < end; ++i) {
      T* sums = sums_;
      if (!(first && last)) {
        sums += ((k - place.k_begin) / plan_.width * tiles + i) * plan_.mr * plan_.nr;
      }
      ConvResults<T> results{};
      if (last && plan_.kernel_finishes) {
        results = lanes_.Results(i, count, bias, out);
        results.relu = problem_.activation == Activation::kRelu;
      }
      const bool finished = results.out != nullptr;
      lanes_.Accumulate(i, filters, count, first, k == place.k_begin, sums,
                        finished ? &results : nullptr);
      if (last && !finished) lanes_.Finish(i, count, sums, bias, out);
    }
  }

  const ConvKernels<T>& kernels_;
  const ConvProblem<T>& problem_;
  const DirectPlan& plan_;
  const T* const kept_;
  T* packed_;  // filters: a block of them, or all of the piece
  T* sums_;    // of one tile, or of all tiles of the task
  Lanes lanes_;
};

// Tasks with the same filters are neighbours: those of all images and pixels, or, where every image
// has its own, of one image.
template <class T, class Lanes>
void RunTasks(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, const DirectPlan& plan,
              const T* kept) {
  const int64_t pixels = plan.pieces();
  const int64_t images = problem.batch / problem.banks;
  const int64_t filters = problem.banks * problem.shape.groups * plan.filters.count;
  const Work work{filters * images * pixels, plan.total_ns,
                  Task<T, Lanes>::ScratchBytes(problem, plan)};
  std::vector<Held> held(ThreadsFor(work.total_ns));
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    const int64_t piece = index / (images * pixels), image = index / pixels % images;
    const int64_t bank = piece / (problem.shape.groups * plan.filters.count);
    Task<T, Lanes> task(kernels, problem, plan, kept, scratch);
    task.Run(bank * images + image, piece, index % pixels, held[scratch.thread()]);
  });
}

template <class T>
void RunPart(const ConvKernels<T>& kernels, const ConvProblem<T>& whole) {
  if constexpr (std::is_floating_point_v<T>) {
    if (whole.batch > 0 && HasFewRows(whole, kernels)) return RunFewRows(whole, kernels);
  }
  ConvProblem<T> some = whole;  // filters are packed for no images too
  some.batch = std::max<int64_t>(1, whole.batch);
  some.banks = std::max<int64_t>(1, whole.banks);
  const ConvProblem<T> problem = Flattened(some);
  const DirectPlan plan = MakeDirectPlan(problem, kernels);
  PackedFilters<T> kept;
  if (problem.forms != nullptr) {
    kept = GetFilters(problem, FilterForm::kBlocks, kernels, plan.width,
                      [&] { return PackFilters(kernels, problem, plan.width); });
  }
  if (whole.batch == 0) return;
  if (plan.channel_lanes) {
    RunTasks<T, ChannelLanes<T>>(kernels, problem, plan, kept.get());
  } else {
    RunTasks<T, PixelLanes<T>>(kernels, problem, plan, kept.get());
  }
}

}  // namespace

template <class T>
void RunDirect(const ConvProblem<T>& problem) {
  const SimdTarget target = ActiveTarget();
  if constexpr (std::is_same_v<T, int32_t>) {
    if (IsPairable(problem)) return RunPart(ConvPairKernelsFor(target), Paired(problem));
  }
  const auto& kernels = ConvKernelsFor<T>(target);
  if constexpr (std::is_floating_point_v<T>) {
    for (const ConvProblem<T>& part : InsideParts<T>(problem, kernels)) RunPart(kernels, part);
  } else {
    RunPart(kernels, problem);
  }
}

template void RunDirect(const ConvProblem<float>&);
template void RunDirect(const ConvProblem<double>&);
template void RunDirect(const ConvProblem<int32_t>&);
template void RunDirect(const ConvProblem<int64_t>&);

}  // namespace lanewise
