#include "ops/pool/plan.h"

#include <algorithm>
#include <cstdlib>

#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise::pool {
namespace {

// Up to this many taps go to the kernel at once; a larger window is cheap to separate (a 16×16 one
// at stride 16 costs 288 loads and stores per output instead of 257), and its pointers are fewer.
constexpr int64_t kMaxDirectTaps = 64;

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

}  // namespace

template <class T>
Plan<T>::Plan(const Geometry& g, const Strides& x, bool with_indices, int64_t lanes)
    : numbered(with_indices),
      row_taps(std::min(g.rows.window, g.rows.in)),
      column_taps(std::min(g.columns.window, g.columns.in)),
      stride(std::min(g.columns.stride, g.columns.in)) {
  ChooseWay(g, x, lanes);
  ChooseTile(g, lanes);
  ChooseTasks(g, lanes);
}

template <class T>
void Plan<T>::ChooseWay(const Geometry& g, const Strides& x, int64_t lanes) {
  const bool near_channels = x.channel == 1 && g.channels > 1;
  gathered = !near_channels && x.column != 1 && g.columns.in > 1;
  pixels =
      near_channels || (gathered && g.channels > 1 && std::abs(x.channel) < std::abs(x.column));
  direct = pixels && g.channels >= lanes && row_taps * column_taps <= kMaxDirectTaps &&
           DirectCost() <= SeparableCost();
  split = !direct && g.columns.stride > 1 && (pixels ? g.channels : 1) < lanes;
  ring = gathered ? RowsUnder(g.rows) : 0;
  batch = 1;
}

// Scratch within half of L2, but not so little that more than half of a tile's columns belong to
// its neighbour too, nor less than a vector of channels.
template <class T>
void Plan<T>::ChooseTile(const Geometry& g, int64_t lanes) {
  depth = pixels ? g.channels : 1;
  outputs = g.columns.out;
  const int64_t fewest = ColumnsUnder(g.columns, 1) / g.columns.stride + 1;
  while (true) {
    if (outputs == 1) split = false;
    length = RoundUp(ColumnsUnder(g.columns, outputs), split ? g.columns.stride : 1);
    tile_taps = std::min(g.columns.window, length);
    if (ScratchBytes() <= Caches().l2 / 2) break;
    if (outputs > fewest) {
      outputs = CeilDiv(outputs, 2);
    } else if (depth > lanes) {
      depth = RoundUp(CeilDiv(depth, 2), lanes);
    } else {
      break;
    }
  }
  // Rows of planes are short: for 28 outputs, calls would take longer than the work. A quarter of
  // L1 leaves room for the sorted copy and the results.
  const int64_t row_bytes = length * int64_t{sizeof(T)} * (numbered ? 2 : 1);
  if (!pixels && !gathered) batch = std::max<int64_t>(1, Caches().l1 / 4 / row_bytes);
  batch = std::min(batch, g.rows.out);
}

template <class T>
void Plan<T>::ChooseTasks(const Geometry& g, int64_t lanes) {
  // About 0.01 ns per byte loaded or stored, three times as much with indices, and 1 ns per element
  // gathered.
  const double results = double(g.rows.out) * double(g.columns.out);
  const double in_place = 0.01 * sizeof(T) * double(direct ? DirectCost() : SeparableCost());
  const double plane_ns = results * in_place * (numbered ? 3 : 1) +
                          (gathered ? double(g.rows.in) * double(g.columns.in) : 0);
  total_ns = double(g.images) * double(g.channels) * plane_ns;

  // Tasks of 10 µs cost little to hand out. Rows are cut where there are too few tasks otherwise.
  const int64_t planes = static_cast<int64_t>(std::min(1 + 10e3 / plane_ns, double(g.channels)));
  channels = pixels ? Split(g.channels, lanes, depth) : Split(g.channels, 1, planes);
  columns = Split(g.columns.out, 1, outputs);
  const int64_t threads = ThreadsFor(total_ns);
  const int64_t bands = CeilDiv(8 * threads, g.images * channels.count * columns.count);
  rows =
      Split(g.rows.out, 1, g.rows.out, threads == 1 ? 1 : std::min(bands, CeilDiv(g.rows.out, 4)));
}

template <class T>
size_t Plan<T>::ScratchBytes() const {
  const int64_t row = direct ? 0 : batch * length * depth, phases = split ? row : 0;
  const int64_t result = batch * outputs * depth, taps = direct ? row_taps * column_taps : row_taps;
  const size_t numbers = Scratch::Bytes<Number>(row) + Scratch::Bytes<Number>(phases) +
                         Scratch::Bytes<Number>(result) + Scratch::Bytes<Number>(taps) +
                         Scratch::Bytes<Number>(tile_taps) +
                         Scratch::Bytes<const Number*>(tile_taps);
  return Scratch::Bytes<T>(row) + Scratch::Bytes<T>(phases) + Scratch::Bytes<T>(result) +
         Scratch::Bytes<const T*>(taps) + Scratch::Bytes<const T*>(tile_taps) +
         Scratch::Bytes<T>(ring * length * depth) + Scratch::Bytes<int64_t>(ring) +
         (numbered ? numbers : 0);
}

template struct Plan<float>;
template struct Plan<double>;

}  // namespace lanewise::pool
