// How a pooling is cut into tasks and tiles, and which of two ways computes them.
#ifndef LANEWISE_OPS_POOL_PLAN_H_
#define LANEWISE_OPS_POOL_PLAN_H_

#include <algorithm>
#include <cstdint>

#include "kernels/kernels.h"
#include "ops/pool/cascade.h"
#include "ops/pool/geometry.h"
#include "ops/strided.h"

namespace lanewise::pool {

// What is made of a window: the element that wins, with its place or without, or the average.
struct Reduction {
  bool average = false;
  Pick pick = Pick::kMax;
  bool numbered = false;           // with indices
  bool count_include_pad = false;  // averages
  bool sum = false;                // not averages, but their sums
  int64_t parts = 1;               // averages: pixels that each element is the sum of
};

// Sums run in blocks of this many taps, which are then added up, so that the error of a sum of n
// taps grows with kBlock + n/kBlock and not with n.
constexpr int64_t kBlock = 16;

// Only which of equal ways is taken follows strides, caches and threads.
template <class T>
struct Plan {
  using Number = typename PoolKernels<T>::Number;

  Reduction reduction;
  bool pixels;    // the channels of a pixel are processed as neighbours; otherwise planes, in turn
  bool direct;    // otherwise separable
  bool gathered;  // x's rows are copied first: they are not of type T, or not of neighbours
  Cascade tall, wide;  // of rows and of columns
  int64_t slide = 0;   // room for maxima that slide; 0: they are made level by level
  bool pairs;          // columns are reduced where they are, by a kernel for stride 2
  bool split;  // a scratch row is sorted by column modulo stride, to make its runs contiguous
  bool reuse;  // gathered rows wait for the next output
  int64_t row_taps, column_taps;  // most that one output has in the image
  int64_t stride;                 // of columns, up to one past the last
  int64_t row_stride;
  int64_t ring;       // gathered rows kept
  int64_t chunk;      // most rows of a window that the kernels take in one call
  int64_t batch;      // most output rows that the kernels take in one call
  int64_t outputs;    // most output columns of a tile
  int64_t length;     // most columns of x under a tile
  int64_t depth;      // most channels of a tile
  int64_t tile_taps;  // most taps of a row that some output of a tile has in the image
  Split channels{0, 1, 1}, rows{0, 1, 1}, columns{0, 1, 1};
  double total_ns;

  // `native` says that x holds elements of type T itself.
  // `keyed` that these are keys only once they have been read.
  Plan(const Geometry& g, const Reduction& what, const Strides& x, bool native, bool keyed,
       int64_t lanes);
  size_t ScratchBytes() const;

  // Elements of one scratch row, one result, and the pointers to a window's rows or taps.
  int64_t RowSize() const { return direct ? 0 : batch * length * depth; }
  // Of the cascade of rows: columns of a strip, and elements of one level; of that of columns, rows
  // that are taken together.
  int64_t StripColumns() const { return std::max<int64_t>(1, 512 / (depth * int64_t{sizeof(T)})); }
  int64_t StripSize() const {
    return ((batch - 1) * row_stride + tall.Span(tall.window)) * StripColumns() * depth;
  }
  int64_t StripLevels() const { return !tall ? 0 : slide > 0 ? 1 : tall.levels + 1; }
  int64_t WideRows() const {
    return std::clamp<int64_t>(8192 / (length * depth * int64_t{sizeof(T)}), 1, batch);
  }
  int64_t ResultSize() const { return batch * outputs * depth; }
  // Where lanes are outputs, each has its own.
  int64_t Divisors() const { return reduction.average && !pixels ? outputs : 0; }
  int64_t Pointers() const {
    if (direct) return row_taps * column_taps;
    return std::max({chunk + 1, tall.window, wide.window, Cascade::kRadix});
  }
  // Scratch rows beside the first, where a window's rows come in chunks: for what is known of the
  // chunks before and, as numbers are merged, of this one alone.
  int64_t SpareRows() const { return direct || chunk >= row_taps ? 0 : reduction.numbered ? 2 : 1; }

 private:
  // Loads and stores per output of the two ways.
  int64_t DirectCost() const { return row_taps * column_taps + 1; }
  int64_t SeparableCost() const { return stride * (row_taps + 1) + column_taps + 1; }
  bool DirectIsPossible() const;
  void ChooseWay(const Geometry& g, const Strides& x, bool native, bool keyed, int64_t lanes);
  void ChooseRing(const Geometry& g);
  void ChooseTile(const Geometry& g, int64_t lanes);
  bool FitTile(const Geometry& g, int64_t lanes);
  void ChooseTasks(const Geometry& g, int64_t lanes);
};

}  // namespace lanewise::pool

#endif  // LANEWISE_OPS_POOL_PLAN_H_
