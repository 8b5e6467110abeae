// How a pooling is cut into tasks and tiles, and which of two ways computes them.
#ifndef LANEWISE_OPS_POOL_PLAN_H_
#define LANEWISE_OPS_POOL_PLAN_H_

#include <cstdint>

#include "kernels/kernels.h"
#include "ops/pool/geometry.h"
#include "ops/strided.h"

namespace lanewise::pool {

// Only which of equal ways is taken follows strides, caches and threads.
template <class T>
struct Plan {
  using Number = typename PoolKernels<T>::Number;

  bool numbered;  // with indices
  bool pixels;    // the channels of a pixel are processed as neighbours; otherwise planes, in turn
  bool direct;    // otherwise separable
  bool gathered;  // x's rows are copied first, as neither channels nor columns are neighbours
  bool split;     // a scratch row is sorted by column modulo stride, to make its runs contiguous
  int64_t row_taps, column_taps;  // most that one output has in the image
  int64_t stride;                 // of columns, up to one past the last
  int64_t ring;                   // gathered rows kept
  int64_t batch;                  // most output rows of a tile that the kernels take in one call
  int64_t outputs;                // most output columns of a tile
  int64_t length;                 // most columns of x under a tile
  int64_t depth;                  // most channels of a tile
  int64_t tile_taps;              // most taps of a row that some output of a tile has in the image
  Split channels{0, 1, 1}, rows{0, 1, 1}, columns{0, 1, 1};
  double total_ns;

  Plan(const Geometry& g, const Strides& x, bool with_indices, int64_t lanes);
  size_t ScratchBytes() const;

 private:
  // Loads and stores per output of the two ways.
  int64_t DirectCost() const { return row_taps * column_taps + 1; }
  int64_t SeparableCost() const { return stride * (row_taps + 1) + column_taps + 1; }
  void ChooseWay(const Geometry& g, const Strides& x, int64_t lanes);
  void ChooseTile(const Geometry& g, int64_t lanes);
  void ChooseTasks(const Geometry& g, int64_t lanes);
};

}  // namespace lanewise::pool

#endif  // LANEWISE_OPS_POOL_PLAN_H_
