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
// which changes no sum that began with 0.
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

  Tile(const PoolKernels<T>& kernels, const Plan<T>& plan, const Geometry& geometry,
       const Strides& x, const Strides& out, const Strides& indices, Scratch scratch);

  // x, out and indices (null without) point to the tile's image and first channel.
  void Run(const Source<T>& x, const Sink<T>& out, int64_t* indices, int64_t depth,
           int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end);

 private:
  void StartColumns();
  T Loser() const;
  void PadRow();
  const T* RealRow(int64_t o_row, int64_t tap);
  void Direct(int64_t o_row);
  void DirectRuns(int64_t o_row, int64_t begin, int64_t end);
  int64_t AlikeRows(int64_t o_row, int64_t row_end) const;
  void Reduce(int64_t taps, int64_t first, int64_t block, const Runs& runs, T* out,
              Number* numbers) const;
  void ReduceRows(int64_t o_row, int64_t rows);
  void ReduceChunk(int64_t o_row, int64_t tap, int64_t end, bool to_row, const Runs& runs);
  void ReduceColumns(int64_t o_row, int64_t rows);
  template <class U>
  void SplitRows(int64_t rows, const U* row, void (*split)(const U*, size_t, U*, U*), U* phases);
  void Divide(int64_t o_row, T* result) const;
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
  int64_t* ring_rows_;              // the row of x that each place of the ring holds
  const T **taps_, **column_taps_;  // sources of the kernels
  const Number** column_tap_numbers_;
  Number *ids_, *column_ids_;
};

}  // namespace lanewise::pool

#endif  // LANEWISE_OPS_POOL_TILE_H_
