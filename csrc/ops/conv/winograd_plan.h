// How a convolution by Winograd's algorithm is cut: its tiles, and its tasks.
#ifndef LANEWISE_OPS_CONV_WINOGRAD_PLAN_H_
#define LANEWISE_OPS_CONV_WINOGRAD_PLAN_H_

#include <algorithm>
#include <cstdint>

#include "kernels/kernels.h"
#include "ops/conv/problem.h"
#include "ops/conv/winograd_tiles.h"
#include "ops/strided.h"

namespace lanewise {

// Channels whose products are summed before they are added up: on random data of 256 channels the
// largest error falls from 1.0e-5 of the outputs' size to 5.4e-6, where the ordered sum has 7.7e-6.
constexpr int64_t kWinogradBlock = 64;
// Shared filters are kept for as many groups at a time as take this much. More, even of a
// PackedFilter, takes longer to read from L3 than to make: 5.9 ms instead of 4.2 for 512×512 at
// 28².
constexpr int64_t kWinogradSharedBytes = int64_t{10} << 20;

// How the work is cut. Only speed depends on it.
struct WinogradPlan {
  int64_t mr, nr;
  int64_t elements;         // of a tile
  TileAxis rows, columns;   // of an image
  int64_t panels, blocks;   // of output and input channels
  int64_t width;            // channels of a block, to a whole number of vectors
  int64_t sets, set_tiles;  // groups, and banks if there are several; tiles of each set
  bool in_place;            // x is read where it is
  bool shared;              // U is made once for all tasks, instead of by each what it needs
  int64_t runs, shares;     // the tasks of a set: pieces of its tiles × pieces of its panels
  double filter_ns;         // to transform one
  double total_ns;

  WinogradPlan(const ConvProblem<float>& problem, const ConvKernels<float>& kernels,
               const WinogradTile& tile);

  // Distances of the elements. A line more than they need keeps them apart in L1's sets: without
  // it U's, 4 KB apart, fell into one set, and the transform took four times as long.
  int64_t v_step(int64_t tiles) const { return tiles * width + 16; }
  int64_t m_step(int64_t tiles) const { return tiles * nr + 16; }
  int64_t u_step() const { return (width + 1) * nr; }
  int64_t v_size(int64_t tiles) const { return blocks * elements * v_step(tiles); }
  int64_t m_size(int64_t tiles) const { return elements * m_step(tiles); }
  int64_t u_block() const { return elements * u_step(); }
  int64_t taps() const { return rows.taps * columns.taps; }
  int64_t u_set() const { return panels * blocks * u_block(); }
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_WINOGRAD_PLAN_H_
