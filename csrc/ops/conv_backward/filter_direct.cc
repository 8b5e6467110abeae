// Per tap a matrix product over pixels: dw[tap][c][k] = Σ x[pixel under the tap][c] · dy[pixel][k].
//
// A register tile holds the sums of a few channels of x and of dy. Pixels are packed in blocks: dy
// as [unit of channels][term][channel], x as strips [unit][line][column][channel] that have the
// padding around them, so that each tap of a line is a shift of the strip's start.
//
// The terms of a sum are cut in *chains* of 128 to 256 or so: whole lines of dy's images, or a
// piece of a line. Each is one chain of multiply-adds that starts at zero; the sums of chains are
// added in order within a *slice* of them, and then those of the slices. With chains of L terms, N
// chains in a slice and S slices a result is within (L + N + S)·ε·Σ|x||dy| of the sum, ε half an
// ulp of 1; L < 512, and all three follow from the shapes and the target only.
#include "ops/conv_backward/filter_direct.h"

#include <algorithm>

#include "kernels/kernels.h"
#include "ops/conv_backward/filter_direct_pack.h"
#include "ops/conv_backward/filter_direct_plan.h"
#include "ops/conv_backward/filter_direct_store.h"
#include "ops/wrapping_sum.h"
#include "runtime/buffer.h"
#include "runtime/parallel.h"
#include "runtime/target.h"

namespace lanewise {
namespace {

template <class T>
class FilterDirect {
 public:
  explicit FilterDirect(const FilterGradient<T>& g)
      : g_(g),
        shape_(g.shape),
        plan_(g),
        kernels_(ConvBackwardKernelsFor<T>(ActiveTarget())),
        writer_(g, plan_) {}
  void Run() const;

 private:
  // A thread's scratch, beside the packed block.
  struct Pieces {
    T *sums, *chunk;
    const T **rows, **lanes;  // where segments begin
  };
  // The sums of tiles, of which a box is computed: those of `whole`, in its order.
  struct Sums {
    T* data;
    const TileBox& whole;
  };

  template <class F>
  void ForPieces(const F& f) const;
  void SumBox(int64_t filter, int64_t slice, const TileBox& box, const PackedBlock<T>& block,
              const Pieces& pieces, const Sums& sums) const;
  void SumChain(const TileBox& box, const BlockRun<T>* runs, int64_t count, int64_t width,
                bool first, const Pieces& pieces, MemoryAhead* ahead, const Sums& sums) const;
  void SumTile(int64_t rows, int64_t lanes, int64_t segments, int64_t depth, bool first,
               const Pieces& pieces, MemoryAhead* ahead, T* sums) const;
  void AddSlices(T* shared) const;
  void Write(int64_t filter, const TileBox& box, const T* sums, T* chunk) const;

  // Filters of a set of groups are counted as one, and their sums have so many elements.
  int64_t filters() const { return g_.banks * plan_.sets; }
  int64_t size() const { return plan_.whole.tiles() * plan_.tile; }

  const FilterGradient<T>& g_;
  const ConvShape& shape_;
  const FilterDirectPlan plan_;
  const ConvBackwardKernels<T>& kernels_;
  const TileWriter<T> writer_;
};

template <class T>
template <class F>
void FilterDirect<T>::ForPieces(const F& f) const {
  f(&Pieces::sums, plan_.terms.slices.count == 1 ? plan_.boxes.longest() * plan_.tile : 0);
  f(&Pieces::chunk, TileWriter<T>::ChunkSize(plan_));
  f(&Pieces::rows, plan_.terms.chain);
  f(&Pieces::lanes, plan_.terms.chain);
}

// Adds a chain's products to one tile. Pieces have the beginnings of its segments.
template <class T>
void FilterDirect<T>::SumTile(int64_t rows, int64_t lanes, int64_t segments, int64_t depth,
                              bool first, const Pieces& pieces, MemoryAhead* ahead, T* sums) const {
  const bool swapped = plan_.tiling.swapped, half = lanes <= plan_.nr / 2;
  const int64_t row_step = swapped ? plan_.dy.term : plan_.x.term;
  const int64_t lane_step = swapped ? plan_.x.term : plan_.dy.term;
  const bool full = !half && rows > plan_.mr / 3 * 2;
  if (const char* const fetch = full ? ahead->Take(segments * depth) : nullptr) {
    kernels_.outer_fetching(pieces.rows, row_step, pieces.lanes, lane_step, segments, depth, first,
                            sums, fetch);
  } else {
    kernels_.outer(pieces.rows, row_step, rows, pieces.lanes, lane_step, half, segments, depth,
                   first, sums);
  }
}

// Adds a chain, `count` runs of a block, to the sums of a box.
template <class T>
void FilterDirect<T>::SumChain(const TileBox& box, const BlockRun<T>* runs, int64_t count,
                               int64_t width, bool first, const Pieces& pieces, MemoryAhead* ahead,
                               const Sums& sums) const {
  const FilterTiling& tiling = plan_.tiling;
  const int64_t segments = plan_.one_segment ? 1 : count;
  const int64_t depth = plan_.one_segment ? count * width : width;
  const int64_t x_count = tiling.joined ? shape_.w.window * shape_.group_c : shape_.group_c;
  const T** const xs = tiling.swapped ? pieces.lanes : pieces.rows;
  const T** const ys = tiling.swapped ? pieces.rows : pieces.lanes;
  const auto tile = [&](int64_t y, int64_t x, int64_t r, int64_t t) {
    const int64_t shift =
        tiling.joined ? t * tiling.x_tile : (t - box.t) * plan_.columns.shift * tiling.x_unit;
    for (int64_t s = 0; s < segments; ++s) {
      xs[s] = runs[s].x + ((x - box.x) * plan_.x.unit + (r - box.r) * runs[s].row_shift + shift);
    }
    const int64_t nx = std::min(tiling.x_tile, x_count - (tiling.joined ? t : x) * tiling.x_tile);
    const int64_t ny = std::min(tiling.y_tile, shape_.group_k - y * tiling.y_tile);
    SumTile(tiling.swapped ? ny : nx, tiling.swapped ? nx : ny, segments, depth, first, pieces,
            ahead, sums.data + sums.whole.Index(y, x, r, t) * plan_.tile);
  };
  const auto place_dy = [&](int64_t unit) {
    for (int64_t s = 0; s < segments; ++s) ys[s] = runs[s].dy + unit * plan_.dy.unit;
  };
  for (int64_t y = box.y; y < box.y_end; ++y) {
    if (!tiling.by_group) place_dy(y - box.y);
    for (int64_t x = box.x; x < box.x_end; ++x) {
      if (tiling.by_group) place_dy(x - box.x);
      for (int64_t r = box.r; r < box.r_end; ++r) {
        for (int64_t t = box.t; t < box.t_end; ++t) tile(y, x, r, t);
      }
    }
  }
}

// Sums of a slice, for the tiles of a box.
template <class T>
void FilterDirect<T>::SumBox(int64_t filter, int64_t slice, const TileBox& box,
                             const PackedBlock<T>& block, const Pieces& pieces,
                             const Sums& sums) const {
  const FilterTerms& terms = plan_.terms;
  const BlockPacker<T> packer(g_, plan_, filter / plan_.sets, filter % plan_.sets, box, block);
  packer.FillPast();
  const int64_t begin = terms.slices.begin(slice), slice_end = terms.slices.end(slice);
  for (int64_t chain = begin; chain < slice_end; chain += plan_.block_chains) {
    const int64_t chain_end = std::min(slice_end, chain + plan_.block_chains);
    const int64_t run = chain * terms.chain, end = std::min(terms.runs, chain_end * terms.chain);
    packer.Pack(run, end);
    MemoryAhead ahead = packer.Ahead(end, end + (end - run));
    for (int64_t i = chain; i < chain_end; ++i) {
      const int64_t first = i * terms.chain, count = std::min(terms.chain, end - first);
      SumChain(box, block.runs + (first - run), count, plan_.At(first).width, i == begin, pieces,
               &ahead, sums);
    }
  }
}

template <class T>
void FilterDirect<T>::Write(int64_t filter, const TileBox& box, const T* sums, T* chunk) const {
  if (!plan_.tiling.by_group) {
    return writer_.Write(filter / plan_.sets, filter % plan_.sets, box, sums, chunk);
  }
  const TileBox one{0, 1, 0, 1, box.r, box.r_end, box.t, box.t_end};
  for (int64_t group = box.x; group < box.x_end; ++group, sums += one.tiles() * plan_.tile) {
    writer_.Write(filter, group, one, sums, chunk);
  }
}

// Adds the sums of the slices, for a pair of units at a time, and writes them.
template <class T>
void FilterDirect<T>::AddSlices(T* shared) const {
  const int64_t slices = plan_.terms.slices.count, all = filters() * size();
  const int64_t pairs = plan_.tiling.x_units * plan_.tiling.y_units, pair = size() / pairs;
  const int64_t chunk = TileWriter<T>::ChunkSize(plan_);
  const Work add{filters() * pairs, 0.2 * double(slices * all), Scratch::Bytes<T>(chunk)};
  ParallelFor(add, [&](int64_t task, Scratch scratch) {
    T* const sums = shared + task * pair;
    for (int64_t slice = 1; slice < slices; ++slice) AddTo(sums + slice * all, pair, sums);
    const int64_t y = task % pairs / plan_.tiling.x_units, x = task % plan_.tiling.x_units;
    const TileBox box{x, x + 1, y, y + 1, 0, shape_.h.window, 0, plan_.tiling.taps};
    Write(task / pairs, box, sums, scratch.Take<T>(chunk));
  });
}

template <class T>
void FilterDirect<T>::Run() const {
  const int64_t slices = plan_.terms.slices.count, boxes = plan_.boxes.count();
  const Buffer<T> shared(slices > 1 ? slices * filters() * size() : 0);
  size_t bytes = 0;
  const auto count = [&](auto piece, int64_t n) { bytes += Scratch::BytesFor(piece, n); };
  PackedBlock<T>::ForEach(plan_, count);
  ForPieces(count);
  const Work work{filters() * slices * boxes, plan_.ns, bytes};
  ParallelFor(work, [&](int64_t task, Scratch scratch) {
    PackedBlock<T> block;
    Pieces pieces;
    PackedBlock<T>::ForEach(plan_,
                            [&](auto piece, int64_t n) { scratch.TakeFor(&block, piece, n); });
    ForPieces([&](auto piece, int64_t n) { scratch.TakeFor(&pieces, piece, n); });
    const TileBox box = plan_.boxes(task % boxes);
    const int64_t filter = task / boxes / slices, slice = task / boxes % slices;
    if (slices > 1) {
      T* const sums = shared.get() + (slice * filters() + filter) * size();
      return SumBox(filter, slice, box, block, pieces, {sums, plan_.whole});
    }
    SumBox(filter, slice, box, block, pieces, {pieces.sums, box});
    Write(filter, box, pieces.sums, pieces.chunk);
  });
  if (slices > 1) AddSlices(shared.get());
}

}  // namespace

template <class T>
void RunFilterDirect(const FilterGradient<T>& gradient) {
  FilterDirect<T>(gradient).Run();
}

template void RunFilterDirect(const FilterGradient<float>&);
template void RunFilterDirect(const FilterGradient<double>&);
template void RunFilterDirect(const FilterGradient<int32_t>&);
template void RunFilterDirect(const FilterGradient<int64_t>&);

}  // namespace lanewise
