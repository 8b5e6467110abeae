// How the distances of all pairs are cut.
//
//   task      a block of columns (rows of y) × a chunk of rows of x, of one matrix of the batch;
//             where x is y, a block on or above the diagonal, and its mirror image
//     terms   a range of the d coordinates, nearly always all; y's columns are packed for it as
//             [k][NR] panels, once per task where the range holds all coordinates
//       block a few rows of x, packed as [k][MR] tiles
//         panel × slice of the terms × tile    the kernel: MR × NR totals in registers
#ifndef LANEWISE_OPS_DISTANCE_PLAN_H_
#define LANEWISE_OPS_DISTANCE_PLAN_H_

#include <cstdint>

#include "kernels/kernels.h"
#include "ops/distance/metric.h"
#include "ops/strided.h"

namespace lanewise::distance {

// Panels may lie in a thread's share of L3, from where a slice comes once for all rows of a block;
// more than 8 MB (1024 columns of 2048 coordinates) has no use.
int64_t PanelBytes();

// Only sizes of blocks follow caches and threads, never the order of a sum.
struct Plan {
  int64_t d, mr, nr;
  int64_t terms;  // coordinates packed at a time: d, or a multiple of kSumBlock
  int64_t slice;  // of these, that all rows of a block are summed over before the next
  bool packed_once;
  Split columns, rows;
  bool mirrored;  // x and y are the same: columns and rows are cut alike, and tasks are the blocks
                  // on and above the diagonal
  int64_t block;  // rows of x whose totals are kept at a time
  double total_ns;

  // `same` says that x and y are.
  template <class T>
  static Plan For(int64_t batch, int64_t m, int64_t n, int64_t d, const Recipe& recipe,
                  const DistanceKernels<T>& kernels, bool same = false);

  // The tasks of a matrix, and which columns and rows one has.
  int64_t TaskCount() const {
    return mirrored ? rows.count * (rows.count + 1) / 2 : rows.count * columns.count;
  }
  struct Block {
    int64_t row, column;
  };
  Block BlockOf(int64_t task) const {
    if (!mirrored) return {task / columns.count, task % columns.count};
    int64_t row = 0;
    for (; task >= rows.count - row; ++row) task -= rows.count - row;
    return {row, row + task};
  }
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_PLAN_H_
