// Operands of the direct convolution in the order in which its kernel reads them.
//
// The terms of an output's sum are numbered tap·C + c, tap = r·S + s; C counts the input channels
// of one group.
#ifndef LANEWISE_OPS_CONV_PACK_H_
#define LANEWISE_OPS_CONV_PACK_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/problem.h"
#include "ops/strided.h"
#include "runtime/buffer.h"

namespace lanewise {

// The same convolution with every two neighbouring channels as one, whose values are pairs of
// int16: for ConvPairKernelsFor. Sums modulo 2^32 are the same in any order, so the bits are, too.
ConvProblem<int32_t> Paired(const ConvProblem<int32_t>& problem);
// Whether both operands have 8 bits, and no pair would reach into the next group.
bool IsPairable(const ConvProblem<int32_t>& problem);

// A range of consecutive terms: some taps with all their channels, or some channels of one tap.
struct TermBlock {
  int64_t tap_begin, tap_end, c_begin, c_end;

  int64_t taps() const { return tap_end - tap_begin; }
  int64_t depth() const { return c_end - c_begin; }
  int64_t terms() const { return taps() * depth(); }
};

// All terms in order, in blocks of at most `max_terms`, and of at most `max_taps` taps in multiples
// of `unit` taps; one empty block if there are none.
std::vector<TermBlock> TermBlocks(const ConvShape& shape, int64_t max_terms, int64_t max_taps,
                                  int64_t unit);

// A rectangle of outputs.
struct Region {
  int64_t oh, ow, rows, columns;
};

// ----------------------------------------------------------------------------------------- filters

// Whether filters are in memory as [k][c][tap].
template <class T>
bool FiltersArePlanes(const ConvProblem<T>& problem);

// The terms of `block` of filters [k, k + width) of a group, as to[term of the block][width], zeros
// past the group's last filter.
template <class T>
void PackFilterBlock(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, int64_t bank,
                     int64_t group, int64_t k, int64_t width, const TermBlock& block, T* to);

// All filters in blocks of `width`: [bank][group][⌈K/width⌉][term][width].
template <class T>
Buffer<T> PackFilters(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, int64_t width);

// ------------------------------------------------------------------------------------------ inputs

// The two strips below hold the inputs that a block of terms needs for a region of outputs: copied
// from whatever type and strides they have, with the padding around them, so that every window of
// the region is at the same distances from its output's place.

// The taps of a block along one axis, relative to the first of them.
struct TapRange {
  int64_t begin, count;
};
struct TapBox {
  TapRange r, s;
  TapBox(const ConvShape& shape, const TermBlock& block);
};

// Pixels with their channels side by side: [row][column][c], without those between windows that
// are apart. Where taps are not dilated, those of a window row are one run of S·C elements.
class PixelStrip {
 public:
  PixelStrip(const ConvShape& shape, const TermBlock& block, int64_t rows, int64_t columns);

  int64_t count() const { return rows_ * row_; }
  // From one output's inputs to the next one's in its row.
  int64_t step() const { return column_step_ * block_.depth(); }
  // Of the inputs under a tap of the block, for output (row, column) of the region.
  int64_t Offset(int64_t tap, int64_t row, int64_t column) const;
  template <class T>
  void Fill(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, const Source<T>& x,
            const Region& region, T* to) const;

 private:
  // `count` columns from `first` on, of which `row` is column 0 of the image.
  template <class T>
  void FillColumns(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                   const Source<T>& row, int64_t first, int64_t count, T* to) const;
  // `count` pixels of the image from `from` on.
  template <class T>
  void ReadPixels(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                  const Source<T>& from, int64_t count, T* to) const;
  void ReadOddRun(const Source<int32_t>& pixels, int64_t count, int32_t* to) const;
  void ReadAcross(const ConvKernels<int32_t>& kernels, const ConvProblem<int32_t>& problem,
                  const Source<int32_t>& pixels, int64_t count, int32_t* to) const;

  const ConvShape& shape_;
  TermBlock block_;
  TapBox box_;
  int64_t row_step_, column_step_;  // from one output's inputs to the next one's
  int64_t rows_, columns_, row_;    // row_: elements of a row
};

// Of the positions start + i·step, i < n, step > 0, those of [begin, end) are in an image of
// `size`.
struct Interior {
  int64_t begin, end;

  Interior(int64_t start, int64_t step, int64_t n, int64_t size)
      : begin(std::min(n, CountBelow(start, step, 0))),
        end(std::clamp(CountBelow(start, step, size), begin, n)) {}

 private:
  // How many of the positions lie below `limit`.
  static int64_t CountBelow(int64_t start, int64_t step, int64_t limit) {
    return limit <= start ? 0 : CeilDiv(limit - start, step);
  }
};

// The inputs under n outputs along one axis, in rows in which the inputs of neighbouring outputs
// are neighbours: one row per phase modulo the stride, or one per tap.
struct Phases {
  int64_t stride, dilation;
  bool per_tap;
  int64_t count, length;  // of rows

  Phases(const WindowAxis& axis, int64_t taps, int64_t n, bool per_tap);
  // Of tap t: its row, and output 0's place there.
  int64_t Row(int64_t t) const { return t % count; }
  int64_t Place(int64_t t) const { return per_tap ? 0 : t * dilation / stride; }
  // Element j of a row: its input, from tap 0 of output 0 on.
  int64_t Input(int64_t row, int64_t j) const {
    return (per_tap ? row * dilation : row * dilation % stride) + j * stride;
  }
};

// Planes of channels: [c][row of columns][row][column], rows and columns as in Phases. The outputs
// of a region are numbered row·pitch() + column, which may leave numbers between the rows unused;
// the input of output i under a tap is at its offset + i. With `spread` there is a copy for each
// tap of a window row, and pitch() is the number of columns.
class PlaneStrip {
 public:
  PlaneStrip(const ConvShape& shape, const TermBlock& block, int64_t rows, int64_t columns,
             bool spread, int64_t nr);

  int64_t count() const { return plane_ * block_.depth() + nr_; }
  int64_t plane() const { return plane_; }
  int64_t pitch() const { return w_.length; }
  // Where the input of output 0 is under each tap of the block.
  void Offsets(int64_t* offsets) const;
  template <class T>
  void Fill(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, const Source<T>& x,
            const Region& region, T* to) const;

 private:
  // A row of columns: the input of its first element, and those that are in the image.
  struct Column {
    int64_t start;
    Interior inside;
  };
  template <class T>
  void FillRow(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, const Source<T>& row,
               const std::vector<Column>& columns, bool split, T* to) const;
  template <class T>
  void FillEdges(const ConvProblem<T>& problem, const Source<T>& row,
                 const std::vector<Column>& columns, T* to) const;

  // Fill for pixels whose channels are neighbours: transposes rows of pixels.
  template <class T>
  void FillFromPixels(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, const T* x,
                      const Region& region, T* to) const;

  const ConvShape& shape_;
  TermBlock block_;
  TapBox box_;
  Phases h_, w_;
  int64_t plane_;
  int64_t nr_;  // the kernel reads to the end of the last panel
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_PACK_H_
