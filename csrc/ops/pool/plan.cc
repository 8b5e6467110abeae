#include "ops/pool/plan.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise::pool {
namespace {

// Up to this many taps go to the kernel at once; a larger window is cheap to separate (a 16×16 one
// at stride 16 costs 288 loads and stores per output instead of 257), and its pointers are fewer.
constexpr int64_t kMaxDirectTaps = 64;

// Rows of a window whose pointers, or whose copies where these serve one output only, are kept at
// once; longer windows are taken in chunks. Multiples of kBlock, which chunks must not cut.
constexpr int64_t kMaxRows = 1024, kMaxCopies = 16;

// Columns of x under `outputs` neighbouring outputs, without those at the ends that are padding to
// all of them.
int64_t ColumnsUnder(const WindowAxis& axis, int64_t outputs) {
  const int64_t between = (outputs - 1) * axis.stride;
  return std::min(between + axis.dilation * (axis.window - 1) + 1, axis.in + 2 * between);
}

// Rows of x from the first to the last tap of an output, as far as there are so many.
int64_t RowsUnder(const WindowAxis& axis) {
  return std::min(axis.in, axis.dilation * (axis.window - 1) + 1);
}

// The number of the last tap of a window, as far as a whole window lies in the image.
int64_t TallestNumber(const Geometry& g) {
  return g.rows.dilation * (g.rows.window - 1) * g.columns.in +
         g.columns.dilation * (g.columns.window - 1);
}

}  // namespace

template <class T>
Plan<T>::Plan(const Geometry& g, const Reduction& what, const Strides& x, bool native, bool keyed,
              int64_t lanes)
    : reduction(what),
      row_taps(std::min(g.rows.window, g.rows.in)),
      column_taps(std::min(g.columns.window, g.columns.in)),
      stride(std::min(g.columns.stride, g.columns.in)),
      row_stride(g.rows.stride) {
  ChooseWay(g, x, native, keyed, lanes);
  ChooseTile(g, lanes);
  ChooseTasks(g, lanes);
}

// The kernel adds up a window in one pass as the separable way does where neither its rows nor its
// columns are more than a block.
template <class T>
bool Plan<T>::DirectIsPossible() const {
  if (reduction.average && std::max(row_taps, column_taps) > kBlock) return false;
  return row_taps * column_taps <= kMaxDirectTaps;
}

template <class T>
void Plan<T>::ChooseWay(const Geometry& g, const Strides& x, bool native, bool keyed,
                        int64_t lanes) {
  const bool near_channels = x.channel == 1 && g.channels > 1;
  tall = TallCascade(g);
  wide = WideCascade(g);
  if ((tall || wide) && !reduction.average && !reduction.numbered &&
      std::max(tall.dilation, wide.dilation) == 1) {
    slide = lanes * (std::max(tall.window, wide.window) + 1);
  }
  // Numbers of padding must be larger than those of pixels, and fit their type.
  if (reduction.numbered && tall && TallestNumber(g) >= std::numeric_limits<Number>::max() / 2) {
    tall = Cascade();
  }
  // Where a window's rows come in chunks, x must lie as scratch does, which holds the chunks
  // before.
  gathered = !native || keyed || tall ||
             (near_channels ? row_taps > kMaxRows : x.column != 1 && g.columns.in > 1);
  pixels =
      near_channels || (gathered && g.channels > 1 && std::abs(x.channel) < std::abs(x.column));
  direct = pixels && g.channels >= lanes && !tall && !wide && DirectIsPossible() &&
           DirectCost() <= SeparableCost();
  pairs = sizeof(T) < 8 && !pixels && column_taps > 1 && !reduction.average &&
          !reduction.numbered && g.columns.stride == 2 && g.columns.dilation == 1;
  split = !direct && !pairs && g.columns.stride > 1 && (pixels ? g.channels : 1) < lanes;
  reuse = gathered && !tall && g.rows.out > 1 &&
          g.rows.stride < g.rows.dilation * (g.rows.window - 1) + 1;
  ChooseRing(g);
}

template <class T>
void Plan<T>::ChooseRing(const Geometry& g) {
  chunk = direct ? row_taps : std::min(row_taps, gathered && !reuse ? kMaxCopies : kMaxRows);
  ring = reuse ? RowsUnder(g.rows) : tall ? 0 : gathered ? chunk : 0;
  if (tall) chunk = row_taps;
}

template <class T>
void Plan<T>::ChooseTile(const Geometry& g, int64_t lanes) {
  if (!FitTile(g, lanes) && reuse) {
    reuse = false;  // copying rows again costs less than memory without bound
    ChooseRing(g);
    FitTile(g, lanes);
  }
  // Rows of planes are short: for 28 outputs, calls would take longer than the work. A quarter of
  // L1 leaves room for the sorted copy and the results.
  const int64_t row_bytes = length * int64_t{sizeof(T)} * (reduction.numbered ? 2 : 1);
  if (tall) {  // the rows above the first output are computed anew for each batch
    batch = g.rows.out;
    const size_t room = Caches().l2 / 2;
    for (size_t bytes = ScratchBytes(); batch > 1 && bytes > room; bytes = ScratchBytes()) {
      batch = std::clamp<int64_t>(batch * room / bytes, 1, batch - 1);
    }
    batch = CeilDiv(g.rows.out, CeilDiv(g.rows.out, batch));
    return;
  }
  if (!pixels && !gathered && chunk == row_taps) {
    batch = std::max<int64_t>(1, Caches().l1 / 4 / row_bytes);
  }
  batch = std::min(batch, g.rows.out);
}

// Scratch within half of L2, but not so little that more than half of a tile's columns belong to
// its neighbour too, nor less than a vector of channels. False where that is too much.
template <class T>
bool Plan<T>::FitTile(const Geometry& g, int64_t lanes) {
  batch = 1;
  depth = pixels ? g.channels : 1;
  if (tall && pixels) {
    // A strip is four vectors wide at most, and as many rows as the window has fit.
    const int64_t column_bytes = ColumnsUnder(g.columns, g.columns.out) * int64_t{sizeof(T)};
    const int64_t room = static_cast<int64_t>(Caches().l2) / 2 / (column_bytes * g.rows.window);
    depth = std::min(depth, std::clamp(room / lanes * lanes, lanes, 4 * lanes));
  }
  outputs = g.columns.out;
  const int64_t fewest = ColumnsUnder(g.columns, 1) / g.columns.stride + 1;
  while (true) {
    if (outputs == 1) split = false;
    length = RoundUp(ColumnsUnder(g.columns, outputs), split ? g.columns.stride : 1);
    tile_taps = std::min(g.columns.window, length);
    if (ScratchBytes() <= Caches().l2 / 2) return true;
    if (outputs > fewest) {
      outputs = CeilDiv(outputs, 2);
    } else if (depth > lanes) {
      depth = RoundUp(CeilDiv(depth, 2), lanes);
    } else {
      return false;
    }
  }
}

template <class T>
void Plan<T>::ChooseTasks(const Geometry& g, int64_t lanes) {
  // About 0.01 ns per byte loaded or stored, three times as much with indices, and 1 ns per element
  // gathered.
  const double results = double(g.rows.out) * double(g.columns.out);
  const double in_place = 0.01 * sizeof(T) * double(direct ? DirectCost() : SeparableCost());
  const double plane_ns = results * in_place * (reduction.numbered ? 3 : 1) +
                          (gathered ? double(g.rows.in) * double(g.columns.in) : 0);
  // What x itself costs on its way from L3 or memory.
  const double read_ns = 0.03 * sizeof(T) * double(g.rows.in) * double(g.columns.in);
  total_ns = double(g.images) * double(g.channels) * (plane_ns + read_ns);

  // Tasks of 10 µs cost little to hand out. Rows are cut where there are too few tasks otherwise.
  const int64_t planes = static_cast<int64_t>(std::min(1 + 10e3 / plane_ns, double(g.channels)));
  channels = pixels ? Split(g.channels, lanes, depth) : Split(g.channels, 1, planes);
  const int64_t threads = ThreadsFor(total_ns);
  const int64_t others = g.images * channels.count * g.rows.out;
  columns = Split(g.columns.out, 1, outputs, others < 2 * threads ? 2 * threads : 1);
  // A band of a cascade computes the rows above its first output anew.
  const int64_t bands =
      CeilDiv((tall ? 2 : 8) * threads, g.images * channels.count * columns.count);
  rows =
      Split(g.rows.out, 1, g.rows.out, threads == 1 ? 1 : std::min(bands, CeilDiv(g.rows.out, 4)));
}

template <class T>
size_t Plan<T>::ScratchBytes() const {
  const auto rows_of = [&](auto element, int64_t taps) {
    using U = decltype(element);
    return Scratch::Bytes<U>(RowSize()) * (1 + SpareRows()) +
           (split ? Scratch::Bytes<U>(RowSize()) : 0) + Scratch::Bytes<U>(ResultSize()) +
           Scratch::Bytes<const U*>(taps) + 2 * Scratch::Bytes<const U*>(tile_taps);
  };
  const size_t ids = Scratch::Bytes<Number>(Pointers()) + Scratch::Bytes<Number>(tile_taps);
  const auto cascades_of = [&](auto element) {
    using U = decltype(element);
    return Scratch::Bytes<U>(StripLevels() * StripSize()) +
           Scratch::Bytes<U>(wide.levels * WideRows() * length * depth) +
           Scratch::Bytes<const U*>(Pointers() + tile_taps);
  };
  const size_t divisors = Scratch::Bytes<T>(Divisors()) + Scratch::Bytes<double>(Divisors());
  return divisors + Scratch::Bytes<T>(slide) + cascades_of(T()) +
         (reduction.numbered ? cascades_of(Number()) : 0) + rows_of(T(), Pointers()) +
         Scratch::Bytes<T>(ring * length * depth) + Scratch::Bytes<int64_t>(ring) +
         (reduction.numbered ? rows_of(Number(), 0) + ids : 0);
}

template struct Plan<int8_t>;
template struct Plan<uint8_t>;
template struct Plan<int16_t>;
template struct Plan<uint16_t>;
template struct Plan<int32_t>;
template struct Plan<uint32_t>;
template struct Plan<int64_t>;
template struct Plan<uint64_t>;
template struct Plan<float>;
template struct Plan<double>;

}  // namespace lanewise::pool
