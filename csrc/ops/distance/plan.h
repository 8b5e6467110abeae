// How the distances of all pairs are cut.
//
//   task      a block of columns (rows of y) × a chunk of rows of x, of one matrix of the batch
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

// Only sizes of blocks follow caches and threads, never the order of a sum.
struct Plan {
  int64_t d, mr, nr;
  int64_t terms;  // coordinates packed at a time: d, or a multiple of kSumBlock
  int64_t slice;  // of these, that all rows of a block are summed over before the next
  bool packed_once;
  Split columns, rows;
  int64_t block;  // rows of x whose totals are kept at a time
  double total_ns;

  template <class T>
  static Plan For(int64_t batch, int64_t m, int64_t n, int64_t d, const Recipe& recipe,
                  const DistanceKernels<T>& kernels);
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_PLAN_H_
