// How the direct gradient by filters is cut.
#include "ops/conv_backward/filter_direct_plan.h"

#include <algorithm>
#include <numeric>

#include "kernels/kernels.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"
#include "runtime/target.h"

namespace lanewise {
namespace {

// A chain has about as many terms as lanes of this much, so that these, and the rows of two tiles,
// stay in L1; but 256 at most. With AVX-512 that is 128: twice as many took one thread 6 to 12 %
// longer (1×1 64→256 at 56², 3×3 and 4×4 with stride 2 from 64 to 128). With AVX2 it is 256: half
// as many took 3 to 9 % longer.
constexpr int64_t kChainBytes = 16 << 10, kMostChain = 256;
// Terms that are packed at a time, about, where windows share no lines.
constexpr int64_t kBlock = 256;
constexpr int64_t kSliceTerms = 2048;  // at least, about
constexpr int64_t kMostSlices = 16;
constexpr int64_t kSliceBytes = 4 << 20;  // of the sums of all slices

// Taps of a row are joined up to so many channels.
constexpr int64_t kFewChannels = 32;

// Bytes. Pixels of dy this narrow are read in place: 3→32 channels, 3×3, stride 2 took 0.95 ms with
// a copy and 0.80 without (two threads); 64 filters' were read from as many sets of L1 as they have
// lines, and slower by a tenth.
constexpr int64_t kDensePixel = 128;

}  // namespace

FilterTerms::FilterTerms(const ConvShape& shape, int64_t images_, int64_t lane_bytes,
                         int64_t sums_bytes)
    : images(images_), lines(shape.h.out) {
  const int64_t width = shape.w.out, terms = std::min(kMostChain, kChainBytes / lane_bytes);
  pieces = Split(width, 1, width, (width + kMostChain / 2) / kMostChain);
  chain = pieces.count > 1 ? 1 : std::max<int64_t>(1, (terms + width / 2) / width);
  runs = images * pieces.count * lines;
  chains = std::max<int64_t>(1, CeilDiv(runs, chain));
  const int64_t most = std::min(kMostSlices, kSliceBytes / std::max<int64_t>(1, sums_bytes));
  const int64_t count = std::min(most, images * shape.pixels() / kSliceTerms);
  slices = Split(chains, 1, chains, std::max<int64_t>(1, count));
}

StripPlaces::StripPlaces(const WindowAxis& axis, int64_t taps, int64_t n, bool side_by_side) {
  unit = taps == 1 ? axis.stride : std::gcd(axis.stride, axis.dilation);
  step = axis.stride / unit;
  shift = axis.dilation / unit;
  runs = 1;
  run_unit = axis.dilation;
  count = (n - 1) * step + (taps - 1) * shift + 1;
  if (!side_by_side && taps * n < count) *this = {1, n, taps, n, axis.stride, axis.dilation};
}

bool TapsJoin(const ConvShape& shape) {
  return shape.w.window > 1 && shape.group_c <= kFewChannels &&
         shape.w.stride % shape.w.dilation == 0;
}

FilterTiling::FilterTiling(const ConvShape& shape, int64_t mr, int64_t nr) {
  const int64_t c = shape.group_c, k = shape.group_k, s = shape.w.window;
  const bool joinable = TapsJoin(shape);
  double best = 0;
  for (const bool swap : {false, true}) {
    const int64_t x = swap ? nr : mr, y = swap ? mr : nr;
    const int64_t x_part = swap ? nr / 2 : mr / 3, y_part = swap ? mr / 3 : nr / 2;
    for (const bool join : {false, true}) {
      if (join && !joinable) continue;
      // Products, and the calls of a kernel as a tenth of a tile each.
      const double tiles = join ? double(CeilDiv(s * c, x)) : double(s * CeilDiv(c, x));
      const double columns = join ? double(RoundUp(s * c, x_part)) : double(s * RoundUp(c, x_part));
      const double cost = (columns + 0.1 * tiles * double(x)) * double(RoundUp(k, y_part));
      // Lanes that are filters are often stored as they are.
      if (best != 0 && cost * (swap ? 1.1 : 1.0) >= best) continue;
      best = cost;
      swapped = swap;
      joined = join;
      x_tile = x;
      y_tile = y;
      x_unit = join ? c : x;
      x_units = join ? 1 : CeilDiv(c, x);
      y_units = CeilDiv(k, y);
      taps = join ? CeilDiv(s * c, x) : s;
    }
  }
  by_group = shape.groups > 1 && joined && y_units == 1;
  if (by_group) x_units = shape.groups;
  y_unit = by_group ? k : swapped ? y_tile : std::min(y_tile, RoundUp(k, nr / 2));
}

TileBoxes::TileBoxes(const FilterTiling& tiling, int64_t rows, int64_t tile_bytes, int64_t tasks) {
  int64_t nx = 1, ny = 1, nr = 1, nt = 1;
  const int64_t most = std::max<int64_t>(1, int64_t(Caches().l2) / 4 / tile_bytes);
  for (;;) {
    x = Split(tiling.x_units, 1, tiling.x_units, nx);
    y = Split(tiling.y_units, 1, tiling.y_units, ny);
    r = Split(rows, 1, rows, nr);
    t = Split(tiling.taps, 1, tiling.taps, nt);
    if (count() >= tasks && longest() <= most) return;
    // The side of more channels, since the other operand is packed once more for each piece.
    const int64_t wide_x = x.longest() * tiling.x_tile, wide_y = y.longest() * tiling.y_tile;
    if (y.longest() > 1 && (wide_y >= wide_x || x.longest() == 1)) {
      ++ny;
    } else if (x.longest() > 1) {
      ++nx;
    } else if (r.longest() > 1) {
      ++nr;
    } else if (t.longest() > 1) {
      ++nt;
    } else {
      return;
    }
  }
}

TileBox TileBoxes::operator()(int64_t i) const {
  const int64_t ti = i % t.count, ri = i / t.count % r.count,
                xi = i / (t.count * r.count) % x.count, yi = i / (t.count * r.count * x.count);
  return {x.begin(xi), x.end(xi), y.begin(yi), y.end(yi),
          r.begin(ri), r.end(ri), t.begin(ti), t.end(ti)};
}

template <class T>
FilterDirectPlan::FilterDirectPlan(const FilterGradient<T>& g)
    : shape(g.shape),
      mr(ConvBackwardKernelsFor<T>(ActiveTarget()).mr),
      nr(ConvBackwardKernelsFor<T>(ActiveTarget()).nr),
      tile(mr * nr),
      tiling(shape, mr, nr),
      sets(tiling.by_group ? 1 : shape.groups),
      set_c(shape.channels() / sets),
      set_k(shape.filters() / sets),
      whole{0, tiling.x_units, 0, tiling.y_units, 0, shape.h.window, 0, tiling.taps},
      terms(shape, g.batch / g.banks, nr * int64_t(sizeof(T)),
            g.banks * sets * whole.tiles() * tile * int64_t(sizeof(T))),
      // Products at half the peak, and what is packed.
      ns(double(g.banks * sets * whole.tiles()) * double(g.terms()) * double(sizeof(T)) +
         0.2 * double(g.terms()) * double(shape.channels() + shape.filters())),
      boxes(tiling, shape.h.window, tile * sizeof(T),
            CeilDiv(ThreadsFor(ns) == 1 ? 1 : 2 * ThreadsFor(ns),
                    g.banks * sets * terms.slices.count)),
      longest(terms.pieces.longest()),
      taps(tiling.joined ? shape.w.window : boxes.t.longest()),
      columns(shape.w, taps, longest, tiling.joined) {
  // As many chains as save lines that windows of neighbouring outputs share, and kBlock terms:
  // fewer pixels at a time are slow to transpose.
  const int64_t most = int64_t(Caches().l2) / 2 / int64_t(sizeof(T));
  while (block_chains < terms.slices.longest() && BlockElements(2 * block_chains) <= most &&
         (3 * block_chains * terms.chain * longest <= 2 * kBlock ||
          8 * StripSize(2 * block_chains) < 7 * 2 * StripSize(block_chains))) {
    block_chains *= 2;
  }
  x = {columns.step * tiling.x_unit, StripSize(block_chains)};
  dy = {tiling.y_unit, PanelSize(block_chains)};
  one_segment = boxes.r.longest() == 1 && taps == 1;
  ReadInPlace(g);
}

// Sets what of x and dy need not be packed.
template <class T>
void FilterDirectPlan::ReadInPlace(const FilterGradient<T>& g) {
  const auto inside = [](const WindowAxis& axis) {
    return axis.First(0) >= 0 && axis.Input(axis.out - 1, axis.window - 1) < axis.in;
  };
  const ImageStrides &xs = g.x_strides, &ys = g.dy_strides;
  if (shape.taps() * shape.channels() == 1 && xs.n == 0 && xs.h == 0 && xs.w == 0 &&
      inside(shape.h) && inside(shape.w)) {
    one_value = true;
    x = {0, 0};
  }
  in_place = g.dy.native() && ys.c == 1 && ys.w >= 0 && shape.group_k % (nr / 2) == 0 &&
             !tiling.swapped && (one_value || ys.w * int64_t(sizeof(T)) <= kDensePixel);
  if (in_place) {
    dy = {ys.w, tiling.y_unit};
    one_segment =
        one_segment && ys.h == longest * ys.w && (terms.images == 1 || ys.n == terms.lines * ys.h);
  }
}

// The most lines that the strip of a block may have. Its runs are parts of at most p images, with
// the lines of StripPlaces for each; their sum is linear in the number of parts.
int64_t FilterDirectPlan::Lines(int64_t rows, int64_t runs) const {
  runs = std::min(runs, terms.runs);
  const int64_t parts = std::min(runs, (runs - 1) / terms.lines + 2);
  const StripPlaces one(shape.h, rows, 1, true);
  const auto lines = [&](int64_t p) { return (runs - p) * one.step + p * one.count; };
  return std::min(rows * runs, std::max(lines(1), lines(parts)));
}

// Elements of the strip of a unit.
int64_t FilterDirectPlan::StripSize(int64_t chains) const {
  return Lines(boxes.r.longest(), chains * terms.chain) * columns.length() * tiling.x_unit;
}

template FilterDirectPlan::FilterDirectPlan(const FilterGradient<float>&);
template FilterDirectPlan::FilterDirectPlan(const FilterGradient<double>&);
template FilterDirectPlan::FilterDirectPlan(const FilterGradient<int32_t>&);
template FilterDirectPlan::FilterDirectPlan(const FilterGradient<int64_t>&);

}  // namespace lanewise
