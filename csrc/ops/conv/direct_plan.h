// How a direct convolution is cut into tasks, and a task into calls of the kernel.
#ifndef LANEWISE_OPS_CONV_DIRECT_PLAN_H_
#define LANEWISE_OPS_CONV_DIRECT_PLAN_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/pack.h"
#include "ops/conv/problem.h"
#include "ops/strided.h"

namespace lanewise {

// Sizes follow caches and threads; no sum's order depends on them.
struct DirectPlan {
  int64_t mr = 0, nr = 0;
  bool channel_lanes = false;    // lanes = output channels, else pixels
  bool in_place = false;         // the kernel reads x itself, no strip of it
  bool pack_panels = false;      // in place, but lanes are copied panel by panel
  bool spread = false;           // of plane strips
  bool runs = false;             // the taps of a window row are one run of memory
  bool kernel_finishes = false;  // full tiles whose results are equally spaced
  int64_t width = 1;             // filters of a block

  Split rows, columns;  // of an image's outputs
  Split filters;        // of a group's, a block being the unit
  std::vector<TermBlock> blocks;
  int64_t segment_taps = 1;   // taps that a pointer to pixels serves
  bool keep_filters = false;  // a thread keeps a piece of the filters, packed, for its next task
  bool tiles_first = false;   // a tile takes all filters of the piece before the next tile begins
  bool fetch = false;         // x comes from beyond L2
  double total_ns = 0;

  int64_t pieces() const { return rows.count * columns.count; }  // of an image
  int64_t pixels() const { return rows.longest() * columns.longest(); }
  // Of a block of terms: how the kernel sees them, and the elements of the strip for a task.
  int64_t Segments(const TermBlock& block) const { return block.taps() / segment_taps; }
  int64_t Depth(const TermBlock& block) const { return block.depth() * segment_taps; }
  int64_t Strip(const ConvShape& shape, const TermBlock& block) const;
  template <class F>
  int64_t Most(const F& of_block) const {
    int64_t most = 0;
    for (const TermBlock& block : blocks) most = std::max<int64_t>(most, of_block(block));
    return most;
  }
};

// A 1×1 convolution of every pixel, whose pixels are equally spaced throughout the image, as one of
// a single row; and throughout the batch, too, as one of a single image. Others as they are.
template <class T>
ConvProblem<T> Flattened(const ConvProblem<T>& problem);

// For a flattened problem.
template <class T>
DirectPlan MakeDirectPlan(const ConvProblem<T>& problem, const ConvKernels<T>& kernels);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_DIRECT_PLAN_H_
