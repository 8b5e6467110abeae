// Filters' gradients by Winograd's algorithm: kernels/winograd_backward-inl.h has the formulas. A
// tile of outputs has E elements when transformed, 36 for F(4×4, 3×3).
//
//   V = Bᵀ·x·B     inputs              [E][tile][channel of a block]
//   D = A·dy·Aᵀ    outputs' gradients  [E][tile][NR]
//   M = Σ V·D      sums over tiles     [E][channel][NR], E sums of outer products
//   g = Gᵀ·M·G     filters' gradients  [channel][tap][NR]
//
// Tiles are numbered through the images of a batch, row by row, and cut into chunks: M is a chunk's
// sum, and the g of chunks are added in order, as are those of slices, which are runs of chunks
// where channels alone are too few for many threads. Chunks and slices are functions of the shape
// and the batch; blocks of channels are not, and change no bit. A task takes a block of input
// channels and a share of the output channels, a panel of NR at a time, through all tiles of a
// slice.
//
// The transforms are the adjoints of the convolution's and have the same matrices, so a gradient is
// off by at most
//
//   A·(n + m + 29)·eps/2 · max|x| · Σ|dy|
//
// with A as Conv2d has it (158 for 3×3), n tiles in a chunk and m chunks and slices. On random data
// (batch 8, 64 channels at 56², 256 at 14², 512 at 7²) the largest error is 4.6e-6 to 5.2e-6 of the
// gradients' size, and the ordinary one 6e-7 to 8e-7; those of the direct sums are 1.4e-6 to 2.7e-6
// and 3e-7.
#include "ops/conv_backward/filter_winograd.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/winograd_cost.h"
#include "ops/conv/winograd_tiles.h"
#include "ops/conv_backward/filter_direct.h"
#include "ops/strided.h"
#include "runtime/buffer.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// Tiles of a chunk. From 48 to 96 nothing is gained or lost; 128 leave too little of L2 to
// channels: 3.2 instead of 2.8 ms for 256 at 14² on two cores.
constexpr int64_t kChunk = 64;
// So many pairs of channels keep all threads busy, and a slice has at least so many chunks.
constexpr int64_t kPairs = int64_t{1} << 15, kSliceChunks = 3, kMostSlices = 64;
// Input channels are cut at multiples of a line.
constexpr int64_t kUnit = 16;
// At most so many output channels have their pixels' pointers in common.
constexpr int64_t kMostFilters = 1024;

// Nanoseconds for an element of each tile and input channel, of each tile and output channel, of
// each chunk and pair of channels, and of each product; and for a direct product. As in
// winograd_cost.h. Measured there (AVX-512 and AVX2, one core, ms, direct and Winograd, batch 8
// unless said): 64 channels at 56² 12.3, 4.6 and 18.7, 7.5; 16 at 56² 0.99, 0.61 and 1.16, 0.73;
// 256 at 14² 11.9, 6.0 and 19.3, 8.9; 512 at 7² 13.5, 7.7 and 20.5, 13.1, of one image 2.3, 2.5 and
// 3.5, 4.1; 5×5 of 64 at 28² 7.7, 4.7 and 12.7, 7.8; 1×7 of 192 at 17² 7.5, 5.7 and 12.4, 9.7; 1×5
// of 64 at 28² 1.68, 1.47 and 2.6, 2.2.
struct Costs {
  double input, output, filter, product, direct;
};
constexpr Costs kAvx512Costs{0.16, 0.17, 0.1, 0.0105, 0.011};
constexpr Costs kOtherCosts{0.23, 0.13, 0.16, 0.018, 0.018};

const Costs& CostsOf(SimdTarget target) {
  return target == SimdTarget::kAvx512 ? kAvx512Costs : kOtherCosts;
}

// What is common to all sums of a gradient.
struct Tiles {
  TileAxis rows, columns;  // of x
  TileAxis dy_rows, dy_columns;
  int64_t elements;
  int64_t count;         // over which a sum runs
  Split chunks, slices;  // of tiles, of chunks

  Tiles(const ConvShape& shape, int64_t images, int64_t banks, const WinogradTile& tile)
      : rows(shape.h, tile.rows),
        columns(shape.w, tile.columns),
        dy_rows(OutputAxis(shape.h), {tile.rows.outputs, 1}),
        dy_columns(OutputAxis(shape.w), {tile.columns.outputs, 1}),
        elements(tile.elements()),
        count(images * rows.count * columns.count),
        chunks(count, 1, kChunk) {
    const int64_t pairs = banks * shape.groups * shape.group_c * RoundUp(shape.group_k, 2 * kUnit);
    const int64_t most = std::max<int64_t>(1, chunks.count / kSliceChunks);
    const int64_t wanted = std::clamp<int64_t>(kPairs / pairs, 1, std::min(most, kMostSlices));
    chunks = Split(count, 1, kChunk, RoundUp(chunks.count, wanted));
    slices = Split(chunks.count, 1, chunks.count, wanted);
  }

 private:
  // Outputs are their own inputs.
  static WindowAxis OutputAxis(const WindowAxis& axis) {
    return {axis.out, 1, 1, axis.dilation, 0, 0, axis.out};
  }
};

// For all sums of a group, with input channels in blocks of 64.
double WinogradNs(const ConvShape& shape, int64_t images, const WinogradTile& tile,
                  const Costs& costs) {
  const Tiles tiles(shape, images, 1, tile);
  const double n = double(tiles.count), c = double(shape.group_c);
  const double k = double(RoundUp(shape.group_k, kUnit));
  const double of_tiles = c * costs.input + k * double(CeilDiv(shape.group_c, 64)) * costs.output;
  return double(tiles.elements) * (n * (of_tiles + c * k * costs.product) +
                                   double(tiles.chunks.count) * c * k * costs.filter);
}

size_t ChooseTile(const ConvShape& shape, int64_t images) {
  size_t best = kWinogradTileCount;
  double best_ns = 0;
  for (size_t i = 0; i < kWinogradTileCount; ++i) {
    const WinogradTile& tile = kWinogradTiles[i];
    const auto fits = [](const WindowAxis& axis, const WinogradAxis& f) {
      return axis.window == int64_t(f.taps) && axis.stride == 1;
    };
    if (!fits(shape.h, tile.rows) || !fits(shape.w, tile.columns)) continue;
    const double ns = WinogradNs(shape, images, tile, CostsOf(ActiveTarget()));
    if (best == kWinogradTileCount || ns < best_ns) {
      best = i;
      best_ns = ns;
    }
  }
  return best;
}

// How the work is cut beyond that. Only speed depends on it.
struct Plan : Tiles {
  int64_t mr, nr;
  int64_t taps;
  int64_t images;        // of a bank
  int64_t sets;          // groups of all banks
  int64_t panels;        // of a group's filters
  Split blocks, shares;  // of a group's input channels, and of its panels
  double total_ns;

  Plan(const FilterGradient<float>& g, const WinogradTile& tile,
       const ConvBackwardKernels<float>& kernels, const Costs& costs)
      : Tiles(g.shape, g.batch / g.banks, g.banks, tile),
        mr(kernels.mr),
        nr(kernels.nr),
        taps(g.shape.taps()),
        images(g.batch / g.banks),
        sets(g.banks * g.shape.groups),
        panels(CeilDiv(g.shape.group_k, nr)),
        total_ns(double(sets) * WinogradNs(g.shape, images, tile, costs)) {
    Cut(g.shape.group_c, costs);
  }

  // Widths, and distances of the elements, with a line more than they need (see WinogradPlan).
  int64_t width() const { return RoundUp(blocks.longest(), kUnit); }
  int64_t v_step() const { return chunks.longest() * width() + kUnit; }
  int64_t d_step() const { return chunks.longest() * nr + kUnit; }
  int64_t m_step() const { return RoundUp(blocks.longest(), mr) * nr + kUnit; }
  // Of the gradients by one panel and one input channel.
  int64_t g_step() const { return taps * nr; }
  // Panels whose gradients wait for the next chunk.
  int64_t waiting() const { return slices.count > 1 ? 0 : chunks.count > 1 ? shares.longest() : 1; }
  int64_t floats() const {
    return elements * (v_step() + d_step() + m_step()) + waiting() * blocks.longest() * g_step();
  }
  int64_t tasks() const { return sets * slices.count * blocks.count * shares.count; }

 private:
  // The blocks and shares whose tasks end soonest, of those that stay in cache.
  void Cut(int64_t channels, const Costs& costs) {
    const int threads = ThreadsFor(total_ns);
    const int64_t room = int64_t(Caches().l2 * 3 / 4 / sizeof(float));
    const int64_t fewest = CeilDiv(panels * nr, kMostFilters);
    const int64_t most = std::min<int64_t>(panels, fewest + 2 * threads);
    Split best_blocks, best_shares;
    double best_ns = 0;
    for (int64_t i = 1; i <= CeilDiv(channels, kUnit); ++i) {
      blocks = Split(channels, kUnit, channels, i);
      for (int64_t j = fewest; j <= most; ++j) {
        shares = Split(panels, 1, panels, j);
        if (floats() > room && best_ns > 0) continue;
        const double ns = double(CeilDiv(tasks(), threads)) * TaskNs(costs);
        // The smallest is kept where none stays in cache.
        if (best_ns > 0 && ns >= best_ns) continue;
        if (floats() > room && (i < CeilDiv(channels, kUnit) || j < most)) continue;
        best_ns = ns;
        best_blocks = blocks;
        best_shares = shares;
      }
    }
    blocks = best_blocks;
    shares = best_shares;
  }

  double TaskNs(const Costs& costs) const {
    const double n = double(slices.longest()), tiles = double(chunks.longest());
    const double c = double(blocks.longest()), k = double(shares.longest() * nr);
    return n * double(elements) *
           (tiles * (c * costs.input + k * costs.output + c * k * costs.product) +
            c * k * costs.filter);
  }
};

class FilterWinograd {
 public:
  FilterWinograd(const FilterGradient<float>& gradient, const Plan& plan, size_t tile,
                 const ConvBackwardKernels<float>& outer)
      : gradient_(gradient),
        plan_(plan),
        kernels_(WinogradKernelsFor(ActiveTarget(), tile)),
        adjoints_(WinogradBackwardKernelsFor(ActiveTarget(), tile)),
        outer_(outer),
        x_{gradient.x,    gradient.x_strides, plan.rows, plan.columns,
           gradient.rows, gradient.columns,   kernels_},
        dy_{gradient.dy,
            gradient.dy_strides,
            plan.dy_rows,
            plan.dy_columns,
            Border(PadMode::kConstant, plan.dy_rows.axis.in),
            Border(PadMode::kConstant, plan.dy_columns.axis.in),
            kernels_},
        sums_(plan.slices.count == 1 ? 0
                                     : plan.slices.count * plan.sets * plan.panels * SumsOfPanel()),
        finite_(plan.tasks(), 1) {}

  void Run() {
    ParallelFor({plan_.tasks(), plan_.total_ns, Memory::Bytes(*this)},
                [&](int64_t index, Scratch scratch) {
                  finite_[index] = RunTask(index, Memory(*this, scratch));
                });
    RedoUnless(plan_.slices.count > 1 ? AddSlices() : finite_);
  }

 private:
  // Of one thread.
  struct Memory {
    float *v, *d, *m, *g, *zeros, *copy;
    const float **x_pixels, **dy_pixels;

    Memory(const FilterWinograd& w, Scratch scratch) {
      ForEach(w, [&](auto piece, int64_t count) { scratch.TakeFor(this, piece, count); });
    }
    static size_t Bytes(const FilterWinograd& w) {
      size_t bytes = 0;
      ForEach(w, [&](auto piece, int64_t count) { bytes += Scratch::BytesFor(piece, count); });
      return bytes;
    }

   private:
    template <class F>
    static void ForEach(const FilterWinograd& w, const F& f) {
      const Plan& plan = w.plan_;
      f(&Memory::v, plan.elements * plan.v_step());
      f(&Memory::d, plan.elements * plan.d_step());
      f(&Memory::m, plan.elements * plan.m_step());
      f(&Memory::g, plan.waiting() * plan.blocks.longest() * plan.g_step());
      f(&Memory::zeros, std::max(plan.width(), plan.shares.longest() * plan.nr));
      const int64_t x_copy = w.x_.in_place() ? 0 : w.x_.CopyCount(plan.width());
      const int64_t dy_copy = w.dy_.in_place() ? 0 : w.dy_.CopyCount(plan.nr);
      f(&Memory::copy, std::max(x_copy, dy_copy));
      f(&Memory::x_pixels, plan.chunks.longest() * w.x_.elements());
      f(&Memory::dy_pixels, plan.chunks.longest() * w.dy_.elements());
    }
  };

  // A block's channels and a share's panels, of one set.
  struct Task {
    int64_t set, slice, c, channels, panel, panels;
  };

  // Gradients by `channels` input channels, from channel c on, and a panel.
  struct Part {
    int64_t set, panel, c, channels;
  };

  int64_t SumsOfPanel() const { return gradient_.shape.group_c * plan_.g_step(); }

  bool RunTask(int64_t index, const Memory& memory) {
    const int64_t share = index % plan_.shares.count;
    const int64_t block = index / plan_.shares.count % plan_.blocks.count;
    const int64_t slice = index / plan_.shares.count / plan_.blocks.count % plan_.slices.count;
    const Task task{index / (plan_.shares.count * plan_.blocks.count * plan_.slices.count),
                    slice,
                    plan_.blocks.begin(block),
                    plan_.blocks.end(block) - plan_.blocks.begin(block),
                    plan_.shares.begin(share),
                    plan_.shares.end(share) - plan_.shares.begin(share)};
    std::fill_n(memory.zeros, std::max(plan_.width(), plan_.shares.longest() * plan_.nr), 0.0f);
    const int64_t first = plan_.slices.begin(slice), end = plan_.slices.end(slice);
    bool finite = true;
    for (int64_t chunk = first; chunk < end; ++chunk) {
      Inputs(task, chunk, memory);
      if (dy_.in_place()) Outputs(task, chunk, memory);
      for (int64_t i = 0; i < task.panels; ++i) {
        const int64_t panel = task.panel + i;
        float* const sums = Sums(task, panel, plan_.waiting() > 1 ? i : 0, memory);
        Panel(task, chunk, panel, memory);
        Multiply(task, chunk, panel, memory);
        finite &= adjoints_.filter(memory.m, plan_.m_step(), task.channels, Filters(panel),
                                   chunk == first, sums);
        if (plan_.slices.count == 1 && chunk == end - 1) {
          Store({task.set, panel, task.c, task.channels}, sums);
        }
      }
    }
    return finite;
  }

  // How many filters a panel has.
  int64_t Filters(int64_t panel) const {
    return std::min(plan_.nr, gradient_.shape.group_k - panel * plan_.nr);
  }

  // Where the gradients by a panel are summed.
  float* Sums(const Task& task, int64_t panel, int64_t waiting, const Memory& memory) const {
    if (plan_.slices.count == 1) {
      return memory.g + waiting * plan_.blocks.longest() * plan_.g_step();
    }
    return SumsOf(task.set, panel, task.slice, task.c);
  }
  float* SumsOf(int64_t set, int64_t panel, int64_t slice, int64_t c) const {
    return sums_.get() +
           ((set * plan_.panels + panel) * plan_.slices.count + slice) * SumsOfPanel() +
           c * plan_.g_step();
  }

  template <class F>
  void ForEachSegment(int64_t set, int64_t chunk, const F& f) const {
    const int64_t begin = plan_.chunks.begin(chunk), end = plan_.chunks.end(chunk);
    const int64_t first_image = set / gradient_.shape.groups * plan_.images;
    lanewise::ForEachSegment(plan_.rows, plan_.columns, first_image, begin, end - begin, f);
  }

  // V of a chunk.
  void Inputs(const Task& task, int64_t chunk, const Memory& memory) const {
    const int64_t c = task.set % gradient_.shape.groups * gradient_.shape.group_c + task.c;
    ForEachSegment(task.set, chunk, [&](const Segment& segment) {
      if (x_.in_place()) {
        x_.Pixels(segment, c, memory.zeros, memory.x_pixels);
      } else {
        x_.Copy(segment, c, task.channels, plan_.width(), memory.copy, memory.x_pixels);
      }
      kernels_.input(memory.x_pixels, segment.count, 0, task.channels,
                     memory.v + segment.tile * plan_.width(), plan_.width(), plan_.v_step());
    });
  }

  // The pixels of dy under a chunk, at the share's first filter.
  void Outputs(const Task& task, int64_t chunk, const Memory& memory) const {
    const int64_t k = task.set % gradient_.shape.groups * gradient_.shape.group_k;
    ForEachSegment(task.set, chunk, [&](const Segment& segment) {
      dy_.Pixels(segment, k + task.panel * plan_.nr, memory.zeros,
                 memory.dy_pixels + segment.tile * dy_.elements());
    });
  }

  // D of a chunk and panel.
  void Panel(const Task& task, int64_t chunk, int64_t panel, const Memory& memory) const {
    const int64_t n = Filters(panel);
    if (dy_.in_place()) {
      const int64_t tiles = plan_.chunks.end(chunk) - plan_.chunks.begin(chunk);
      return adjoints_.output(memory.dy_pixels, tiles, (panel - task.panel) * plan_.nr, n, memory.d,
                              plan_.nr, plan_.d_step());
    }
    const int64_t k = task.set % gradient_.shape.groups * gradient_.shape.group_k;
    ForEachSegment(task.set, chunk, [&](const Segment& segment) {
      dy_.Copy(segment, k + panel * plan_.nr, n, plan_.nr, memory.copy, memory.dy_pixels);
      adjoints_.output(memory.dy_pixels, segment.count, 0, n, memory.d + segment.tile * plan_.nr,
                       plan_.nr, plan_.d_step());
    });
  }

  // M of a chunk and panel.
  void Multiply(const Task& task, int64_t chunk, int64_t panel, const Memory& memory) const {
    const int64_t tiles = plan_.chunks.end(chunk) - plan_.chunks.begin(chunk);
    const bool half = Filters(panel) <= plan_.nr / 2;
    const Split calls(task.channels, plan_.mr / 3, plan_.mr);
    for (int64_t e = 0; e < plan_.elements; ++e) {
      const float* const lanes = memory.d + e * plan_.d_step();
      for (int64_t call = 0; call < calls.count; ++call) {
        const int64_t c = calls.begin(call);
        const float* const rows = memory.v + e * plan_.v_step() + c;
        outer_.outer(&rows, plan_.width(), calls.end(call) - c, &lanes, plan_.nr, half, 1, tiles,
                     true, memory.m + e * plan_.m_step() + c * plan_.nr);
      }
    }
  }

  // Of one tap and input channel.
  Sink<float> Row(const Part& part, int64_t c, int64_t tap) const {
    const ConvShape& shape = gradient_.shape;
    const FilterStrides& strides = gradient_.dw_strides;
    return gradient_.dw +
           (part.set / shape.groups * strides.n + part.set % shape.groups * strides.g +
            tap / shape.w.window * strides.r + tap % shape.w.window * strides.s +
            (part.c + c) * strides.c + part.panel * plan_.nr * strides.k);
  }
  // A Sink's call for each row of NR filters took longer than all else: 6.9 ms instead of 3.1 for
  // 512 channels to 512 at 7².
  void Store(const Part& part, const float* g) const {
    const FilterStrides& strides = gradient_.dw_strides;
    const int64_t n = Filters(part.panel);
    const Sink<float> to = Row(part, 0, 0);
    const bool planes = to.native() && strides.k > 0 && strides.s == 1 &&
                        strides.r == gradient_.shape.w.window && strides.c == plan_.taps;
    if (planes) {
      kernels_.transpose(g, plan_.nr, part.channels * plan_.taps, n, to.InPlace(), strides.k);
      return;
    }
    for (int64_t tap = 0; tap < plan_.taps; ++tap) {
      for (int64_t c = 0; c < part.channels; ++c) {
        const float* const from = g + (c * plan_.taps + tap) * plan_.nr;
        const Sink<float> at = Row(part, c, tap);
        if (at.native() && strides.k == 1) {
          std::memcpy(at.InPlace(), from, n * sizeof(float));
        } else {
          at.Write(from, n, strides.k);
        }
      }
    }
  }

  // Adds up what the slices come to, and says of parts of each set whether they are finite.
  std::vector<uint8_t> AddSlices() const {
    const Split pieces(gradient_.shape.group_c, kUnit, kUnit);
    const double ns = 0.1 * double(plan_.sets * plan_.panels * plan_.slices.count * SumsOfPanel());
    std::vector<uint8_t> finite(plan_.sets * plan_.panels * pieces.count);
    ParallelFor({int64_t(finite.size()), ns, 0}, [&](int64_t index, Scratch) {
      const int64_t panel = index / pieces.count % plan_.panels;
      const int64_t set = index / pieces.count / plan_.panels;
      const int64_t c = pieces.begin(index % pieces.count);
      const int64_t n = pieces.end(index % pieces.count) - c, filters = Filters(panel);
      float* const sums = SumsOf(set, panel, 0, c);
      bool all = true;
      for (int64_t slice = 1; slice < plan_.slices.count; ++slice) {
        const float* const more = SumsOf(set, panel, slice, c);
        for (int64_t i = 0; i < n * plan_.g_step(); i += plan_.nr) {
          for (int64_t k = i; k < i + filters; ++k) {
            sums[k] += more[k];
            all &= std::abs(sums[k]) <= std::numeric_limits<float>::max();
          }
        }
      }
      finite[index] = all;
      Store({set, panel, c, n}, sums);
    });
    return finite;
  }

  // Where a transform met an infinity or a NaN, or overflowed, a set's sums are the direct ones.
  // `finite` says so of parts of each set.
  void RedoUnless(const std::vector<uint8_t>& finite) const {
    const int64_t per_set = int64_t(finite.size()) / plan_.sets;
    for (int64_t set = 0; set < plan_.sets; ++set) {
      const auto begin = finite.begin() + set * per_set;
      if (std::find(begin, begin + per_set, 0) != begin + per_set) Redo(set);
    }
  }
  void Redo(int64_t set) const {
    const ConvShape& shape = gradient_.shape;
    const int64_t bank = set / shape.groups, group = set % shape.groups;
    FilterGradient<float> part = gradient_;
    part.shape.groups = 1;
    part.batch = plan_.images;
    part.banks = 1;
    part.x = part.x +
             (bank * plan_.images * part.x_strides.n + group * shape.group_c * part.x_strides.c);
    part.dy = part.dy +
              (bank * plan_.images * part.dy_strides.n + group * shape.group_k * part.dy_strides.c);
    part.dw = part.dw + (bank * part.dw_strides.n + group * part.dw_strides.g);
    RunFilterDirect(part);
  }

  const FilterGradient<float>& gradient_;
  const Plan& plan_;
  const WinogradKernels& kernels_;
  const WinogradBackwardKernels& adjoints_;
  const ConvBackwardKernels<float>& outer_;
  const TileReader x_, dy_;
  const Buffer<float> sums_;     // [set][panel][slice][channel][tap][NR]
  std::vector<uint8_t> finite_;  // of each task
};

// Fewer channels gain little, and in small networks many gradients are exactly 0, as pixels at the
// rim or units are dead; these stay 0 in direct sums only, and an optimiser that divides gradients
// by their own size (Adam) makes whole steps of what rounding leaves instead: with 16 channels the
// losses of its first 50 steps differed by 2e-2 from those of direct sums, and without by 3e-7.
constexpr int64_t kFewest = 32;

}  // namespace

bool FilterWinogradPays(const ConvShape& shape, int64_t images) {
  const Costs& costs = CostsOf(ActiveTarget());
  const size_t tile = ChooseTile(shape, images);
  if (tile == kWinogradTileCount || std::min(shape.group_c, shape.group_k) < kFewest) return false;
  const double products = double(shape.terms()) * double(RoundUp(shape.group_k, kUnit)) *
                          double(shape.pixels() * images);
  return WinogradNs(shape, images, kWinogradTiles[tile], costs) < 0.9 * products * costs.direct;
}

void RunFilterWinograd(const FilterGradient<float>& gradient) {
  const SimdTarget target = ActiveTarget();
  const size_t tile = ChooseTile(gradient.shape, gradient.batch / gradient.banks);
  const ConvBackwardKernels<float>& outer = ConvBackwardKernelsFor<float>(target);
  const Plan plan(gradient, kWinogradTiles[tile], outer, CostsOf(target));
  FilterWinograd(gradient, plan, tile, outer).Run();
}

}  // namespace lanewise
