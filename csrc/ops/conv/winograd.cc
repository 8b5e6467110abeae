// Winograd's algorithm for small filters with stride 1: kernels/winograd-inl.h has the formulas. A
// tile of outputs has E elements when transformed, 36 for F(4×4, 3×3).
//
//   V = Bᵀ·d·B    inputs   [block][E][tile][64]; from pixels in place or, where these are not
//                          float32 channels side by side, from a copy of a block's channels
//   U = G·g·Gᵀ    filters  [panel][block][E][64][NR]
//   M = Σ U·V     products [E][tile][NR], E matrix products for each panel of NR output channels
//   Y = Aᵀ·M·A    outputs, with bias and activation
//
// A block is 64 input channels; the sums of blocks are added in order. A task takes a run of tiles
// through all stages for some of the panels, with V and M in its own scratch, so tasks share
// nothing that is written. Neither the grouping of tiles nor that of panels changes a bit.
//
// U is shared by the tasks if it stays in L2 beside V and M. Otherwise a task makes a panel's block
// of it where it is used: 38 MB for 512×512 channels, written by one core and read by another, take
// longer than the transform.
//
// Tiles that share filters are numbered through the images of a batch, row by row.
#include <algorithm>
#include <cstdlib>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/algorithm.h"
#include "ops/conv/pack.h"
#include "ops/conv/packed_filter.h"
#include "ops/conv/problem.h"
#include "ops/conv/winograd_plan.h"
#include "ops/strided.h"
#include "runtime/buffer.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// All stages, in one thread's scratch.
class Stages {
 public:
  Stages(const ConvProblem<float>& problem, const WinogradPlan& plan,
         const WinogradKernels& kernels, uint8_t* doubted)
      : problem_(problem),
        plan_(plan),
        kernels_(kernels),
        doubted_(doubted),
        reader_{problem.x,    problem.x_strides, plan.rows, plan.columns,
                problem.rows, problem.columns,   kernels} {}

  // For Inputs and Outputs.
  size_t InputScratch() const {
    return Scratch::Bytes<float>(plan_.in_place ? 0 : reader_.CopyCount(plan_.width)) +
           Scratch::Bytes<float>(plan_.blocks * plan_.width);
  }
  size_t OutputScratch(int64_t count) const {
    return Scratch::Bytes<float>(plan_.m_size(count)) + Scratch::Bytes<float>(StageCount());
  }

  // V of the tiles [begin, begin + count) of a set.
  void Inputs(int64_t set, int64_t begin, int64_t count, float* v, Scratch scratch) const {
    float* const copy =
        plan_.in_place ? nullptr : scratch.Take<float>(reader_.CopyCount(plan_.width));
    float* const zeros = scratch.Take<float>(plan_.blocks * plan_.width);
    std::fill_n(zeros, plan_.blocks * plan_.width, 0.0f);
    ForEachSegment(set, begin, count, [&](const Segment& segment) {
      const int64_t first = set % problem_.shape.groups * problem_.shape.group_c;
      Transform(segment, first, zeros, copy, v + segment.tile * plan_.width, plan_.v_step(count));
    });
  }

  // U of one panel's block of channels; `copy` holds FilterCopy() elements.
  void Filters(int64_t set, int64_t panel, int64_t block, float* u, float* copy) const {
    const ConvShape& shape = problem_.shape;
    const FilterStrides& strides = problem_.filter_strides;
    const Source<float> filters =
        problem_.filter + (set / shape.groups * strides.n + set % shape.groups * strides.g +
                           panel * plan_.nr * strides.k);
    const int64_t n = std::min(plan_.nr, shape.group_k - panel * plan_.nr);
    const int64_t first = block * kWinogradBlock,
                  end = std::min(first + kWinogradBlock, shape.group_c);
    if (filters.native() && strides.k == 1 && TapStep() > 0 && n == plan_.nr) {
      kernels_.filter((filters + first * strides.c).InPlace(), TapStep(), strides.c, end - first,
                      plan_.nr, u, plan_.u_step());
      return;
    }
    if (n < plan_.nr) std::fill_n(copy, FilterCopy(plan_), 0.0f);
    for (int64_t c = first; c < end; c += kCopied, u += kCopied * plan_.nr) {
      const int64_t channels = std::min(kCopied, end - c);
      const bool turned = CopyFilters(filters + c * strides.c, channels, n, copy);
      kernels_.filter(turned ? copy + (plan_.taps() - 1) * plan_.nr : copy,
                      turned ? -plan_.nr : plan_.nr, plan_.taps() * plan_.nr, channels, plan_.nr, u,
                      plan_.u_step());
    }
  }
  static int64_t FilterCopy(const WinogradPlan& plan) { return kCopied * plan.taps() * plan.nr; }

  // One panel of the outputs of these tiles. u_of(block) is the panel's U.
  template <class F>
  void Outputs(int64_t set, int64_t panel, int64_t begin, int64_t count, const float* v,
               const F& u_of, Scratch scratch) const {
    float* const m = scratch.Take<float>(plan_.m_size(count));
    float* const stage = scratch.Take<float>(StageCount());
    for (int64_t block = 0; block < plan_.blocks; ++block) {
      Multiply(u_of(block), v + block * plan_.elements * plan_.v_step(count), block, count, m);
    }
    ForEachSegment(set, begin, count, [&](const Segment& segment) {
      Store(set, panel, segment, m + segment.tile * plan_.nr, plan_.m_step(count), stage);
    });
  }

 private:
  // Channels of filters that are copied at a time: a line of memory where they are neighbours.
  static constexpr int64_t kCopied = 16;

  // The distance between neighbouring taps of a filter, row by row, if there is one, or else 0.
  int64_t TapStep() const {
    const FilterStrides& strides = problem_.filter_strides;
    const int64_t columns = plan_.columns.taps;
    if (columns == 1) return strides.r;
    return columns == plan_.taps() || strides.r == columns * strides.s ? strides.s : 0;
  }

  // copy[c][tap][k] for k < n, rows of NR; true if the taps are in reverse order. An adjoint
  // convolution has channels and filters exchanged, and taps reversed: 128 of 128 at 28² take 2.1
  // ms when these are transposed, and 2.5 when they are gathered one by one (8 images, two cores
  // with AVX-512).
  bool CopyFilters(const Source<float>& filters, int64_t channels, int64_t n, float* copy) const {
    const FilterStrides& strides = problem_.filter_strides;
    const int64_t columns = plan_.columns.taps, taps = plan_.taps(), row = taps * plan_.nr;
    const bool rows = filters.native() && strides.k > 0;
    if (rows && FiltersArePlanes(problem_)) {
      kernels_.transpose(filters.InPlace(), strides.k, n, channels * taps, copy, plan_.nr);
      return false;
    }
    if (rows && strides.c == 1) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t offset = tap / columns * strides.r + tap % columns * strides.s;
        kernels_.transpose((filters + offset).InPlace(), strides.k, n, channels,
                           copy + tap * plan_.nr, row);
      }
      return false;
    }
    if (rows && std::abs(TapStep()) == 1) {
      const bool turned = TapStep() < 0;
      for (int64_t c = 0; c < channels; ++c) {
        const Source<float> from = filters + (c * strides.c - (turned ? taps - 1 : 0));
        kernels_.transpose(from.InPlace(), strides.k, n, taps, copy + c * row, plan_.nr);
      }
      return turned;
    }
    for (int64_t i = 0; i < channels * taps; ++i) {
      const int64_t tap = i % taps;
      (filters + (tap / columns * strides.r + tap % columns * strides.s + i / taps * strides.c))
          .Read(strides.k, n, copy + i * plan_.nr);
    }
    return false;
  }

  bool Staged() const { return !problem_.out.native() || problem_.out_strides.c != 1; }
  // Results of one panel, where they cannot be stored as they come.
  int64_t StageCount() const {
    const int64_t tiles = std::min(plan_.columns.per_phase, kSegment);
    return Staged() ? tiles * plan_.rows.outputs * plan_.columns.outputs * plan_.nr : 0;
  }

  template <class F>
  void ForEachSegment(int64_t set, int64_t begin, int64_t count, const F& f) const {
    const int64_t first_image = problem_.banks == 1 ? 0 : set / problem_.shape.groups;
    lanewise::ForEachSegment(plan_.rows, plan_.columns, first_image, begin, count, f);
  }

  // Of a segment's tiles, from channel `first` on.
  void Transform(const Segment& segment, int64_t first, const float* zeros, float* copy, float* v,
                 int64_t v_step) const {
    const float* pixels[kSegment * MostTileElements()];
    if (plan_.in_place) reader_.Pixels(segment, first, zeros, pixels);
    for (int64_t c = 0; c < problem_.shape.group_c;
         c += kWinogradBlock, v += plan_.elements * v_step) {
      const int64_t n = std::min(kWinogradBlock, problem_.shape.group_c - c);
      if (!plan_.in_place) reader_.Copy(segment, first + c, n, plan_.width, copy, pixels);
      kernels_.input(pixels, segment.count, plan_.in_place ? c : 0, n, v, plan_.width, v_step);
    }
  }

  // M = or, after the first block, += U·V.
  void Multiply(const float* u, const float* v, int64_t block, int64_t count, float* m) const {
    const int64_t depth = std::min(kWinogradBlock, problem_.shape.group_c - block * kWinogradBlock);
    const float* rows[kMaxRows];
    for (int64_t e = 0; e < plan_.elements; ++e) {
      for (int64_t tile = 0, n = 0; tile < count; tile += n) {
        n = RowsOfCall(count - tile);
        for (int64_t i = 0; i < n; ++i) {
          rows[i] = v + e * plan_.v_step(count) + (tile + i) * plan_.width;
        }
        kernels_.multiply(rows, n, depth, u + e * plan_.u_step(), block == 0,
                          m + e * plan_.m_step(count) + tile * plan_.nr);
      }
    }
  }
  // Whole tiles of registers, and two halves rather than a last one of a few rows.
  int64_t RowsOfCall(int64_t left) const {
    return left < 2 * plan_.mr && left > plan_.mr ? CeilDiv(left, 2) : std::min(left, plan_.mr);
  }
  static constexpr int64_t kMaxRows = 16;

  // The outputs of a segment from its products with a panel.
  void Store(int64_t set, int64_t panel, const Segment& segment, const float* m, int64_t m_step,
             float* stage) const {
    const ConvShape& shape = problem_.shape;
    const int64_t group = set % shape.groups, first = panel * plan_.nr;
    const int64_t k = group * shape.group_k + first;
    const int64_t n = std::min(plan_.nr, shape.group_k - first);
    const ImageStrides& strides = problem_.out_strides;
    const int64_t oh = plan_.rows.Output(segment.row), ow = plan_.columns.Output(segment.column);
    const int64_t of_tile = plan_.columns.outputs;  // columns
    const int64_t height = std::min(plan_.rows.outputs, plan_.rows.Left(segment.row));
    const int64_t width = std::min(segment.count * of_tile, plan_.columns.Left(segment.column));
    const int64_t row_step = plan_.rows.step() * strides.h;
    const int64_t column_step = plan_.columns.step() * strides.w;
    const Sink<float> out = problem_.out + (segment.image * strides.n + k * strides.c +
                                            oh * strides.h + ow * strides.w);
    const float* bias = problem_.bias + segment.image * problem_.bias_stride + k;
    uint8_t* const doubted =
        doubted_ +
        ((segment.image * shape.groups + group) * plan_.rows.count + segment.row) *
            plan_.columns.count +
        segment.column;
    const bool staged = Staged();
    const int64_t row_stride = staged ? segment.count * of_tile * plan_.nr : row_step;
    const int64_t column_stride = staged ? plan_.nr : column_step;
    float* const to = staged ? stage : out.InPlace();
    for (int64_t j = 0; j < segment.count; ++j) {
      const int64_t left = std::clamp<int64_t>(width - j * of_tile, 0, of_tile);
      const bool finite = kernels_.output(m + j * plan_.nr, m_step, n, bias, problem_.activation,
                                          to + j * of_tile * column_stride, row_stride,
                                          column_stride, height, left);
      if (!finite) doubted[j] = 1;
    }
    if (!staged) return;
    for (int64_t i = 0; i < height; ++i) {
      StoreRow(stage + i * row_stride, width, n, out + i * row_step, column_step);
    }
  }

  void StoreRow(const float* from, int64_t width, int64_t n, const Sink<float>& to,
                int64_t column_step) const {
    const int64_t channel_step = problem_.out_strides.c;
    if (to.native() && column_step == 1 && channel_step > 0) {
      kernels_.transpose(from, plan_.nr, width, n, to.InPlace(), channel_step);
      return;
    }
    for (int64_t j = 0; j < width; ++j) {
      (to + j * column_step).Write(from + j * plan_.nr, n, channel_step);
    }
  }

  const ConvProblem<float>& problem_;
  const WinogradPlan& plan_;
  const WinogradKernels& kernels_;
  uint8_t* const doubted_;  // one per image, group and tile; where two panels write, both write 1
  const TileReader reader_;
};

// All filters of the sets [first, first + sets).
Buffer<float> TransformFilters(const WinogradPlan& plan, const Stages& stages, int64_t first,
                               int64_t sets) {
  const int64_t blocks = plan.panels * plan.blocks;
  const double ns = plan.filter_ns * double(sets * blocks * plan.width * plan.nr);
  Buffer<float> u(sets * plan.u_set());
  ParallelFor({sets * blocks, ns, Scratch::Bytes<float>(Stages::FilterCopy(plan))},
              [&](int64_t index, Scratch scratch) {
                stages.Filters(first + index / blocks, index % blocks / plan.blocks,
                               index % plan.blocks, u.get() + index * plan.u_block(),
                               scratch.Take<float>(Stages::FilterCopy(plan)));
              });
  return u;
}

// The sets [first, first + sets), whose filters are `shared` or else made by the tasks.
void RunSets(const WinogradPlan& plan, const Stages& stages, int64_t first, int64_t sets,
             const float* shared) {
  const Split runs(plan.set_tiles, 1, plan.set_tiles, plan.runs);
  const Split shares(plan.panels, 1, plan.panels, plan.shares);
  const int64_t per_set = runs.count * shares.count, longest = runs.longest();
  const int64_t own_count = shared == nullptr ? plan.u_block() + Stages::FilterCopy(plan) : 0;
  const size_t scratch_bytes = Scratch::Bytes<float>(plan.v_size(longest)) +
                               Scratch::Bytes<float>(own_count) +
                               std::max(stages.InputScratch(), stages.OutputScratch(longest));
  const Work work{sets * per_set, plan.total_ns, scratch_bytes};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    const int64_t set = index / per_set;
    const int64_t run = index % per_set / shares.count, share = index % shares.count;
    const int64_t begin = runs.begin(run), count = runs.end(run) - begin;
    float* const v = scratch.Take<float>(plan.v_size(count));
    float* const own = scratch.Take<float>(own_count);
    stages.Inputs(first + set, begin, count, v, scratch);
    for (int64_t panel = shares.begin(share); panel < shares.end(share); ++panel) {
      const auto u = [&](int64_t block) -> const float* {
        if (shared != nullptr) {
          return shared + set * plan.u_set() + (panel * plan.blocks + block) * plan.u_block();
        }
        stages.Filters(first + set, panel, block, own, own + plan.u_block());
        return own;
      };
      stages.Outputs(first + set, panel, begin, count, v, u, scratch);
    }
  });
}

// The ordered sum for a segment of at most `n` tiles: outputs at a distance of the dilation.
void RedoTiles(const ConvProblem<float>& problem, const WinogradPlan& plan, int64_t image,
               int64_t group, int64_t row, int64_t column, int64_t n) {
  ConvProblem<float> part = problem.Images(image, 1).Filters(group, 1, 0, problem.shape.group_k);
  const auto take = [](const TileAxis& tiles, int64_t first, int64_t at_most, WindowAxis& axis) {
    axis.before -= tiles.Output(first);
    axis.stride = tiles.step();
    axis.out = std::min(at_most, tiles.Left(first));
  };
  take(plan.rows, row, plan.rows.outputs, part.shape.h);
  take(plan.columns, column, n * plan.columns.outputs, part.shape.w);
  if (part.shape.pixels() == 0) return;
  part.out = part.out + (plan.rows.Output(row) * problem.out_strides.h +
                         plan.columns.Output(column) * problem.out_strides.w);
  part.out_strides.h *= plan.rows.step();
  part.out_strides.w *= plan.columns.step();
  RunDirect(part);
}

// Where a transform met an infinity or a NaN, or overflowed, the tile is the ordered sum instead.
void RedoDoubted(const ConvProblem<float>& problem, const WinogradPlan& plan,
                 const uint8_t* doubted) {
  const int64_t rows = plan.rows.count, columns = plan.columns.count;
  const int64_t per_phase = plan.columns.per_phase;
  for (int64_t i = 0; i < problem.batch * problem.shape.groups * rows; ++i, doubted += columns) {
    const int64_t group = i / rows;  // groups are counted through the images
    for (int64_t j = 0, n = 0; j < columns; j += std::max<int64_t>(1, n)) {
      const uint8_t* const end = doubted + (j / per_phase + 1) * per_phase;
      n = std::find(doubted + j, end, 0) - (doubted + j);
      if (n > 0) {
        RedoTiles(problem, plan, group / problem.shape.groups, group % problem.shape.groups,
                  i % rows, j, n);
      }
    }
  }
}

}  // namespace

void RunWinograd(const ConvProblem<float>& problem) {
  const SimdTarget target = ActiveTarget();
  const WinogradKernels& kernels =
      WinogradKernelsFor(target, ChooseWinogradTile(problem.shape, target));
  const WinogradPlan plan(problem, ConvKernelsFor<float>(target), kernels.tile);
  std::vector<uint8_t> doubted(plan.sets * plan.set_tiles);
  const Stages stages(problem, plan, kernels, doubted.data());
  if (!plan.shared) {
    RunSets(plan, stages, 0, plan.sets, nullptr);
  } else if (problem.forms != nullptr) {
    const PackedFilters<float> u =
        GetFilters(problem, FilterForm::kWinograd, kernels, plan.nr,
                   [&] { return TransformFilters(plan, stages, 0, plan.sets); });
    RunSets(plan, stages, 0, plan.sets, u.get());
  } else {
    const int64_t set_bytes = plan.u_set() * int64_t{sizeof(float)};
    const Split parts(plan.sets, 1, std::max<int64_t>(1, kWinogradSharedBytes / set_bytes));
    for (int64_t part = 0; part < parts.count; ++part) {
      const int64_t first = parts.begin(part), sets = parts.end(part) - first;
      const Buffer<float> u = TransformFilters(plan, stages, first, sets);
      RunSets(plan, stages, first, sets, u.get());
    }
  }
  if (std::find(doubted.begin(), doubted.end(), 1) != doubted.end()) {
    RedoDoubted(problem, plan, doubted.data());
  }
}

}  // namespace lanewise
