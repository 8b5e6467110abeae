// Blocking of pooling.
//
//   task      an image × a block of channels × a band of output rows × a range of output columns
//     tile    the same for the channels that lie together: all of the block where channels are
//             neighbours in memory ("pixels"), else one plane after the other
//       row   direct:    the kernel takes all R·S taps of every output at once
//             separable: R rows are reduced to a scratch row, then S of its columns to an output
//
// Both ways give the same bits, so which of them runs may depend on strides. Both take the first of
// equal taps, column by column of the window, and one NaN is as good as another. Sums add the rows
// of a column up first, in blocks of kBlock from the first row in the image on, and then the
// columns of the window likewise, in blocks from the window's first column on; padding adds 0,
// which changes no sum that began with 0. Long windows (cascade.h) are always separable: their sums
// are those of their pieces, in order, and of zeros the largest is 0 and the smallest -0. Maxima
// without places, which no order changes, need no pieces where lanes are other windows: one kernel
// slides over the rows, and over the columns of at least a vector of channels.
#ifndef LANEWISE_OPS_POOL_TILE_H_
#define LANEWISE_OPS_POOL_TILE_H_

#include <cstdint>

#include "kernels/kernels.h"
#include "ops/elements.h"
#include "ops/pool/geometry.h"
#include "ops/pool/plan.h"
#include "runtime/parallel.h"

namespace lanewise::pool {

// One tile at a time, in one thread's scratch.
template <class T>
class Tile {
 public:
  using Number = typename PoolKernels<T>::Number;

  // `keys` (null without) say how x's numbers are made to keys and these to results.
  Tile(const PoolKernels<T>& kernels, const Plan<T>& plan, const Geometry& geometry,
       const FloatKeys<T>* keys, const Strides& x, const Strides& out, const Strides& indices,
       Scratch scratch);

  // x, out and indices (null without) point to the tile's image and first channel.
  void Run(const Source<T>& x, const Sink<T>& out, int64_t* indices, int64_t depth,
           int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end);

 private:
  void StartColumns();
  T Loser() const;
  void PadRow();
  const T* RealRow(int64_t o_row, int64_t tap);
  void CascadeRows(int64_t o_row, int64_t rows);
  void CascadeStrip(int64_t o_row, int64_t rows, int64_t begin, int64_t columns);
  void SlideRows(const T* strip, const Runs& runs, T* to);
  void ReadStrip(int64_t h, int64_t rows, int64_t begin, int64_t columns, T* to) const;
  void CascadeColumns(int64_t i, int64_t rows, const Runs& runs, T* result, Number* numbers);
  template <class U>
  struct Levels;
  void ReduceLevels(const Cascade& cascade, const Levels<T>& levels, const Levels<Number>& numbers,
                    int64_t unit, int64_t number_unit, int64_t elements, const Runs& runs, T* out,
                    Number* out_numbers);
  void ReadPixels(const Source<T>& row, int64_t columns, T* to) const;
  int64_t Place(int level, int64_t h) const;
  void CascadeColumns(int64_t items, const Runs& runs, T* result);
  void Direct(int64_t o_row);
  void DirectRuns(int64_t o_row, int64_t begin, int64_t end);
  int64_t AlikeRows(int64_t o_row, int64_t row_end) const;
  void Reduce(int64_t taps, int64_t first, int64_t block, const Runs& runs, T* out,
              Number* numbers) const;
  void ReduceRows(int64_t o_row, int64_t rows);
  void ReduceChunk(int64_t o_row, int64_t tap, int64_t end, bool to_row, const Runs& runs);
  void ReduceColumns(int64_t o_row, int64_t rows);
  void ReduceColumnsOf(int64_t o_row, int64_t i, int64_t rows, const Runs& runs);
  template <class U>
  void SplitRows(int64_t rows, const U* row, void (*split)(const U*, size_t, U*, U*), U* phases);
  double Counted(const WindowAxis& axis, int64_t o) const;
  void Divide(int64_t o_row, T* result) const;
  void Finish(int64_t o_row, T* result, const Number* numbers);
  template <class F>
  void ForEachOutput(T* result, const F& f) const;
  void Store(int64_t o_row, const T* result) const;
  void StoreIndices(int64_t o_row, const Number* numbers) const;

  // Elements between two phases, and between two rows of a phase.
  int64_t PhaseStep() const { return plan_.batch * PhaseRowStep(); }
  int64_t PhaseRowStep() const { return length_ / g_.columns.stride * depth_; }

  // The kernels write where the results belong if these are neighbours there, else to result_.
  bool InPlace() const {
    return out_.native() && (depth_ == 1 ? out_strides_.column == 1 : out_strides_.channel == 1);
  }
  int64_t OutOffset(int64_t o_row) const {
    return o_row * out_strides_.row + column_begin_ * out_strides_.column;
  }
  // Where row `i` of those taken together from o_row on goes.
  T* ResultRow(int64_t o_row, int64_t i = 0) const {
    return InPlace() ? out_.InPlace() + OutOffset(o_row + i) : result_ + i * ResultSize();
  }
  int64_t ResultStep() const { return InPlace() ? out_strides_.column : depth_; }
  int64_t ResultSize() const { return (column_end_ - column_begin_) * depth_; }

  // Number of a tap: its distance in the plane from the window's first real row and the column
  // where the window begins, which may be padding.
  Number RowNumber(int64_t taps_below) const {
    return static_cast<Number>(taps_below * g_.rows.dilation * g_.columns.in);
  }
  Number ColumnNumber(int64_t tap) const { return static_cast<Number>(tap * g_.columns.dilation); }

  const PoolKernels<T>& kernels_;
  const PickKernels<T>& picks_;
  const Plan<T>& plan_;
  const Geometry& g_;
  const FloatKeys<T>* const keys_;
  const Strides x_strides_, out_strides_, index_strides_;
  Source<T> x_;
  Sink<T> out_;
  int64_t* indices_;
  int64_t depth_, column_begin_, column_end_;
  // Columns of x under the tile are [left_, left_ + length_), with some to spare; real ones are
  // [real_begin_, real_end_), counted from left_ as well. They are x_step_ elements apart.
  int64_t left_, length_, real_begin_, real_end_, x_step_;
  // Taps [tap_begin_, tap_end_) of a row are real for some output of the tile; outputs
  // [inside_begin_, inside_end_) have only real ones.
  int64_t tap_begin_, tap_end_, inside_begin_, inside_end_;

  // Scratch; numbers only with indices.
  T *row_, *phases_, *result_, *ring_, *spare_[2];
  Number *row_numbers_ = nullptr, *phase_numbers_ = nullptr, *result_numbers_ = nullptr;
  Number* spare_numbers_[2];
  int64_t* ring_rows_;  // the row of x that each place of the ring holds
  const T **taps_, **column_taps_, **shifted_taps_;  // sources of the kernels
  const Number** tap_numbers_;
  const Number** column_tap_numbers_;
  Number *ids_, *column_ids_;

  // Level by level: level 0 and those above of a strip, and those above of columns.
  T *strip_, *wide_;
  T* slide_;  // where windows that slide are taken in one pass
  // What averages divide by where lanes are outputs, and the taps of a row that they count.
  T* divisors_;
  double* counts_;
  Number *strip_numbers_ = nullptr, *wide_numbers_ = nullptr;
};

}  // namespace lanewise::pool

#endif  // LANEWISE_OPS_POOL_TILE_H_
