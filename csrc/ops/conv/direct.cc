// Direct convolution as an implicit matrix product: sums[row][lane] = Σ_t a[row][t]·b[t][lane], t
// running over the terms (r, s, c).
//
// The two layouts are one algorithm with the operands swapped:
//   lanes = output channels (NHWC, unless groups have very few)
//           a = input pixels, read in place through one pointer per pixel and tap, a row of zeros
//           standing for zero padding; b = filter, packed once per call
//   lanes = pixels (otherwise)
//           a = filter, one row per output channel; b = input, packed as it is needed
// Both run the same chain of multiply-adds for an output, so they give the same bits.
//
//   task            a block of rows × a block of lanes, of one group of one image
//     term block    as many terms as leave a panel in half of L1
//       panel       NR lanes
//         tile      the kernel: MR × NR sums in registers
#include <algorithm>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/epilogue.h"
#include "ops/conv/pack.h"
#include "ops/conv/packed_filter.h"
#include "ops/strided.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// A block of 96 pixels uses each panel 16 times (MR 6) once it is in L1; with 256 channels its sums
// take 96 KB (float32), which leaves L2 room for the input and the panels.
constexpr int64_t kPixelBlock = 96;
constexpr int64_t kChannelBlock = 256;
// Bounds the table of row pointers to 48 KB.
constexpr int64_t kMaxTaps = 64;
// Fewer channels than this per tap are copied together rather than read through a pointer per tap:
// the tile would load its MR pointers anew after every few terms.
constexpr int64_t kMinDepthInPlace = 8;
constexpr double kFlopsPerNs = 40;

// How the problem is cut. Sizes follow caches and threads; no sum's order depends on them.
struct Plan {
  bool channel_lanes;
  bool pack_rows;  // channel_lanes only: copy the input of each pixel instead of pointing at it
  int64_t mr, nr, max_terms;
  std::vector<TermBlock> blocks;
  Split pixels, channels;  // channels of one group
  double total_ns;
};

// Enough tasks for the threads, with the fewest bytes moved: each piece of the pixels reads the
// whole filter, each piece of the channels the whole image.
template <class T>
void CutForThreads(const ConvProblem<T>& problem, Plan& plan) {
  const ConvShape& shape = problem.shape;
  const int64_t threads = ThreadsFor(plan.total_ns);
  const int64_t wanted =
      threads == 1 ? 1 : CeilDiv(8 * threads, std::max<int64_t>(1, problem.batch * shape.groups));
  const double filter = double(shape.terms()) * double(shape.group_k);
  const double image = double(shape.h.in) * double(shape.w.in) * double(shape.group_c);
  const int64_t most_pixel_pieces = CeilDiv(plan.pixels.total, plan.pixels.unit);
  const Split at_most_pixels = plan.pixels, at_most_channels = plan.channels;
  double least = 0;
  for (int64_t pieces = at_most_pixels.count;
       pieces <= std::min(most_pixel_pieces, std::max(wanted, at_most_pixels.count)); ++pieces) {
    const Split channels(shape.group_k, at_most_channels.unit, at_most_channels.longest(),
                         CeilDiv(wanted, pieces));
    const double moved = double(pieces) * filter + double(channels.count) * image;
    if (channels.count * pieces < std::min(wanted, most_pixel_pieces) &&
        pieces != most_pixel_pieces) {
      continue;
    }
    if (least == 0 || moved < least) {
      least = moved;
      plan.pixels = Split(shape.pixels(), plan.pixels.unit, at_most_pixels.longest(), pieces);
      plan.channels = channels;
    }
  }
}

template <class T>
Plan MakePlan(const ConvProblem<T>& problem, const ConvKernels<T>& kernels) {
  const ConvShape& shape = problem.shape;
  const int64_t mr = kernels.mr, nr = kernels.nr;
  // Groups of few output channels would leave most lanes of a vector idle: 3×3 with 128 channels at
  // 56² in 32 groups takes 2.0 ms with lanes = pixels instead of 3.3.
  const bool channel_lanes = problem.out_strides.c == 1 && shape.group_k > nr / 4;
  const bool in_place =
      problem.x.native() && problem.x_strides.c == 1 && shape.group_c >= kMinDepthInPlace;
  const bool pack_rows = channel_lanes && !in_place;
  const int64_t max_terms = Caches().l1 / 2 / (nr * sizeof(T));
  Plan plan{channel_lanes,
            pack_rows,
            mr,
            nr,
            max_terms,
            TermBlocks(shape, max_terms, pack_rows ? max_terms : kMaxTaps),
            Split(shape.pixels(), channel_lanes ? mr : nr, kPixelBlock),
            Split(shape.group_k, channel_lanes ? nr : mr, kChannelBlock),
            problem.flops() / kFlopsPerNs};
  CutForThreads(problem, plan);
  return plan;
}

// The filters as the plan wants them, in the caller's memory or packed.
template <class T>
struct Filters {
  PackedFilters<T> packed;
  const T* data;
  int64_t bank, group, row;  // distances; `row` for lanes = pixels only

  Filters(const ConvProblem<T>& problem, const Plan& plan, const ConvKernels<T>& kernels) {
    const ConvShape& shape = problem.shape;
    row = shape.terms();
    if (plan.channel_lanes) {
      packed = GetFilters(problem, FilterForm::kPanels, kernels, plan.nr,
                          [&] { return PackFilterPanels(problem, plan.nr); });
      group = CeilDiv(shape.group_k, plan.nr) * plan.nr * shape.terms();
    } else if (HasFilterRows(problem)) {
      data = problem.filter.InPlace();
      bank = problem.filter_strides.n;
      group = problem.filter_strides.g;
      row = problem.filter_strides.k;
      return;
    } else {
      packed = GetFilters(problem, FilterForm::kRows, kernels, 0,
                          [&] { return PackFilterRows(problem); });
      group = shape.group_k * row;
    }
    data = packed.get();
    bank = shape.groups * group;
  }
};

// One task, in one thread's scratch.
template <class T>
class Task {
 public:
  Task(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, const Plan& plan,
       const Filters<T>& filters, Scratch scratch)
      : kernels_(kernels), problem_(problem), plan_(plan), filters_(filters) {
    const int64_t pixels = plan.pixels.longest(), channels = plan.channels.longest();
    sums_ = scratch.Take<T>(pixels * channels);
    pixels_ = scratch.Take<Pixel>(pixels);
    row_pointers_ = scratch.Take<const T*>(PointerCount(plan));
    input_ = scratch.Take<T>(InputCount(plan));
    zeros_ = scratch.Take<T>(plan.max_terms);
    std::fill_n(zeros_, plan.max_terms, T(0));
  }

  static size_t ScratchBytes(const Plan& plan) {
    const int64_t pixels = plan.pixels.longest(), channels = plan.channels.longest();
    return Scratch::Bytes<T>(pixels * channels) + Scratch::Bytes<Pixel>(pixels) +
           Scratch::Bytes<const T*>(PointerCount(plan)) + Scratch::Bytes<T>(InputCount(plan)) +
           Scratch::Bytes<T>(plan.max_terms);
  }

  void Run(int64_t image, int64_t group, int64_t pixel_piece, int64_t channel_piece) {
    const ConvShape& shape = problem_.shape;
    image_ = image;
    group_ = group;
    pixel_begin_ = plan_.pixels.begin(pixel_piece);
    pixel_count_ = plan_.pixels.end(pixel_piece) - pixel_begin_;
    channel_begin_ = plan_.channels.begin(channel_piece);
    channel_count_ = plan_.channels.end(channel_piece) - channel_begin_;
    x_ = problem_.x + (image * problem_.x_strides.n + group * shape.group_c * problem_.x_strides.c);
    filter_ = filters_.data + problem_.bank(image) * filters_.bank + group * filters_.group;
    FillPixels(shape, pixel_begin_, pixel_begin_ + pixel_count_, pixels_);

    int64_t first_term = 0;
    for (const TermBlock& block : plan_.blocks) {
      if (plan_.channel_lanes) {
        AccumulateChannelLanes(block, first_term);
      } else {
        AccumulatePixelLanes(block, first_term);
      }
      first_term += block.terms();
    }
    Finish();
  }

 private:
  static int64_t PointerCount(const Plan& plan) {
    int64_t most_taps = 1;
    for (const TermBlock& block : plan.blocks) most_taps = std::max(most_taps, block.taps());
    const int64_t pixels = plan.pixels.longest();
    return !plan.channel_lanes ? plan.channels.longest()
           : plan.pack_rows    ? pixels
                               : pixels * most_taps;
  }
  static int64_t InputCount(const Plan& plan) {
    const bool packs = !plan.channel_lanes || plan.pack_rows;
    return packs ? plan.pixels.longest() * plan.max_terms : 0;
  }
  int64_t Rows() const { return plan_.channel_lanes ? pixel_count_ : channel_count_; }
  int64_t Lanes() const { return plan_.channel_lanes ? channel_count_ : pixel_count_; }
  T* PanelSums(int64_t panel) const { return sums_ + panel * Rows() * plan_.nr; }

  void AccumulateChannelLanes(const TermBlock& block, int64_t first_term) {
    const int64_t terms = problem_.shape.terms(), nr = plan_.nr;
    const T* panels = filter_ + (channel_begin_ / nr * terms + first_term) * nr;
    if (plan_.pack_rows) {
      for (int64_t i = 0; i < pixel_count_; ++i) {
        T* row = input_ + i * plan_.max_terms;
        PackPixelRow(problem_, x_, pixels_[i], block, row);
        row_pointers_[i] = row;
      }
      AccumulateTiles(1, block.terms(), pixel_count_, panels, terms * nr, first_term == 0);
    } else {
      PointAtPixels(block);
      AccumulateTiles(block.taps(), block.depth(), pixel_count_, panels, terms * nr,
                      first_term == 0);
    }
  }

  void AccumulatePixelLanes(const TermBlock& block, int64_t first_term) {
    const int64_t nr = plan_.nr, panel_size = plan_.max_terms * nr;
    for (int64_t p = 0; p < pixel_count_; p += nr) {
      PackPixelPanel(problem_, x_, pixels_ + p, std::min(nr, pixel_count_ - p), block, nr,
                     input_ + p / nr * panel_size);
    }
    for (int64_t i = 0; i < channel_count_; ++i) {
      row_pointers_[i] = filter_ + (channel_begin_ + i) * filters_.row + first_term;
    }
    AccumulateTiles(1, block.terms(), channel_count_, input_, panel_size, first_term == 0);
  }

  // row_pointers_[tap of the block][pixel]
  void PointAtPixels(const TermBlock& block) {
    const WindowAxis &h = problem_.shape.h, &w = problem_.shape.w;
    const ImageStrides& strides = problem_.x_strides;
    const T* const x = x_.InPlace() + block.c_begin;
    const T** pointer = row_pointers_;
    for (int64_t tap = block.tap_begin; tap < block.tap_end; ++tap) {
      const int64_t dh = tap / w.window * h.dilation, dw = tap % w.window * w.dilation;
      for (int64_t i = 0; i < pixel_count_; ++i) {
        const int64_t ih = problem_.rows(pixels_[i].ih + dh);
        const int64_t iw = problem_.columns(pixels_[i].iw + dw);
        const bool zeros = ih == Border::kNone || iw == Border::kNone;
        *pointer++ = zeros ? zeros_ : x + ih * strides.h + iw * strides.w;
      }
    }
  }

  void AccumulateTiles(int64_t segments, int64_t depth, int64_t row_stride, const T* panels,
                       int64_t panel_size, bool first) {
    const int64_t nr = plan_.nr, rows = Rows();
    for (int64_t lane = 0; lane < Lanes(); lane += nr) {
      T* sums = PanelSums(lane / nr);
      const bool half = Lanes() - lane <= nr / 2;
      for (int64_t i = 0; i < rows; i += plan_.mr) {
        kernels_.accumulate(row_pointers_ + i, row_stride, std::min(plan_.mr, rows - i), segments,
                            depth, panels + lane / nr * panel_size, half, first, sums + i * nr);
      }
    }
  }

  // Bias, activation and store, for runs of pixels that are equally spaced in the output.
  void Finish() {
    const WindowAxis& w = problem_.shape.w;
    const ImageStrides& strides = problem_.out_strides;
    const bool flat = strides.h == w.out * strides.w;
    const int64_t channel = group_ * problem_.shape.group_k + channel_begin_;
    const Sink<T> out = problem_.out + (image_ * strides.n + channel * strides.c);
    const T* bias = problem_.bias + image_ * problem_.bias_stride + channel;
    for (int64_t i = 0; i < pixel_count_;) {
      const Pixel& pixel = pixels_[i];
      const int64_t left = pixel_count_ - i, n = flat ? left : std::min(left, w.out - pixel.ow);
      const Sink<T> to = out + (pixel.oh * strides.h + pixel.ow * strides.w);
      if (plan_.channel_lanes) {
        FinishChannelLanes(i, n, bias, to);
      } else {
        FinishPixelLanes(i, n, bias, to);
      }
      i += n;
    }
  }

  void FinishChannelLanes(int64_t first, int64_t count, const T* bias, const Sink<T>& out) {
    const ImageStrides& strides = problem_.out_strides;
    const int64_t nr = plan_.nr;
    for (int64_t lane = 0; lane < channel_count_; lane += nr) {
      Epilogue<T>{kernels_, problem_}.PerLane(PanelSums(lane / nr) + first * nr, nr, count,
                                              std::min(nr, channel_count_ - lane), bias + lane,
                                              out + lane * strides.c, strides.w, strides.c);
    }
  }

  void FinishPixelLanes(int64_t first, int64_t count, const T* bias, const Sink<T>& out) {
    const ImageStrides& strides = problem_.out_strides;
    const int64_t nr = plan_.nr;
    for (int64_t i = first, n = 0; i < first + count; i += n) {
      n = std::min(nr - i % nr, first + count - i);
      Epilogue<T>{kernels_, problem_}.PerRow(PanelSums(i / nr) + i % nr, nr, channel_count_, n,
                                             bias, out + (i - first) * strides.w, strides.c,
                                             strides.w);
    }
  }

  const ConvKernels<T>& kernels_;
  const ConvProblem<T>& problem_;
  const Plan& plan_;
  const Filters<T>& filters_;
  const T* filter_ = nullptr;  // of the group: panels (channel lanes) or rows (pixel lanes)
  Source<T> x_;                // channel 0 of the group
  int64_t image_ = 0, group_ = 0;
  int64_t pixel_begin_ = 0, pixel_count_ = 0, channel_begin_ = 0, channel_count_ = 0;
  // Scratch.
  T* sums_;                 // [panel][row][NR]
  Pixel* pixels_;           // of the block
  const T** row_pointers_;  // [segment][row]
  T* input_;                // packed pixels: rows or panels
  T* zeros_;                // stands for pixels of the padding
};

}  // namespace

template <class T>
void RunDirect(const ConvProblem<T>& problem) {
  const auto& kernels = ConvKernelsFor<T>(ActiveTarget());
  const Plan plan = MakePlan(problem, kernels);
  const Filters<T> filters(problem, plan, kernels);
  const int64_t channel_pieces = plan.channels.count, pixel_pieces = plan.pixels.count;
  const int64_t per_group = channel_pieces * pixel_pieces;
  const int64_t per_image = problem.shape.groups * per_group;
  const Work work{problem.batch * per_image, plan.total_ns, Task<T>::ScratchBytes(plan)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    Task<T> task(kernels, problem, plan, filters, scratch);
    task.Run(index / per_image, index % per_image / per_group, index % per_group / channel_pieces,
             index % channel_pieces);
  });
}

template void RunDirect(const ConvProblem<float>&);
template void RunDirect(const ConvProblem<double>&);
template void RunDirect(const ConvProblem<int32_t>&);
template void RunDirect(const ConvProblem<int64_t>&);

}  // namespace lanewise
