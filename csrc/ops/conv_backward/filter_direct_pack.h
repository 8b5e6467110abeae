// Packing of blocks of pixels for the direct gradient by filters: of x as strips, of dy as panels.
#ifndef LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_PACK_H_
#define LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_PACK_H_

#include <cstdint>

#include "kernels/kernels.h"
#include "ops/conv_backward/filter_direct_plan.h"
#include "ops/conv_backward/gradients.h"

namespace lanewise {

// A run of a block: its outputs, its inputs under the first tap of the box, and how far it is from
// there to those under the next filter row's.
template <class T>
struct BlockRun {
  const T *dy, *x;
  int64_t row_shift;
};

// Scratch of one thread: a block of pixels as it is packed.
template <class T>
struct PackedBlock {
  T* strip;           // [unit of x][line][column][channel]
  T* panels;          // [unit of dy][term][channel]
  BlockRun<T>* runs;  // of the terms in the block

  // f(member, number of its elements) for each of them.
  template <class F>
  static void ForEach(const FilterDirectPlan& plan, const F& f) {
    f(&PackedBlock::strip, plan.boxes.x.longest() * plan.x.unit + plan.nr);
    f(&PackedBlock::panels, plan.in_place ? 0 : plan.most_y_units() * plan.dy.unit + plan.nr);
    f(&PackedBlock::runs, plan.block_runs());
  }
};

// Memory that the next block is packed from, of which each call of a kernel brings some to L2: read
// at the peak's pace, 64 bytes for a tile's term, it costs little time.
struct MemoryAhead {
  const char *dy, *dy_end, *x, *x_end;

  // As many lines of 64 bytes; null where there is nothing left.
  const char* Take(int64_t lines) {
    const char*& next = dy < dy_end ? dy : x;
    if (next >= (dy < dy_end ? dy_end : x_end)) return nullptr;
    const char* const from = next;
    next += lines * 64;
    return from;
  }
};

// Packs the operands of one box of tiles. All that it is made from must outlive it.
template <class T>
class BlockPacker {
 public:
  BlockPacker(const FilterGradient<T>& g, const FilterDirectPlan& plan, int64_t bank, int64_t set,
              const TileBox& box, const PackedBlock<T>& block);

  // Once, before the first block: what kernels read and Pack leaves as it is.
  void FillPast() const;
  // Runs [run, end) of the bank's terms.
  void Pack(int64_t run, int64_t end) const {
    PackX(run, end);
    PackDy(run, end);
  }
  // Of the same; they may reach past the last one.
  MemoryAhead Ahead(int64_t run, int64_t end) const;

 private:
  void PackX(int64_t run, int64_t end) const;
  void PackImage(const Source<T>& image, const TermRun& at, const StripPlaces& lines, T* to) const;
  void PackLine(const Source<T>& line, int64_t first, T* to) const;
  void PackColumns(const Source<T>& from, int64_t step, int64_t n, T* to) const;
  void FillColumns(int64_t n, T* to) const;
  void PackDy(int64_t run, int64_t end) const;

  const FilterGradient<T>& g_;
  const FilterDirectPlan& plan_;
  const ConvKernels<T>& kernels_;
  const int64_t bank_, set_;
  const TileBox box_;
  const PackedBlock<T> block_;
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_PACK_H_
