// Blocking of max pooling.
//
//   task      an image × a block of channels × a band of output rows × a range of output columns
//     tile    the same for the channels that lie together: all of the block where channels are
//             neighbours in memory ("pixels"), else one plane after the other
//       row   direct:    the kernel takes all R·S taps of every output at once
//             separable: maxima of R rows into a scratch row, then maxima of S of its columns
//
// Both ways take the first of equal taps, column by column of the window, and one NaN is as good as
// another; so they give the same bits, and which of them runs may depend on strides.
#include <algorithm>
#include <limits>

#include "kernels/kernels.h"
#include "lanewise/pool.h"
#include "ops/pool/plan.h"
#include "ops/strided.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace pool {
namespace {

constexpr const char* kOp = "max_pool2d";

// One tile at a time, in one thread's scratch.
template <class T>
class Tile {
 public:
  using Number = typename PoolKernels<T>::Number;

  Tile(const PoolKernels<T>& kernels, const Plan<T>& plan, const Geometry& geometry,
       const Strides& x, const Strides& out, const Strides& indices, Scratch scratch);

  // x, out and indices (null without) point to the tile's image and first channel.
  void Run(const T* x, T* out, int64_t* indices, int64_t depth, int64_t row_begin, int64_t row_end,
           int64_t column_begin, int64_t column_end);

 private:
  void StartColumns();
  const T* RealRow(int64_t h);
  void Direct(int64_t o_row);
  void DirectRuns(int64_t o_row, int64_t begin, int64_t end);
  int64_t AlikeRows(int64_t o_row, int64_t row_end) const;
  void MaxOfRows(int64_t o_row, int64_t rows);
  void MaxOfColumns(int64_t o_row, int64_t rows);
  template <class U>
  void SplitRows(int64_t rows, const U* row, void (*split)(const U*, size_t, U*, U*), U* phases);
  void Finish(int64_t o_row, const T* result, const Number* numbers);

  // Elements between two phases, and between two rows of a phase.
  int64_t PhaseStep() const { return plan_.batch * PhaseRowStep(); }
  int64_t PhaseRowStep() const { return length_ / g_.columns.stride * depth_; }

  // The kernels write where the results belong if these are neighbours there, else to result_.
  bool InPlace() const {
    return depth_ == 1 ? out_strides_.column == 1 : out_strides_.channel == 1;
  }
  T* OutRow(int64_t o_row) const {
    return out_ + o_row * out_strides_.row + column_begin_ * out_strides_.column;
  }
  T* ResultRow(int64_t o_row) const { return InPlace() ? OutRow(o_row) : result_; }
  int64_t ResultStep() const { return InPlace() ? out_strides_.column : depth_; }

  // Number of a tap: its distance in the plane from the window's first real row and the column
  // where the window begins, which may be padding.
  Number RowNumber(int64_t taps_below) const {
    return static_cast<Number>(taps_below * g_.rows.dilation * g_.columns.in);
  }
  Number ColumnNumber(int64_t tap) const { return static_cast<Number>(tap * g_.columns.dilation); }

  const PoolKernels<T>& kernels_;
  const Plan<T>& plan_;
  const Geometry& g_;
  const Strides x_strides_, out_strides_, index_strides_;
  const T* x_;
  T* out_;
  int64_t* indices_;
  int64_t depth_, column_begin_, column_end_;
  // Columns of x under the tile are [left_, left_ + length_), with some to spare; real ones are
  // [real_begin_, real_end_), counted from left_ as well. They are x_step_ elements apart.
  int64_t left_, length_, real_begin_, real_end_, x_step_;
  // Taps [tap_begin_, tap_end_) of a row are real for some output of the tile.
  int64_t tap_begin_, tap_end_;

  // Scratch; numbers only with indices.
  T *row_, *phases_, *result_, *ring_;
  Number *row_numbers_ = nullptr, *phase_numbers_ = nullptr, *result_numbers_ = nullptr;
  int64_t* ring_rows_;              // the row of x that each place of the ring holds
  const T **taps_, **column_taps_;  // sources of the kernels
  const Number** column_tap_numbers_;
  Number *ids_, *column_ids_;
};

template <class T>
Tile<T>::Tile(const PoolKernels<T>& kernels, const Plan<T>& plan, const Geometry& geometry,
              const Strides& x, const Strides& out, const Strides& indices, Scratch scratch)
    : kernels_(kernels),
      plan_(plan),
      g_(geometry),
      x_strides_(x),
      out_strides_(out),
      index_strides_(indices) {
  const int64_t row = plan.direct ? 0 : plan.batch * plan.length * plan.depth;
  const int64_t phases = plan.split ? row : 0;
  const int64_t result = plan.batch * plan.outputs * plan.depth;
  const int64_t taps = plan.direct ? plan.row_taps * plan.column_taps : plan.row_taps;
  row_ = scratch.Take<T>(row);
  phases_ = scratch.Take<T>(phases);
  result_ = scratch.Take<T>(result);
  taps_ = scratch.Take<const T*>(taps);
  column_taps_ = scratch.Take<const T*>(plan.tile_taps);
  ring_ = scratch.Take<T>(plan.ring * plan.length * plan.depth);
  ring_rows_ = scratch.Take<int64_t>(plan.ring);
  if (!plan.numbered) return;
  row_numbers_ = scratch.Take<Number>(row);
  phase_numbers_ = scratch.Take<Number>(phases);
  result_numbers_ = scratch.Take<Number>(result);
  ids_ = scratch.Take<Number>(taps);
  column_ids_ = scratch.Take<Number>(plan.tile_taps);
  column_tap_numbers_ = scratch.Take<const Number*>(plan.tile_taps);
}

template <class T>
void Tile<T>::Run(const T* x, T* out, int64_t* indices, int64_t depth, int64_t row_begin,
                  int64_t row_end, int64_t column_begin, int64_t column_end) {
  x_ = x;
  out_ = out;
  indices_ = indices;
  depth_ = depth;
  column_begin_ = column_begin;
  column_end_ = column_end;
  StartColumns();
  const int64_t result_step = (column_end - column_begin) * depth;
  for (int64_t o_row = row_begin, rows; o_row < row_end; o_row += rows) {
    rows = AlikeRows(o_row, row_end);
    if (plan_.direct) {
      Direct(o_row);
    } else {
      MaxOfRows(o_row, rows);
      MaxOfColumns(o_row, rows);
    }
    for (int64_t i = 0; i < rows; ++i) {
      Finish(o_row + i, result_ + i * result_step, result_numbers_ + i * result_step);
    }
  }
}

// How many output rows from o_row on go to the kernels together: rows with all their taps.
template <class T>
int64_t Tile<T>::AlikeRows(int64_t o_row, int64_t row_end) const {
  const WindowAxis& axis = g_.rows;
  const int64_t room = axis.in - 1 - axis.Input(o_row, axis.window - 1);
  if (axis.First(o_row) < 0 || room < 0) return 1;
  return std::min({plan_.batch, row_end - o_row, room / axis.stride + 1});
}

// What all rows of the tile share.
template <class T>
void Tile<T>::StartColumns() {
  const WindowAxis& axis = g_.columns;
  tap_begin_ = FirstTap(axis, column_end_ - 1);
  tap_end_ = EndTap(axis, column_begin_);
  left_ = axis.Input(column_begin_, tap_begin_);
  length_ = (column_end_ - 1 - column_begin_) * axis.stride +
            (tap_end_ - 1 - tap_begin_) * axis.dilation + 1;
  if (plan_.split) length_ = RoundUp(length_, axis.stride);
  real_begin_ = std::max<int64_t>(0, -left_);
  real_end_ = std::min(length_, axis.in - left_);
  x_step_ = plan_.gathered || axis.in == 1 ? depth_ : x_strides_.column;
  std::fill_n(ring_rows_, plan_.ring, -1);
  if (plan_.direct) return;

  // Padding never wins: no value is below -inf, and a real -inf has a smaller number.
  const auto pad = [&](auto* row, auto value) {
    for (int64_t i = 0; i < plan_.batch; ++i, row += length_ * depth_) {
      std::fill_n(row, real_begin_ * depth_, value);
      std::fill_n(row + real_end_ * depth_, (length_ - real_end_) * depth_, value);
    }
  };
  pad(row_, -std::numeric_limits<T>::infinity());
  if (indices_) {
    pad(row_numbers_, std::numeric_limits<Number>::max() - ColumnNumber(axis.window - 1));
  }

  for (int64_t tap = tap_begin_; tap < tap_end_; ++tap) {
    const int64_t column = (tap - tap_begin_) * axis.dilation;
    const int64_t offset = plan_.split
                               ? column % axis.stride * PhaseStep() + column / axis.stride * depth_
                               : column * depth_;
    column_taps_[tap - tap_begin_] = (plan_.split ? phases_ : row_) + offset;
    if (indices_) {
      column_tap_numbers_[tap - tap_begin_] =
          (plan_.split ? phase_numbers_ : row_numbers_) + offset;
      column_ids_[tap - tap_begin_] = ColumnNumber(tap);
    }
  }
}

// Row h of x from the tile's first real column on, x_step_ elements per column. Rows are gathered
// when first asked for; those of a window have different places in the ring.
template <class T>
const T* Tile<T>::RealRow(int64_t h) {
  const T* row = x_ + h * x_strides_.row + (left_ + real_begin_) * x_strides_.column;
  if (!plan_.gathered) return row;
  T* copy = ring_ + h % plan_.ring * plan_.length * plan_.depth;
  if (ring_rows_[h % plan_.ring] != h) {
    ring_rows_[h % plan_.ring] = h;
    for (int64_t w = 0; w < real_end_ - real_begin_; ++w) {
      Gather(row + w * x_strides_.column, x_strides_.channel, depth_, copy + w * depth_);
    }
  }
  return copy;
}

// The maxima of the window's rows, column by column, into row_; for several output rows alike.
template <class T>
void Tile<T>::MaxOfRows(int64_t o_row, int64_t rows) {
  const int64_t first = FirstTap(g_.rows, o_row), count = EndTap(g_.rows, o_row) - first;
  for (int64_t r = 0; r < count; ++r) {
    taps_[r] = RealRow(g_.rows.Input(o_row, first + r));
    if (indices_) ids_[r] = RowNumber(r);
  }
  const size_t columns = real_end_ - real_begin_, depth = depth_;
  Runs runs{columns, depth, x_step_, depth_, depth_};
  if (x_step_ == depth_) {
    const ptrdiff_t step = length_ * depth_;
    runs = {size_t(rows), columns * depth, g_.rows.stride * x_strides_.row, step, step};
  }
  T* row = row_ + real_begin_ * depth_;
  if (indices_) {
    kernels_.arg_max(taps_, ids_, count, runs, row, row_numbers_ + real_begin_ * depth_);
  } else {
    kernels_.max(taps_, count, runs, row);
  }
}

// The maxima of the window's columns of row_: the outputs.
template <class T>
void Tile<T>::MaxOfColumns(int64_t o_row, int64_t rows) {
  const int64_t stride = g_.columns.stride, step = ResultStep();
  if (plan_.split) {
    SplitRows(rows, row_, kernels_.split, phases_);
    if (indices_) SplitRows(rows, row_numbers_, kernels_.split_numbers, phase_numbers_);
  }
  const size_t outputs = column_end_ - column_begin_, depth = depth_;
  const bool near = plan_.split || stride == 1 || outputs == 1;
  Runs runs{outputs, depth, near ? depth_ : stride * depth_, step, depth_};
  if (near && step == depth_) {
    const ptrdiff_t row_step = outputs * depth;
    runs = {size_t(rows), outputs * depth, plan_.split ? PhaseRowStep() : length_ * depth_,
            InPlace() ? out_strides_.row : row_step, row_step};
  }
  const size_t taps = tap_end_ - tap_begin_;
  if (indices_) {
    kernels_.merge_arg_max(column_taps_, column_tap_numbers_, column_ids_, taps, runs,
                           ResultRow(o_row), result_numbers_);
  } else {
    kernels_.max(column_taps_, taps, runs, ResultRow(o_row));
  }
}

// phases[p][i] = row[i·stride + p] for rows one after the other, whose length is a multiple of the
// stride; each element is the `depth_` channels of a column.
template <class T>
template <class U>
void Tile<T>::SplitRows(int64_t rows, const U* row, void (*split)(const U*, size_t, U*, U*),
                        U* phases) {
  const int64_t stride = g_.columns.stride, columns = rows * length_;
  if (stride == 2 && depth_ == 1) return split(row, columns, phases, phases + PhaseStep());
  for (int64_t p = 0; p < stride; ++p) {
    U* phase = phases + p * PhaseStep();
    for (int64_t w = p; w < columns; w += stride, phase += depth_) {
      std::copy_n(row + w * depth_, depth_, phase);
    }
  }
}

template <class T>
void Tile<T>::Direct(int64_t o_row) {
  const WindowAxis& axis = g_.columns;
  // Outputs [begin, end) have all their columns in the image and share their taps' distances.
  const int64_t room = axis.in - 1 - axis.dilation * (axis.window - 1) + axis.before;
  const int64_t end = std::clamp(room < 0 ? 0 : room / axis.stride + 1, column_begin_, column_end_);
  const int64_t begin = std::clamp(CeilDiv(axis.before, axis.stride), column_begin_, end);
  for (int64_t o = column_begin_; o < begin; ++o) DirectRuns(o_row, o, o + 1);
  if (begin < end) DirectRuns(o_row, begin, end);
  for (int64_t o = end; o < column_end_; ++o) DirectRuns(o_row, o, o + 1);
}

// Outputs [begin, end) from all taps that the first of them has in the image.
template <class T>
void Tile<T>::DirectRuns(int64_t o_row, int64_t begin, int64_t end) {
  const WindowAxis& axis = g_.columns;
  const int64_t first_row = FirstTap(g_.rows, o_row), end_row = EndTap(g_.rows, o_row);
  const int64_t first = FirstTap(axis, begin), end_tap = EndTap(axis, begin);
  int64_t count = 0;
  const auto add = [&](int64_t r, int64_t s) {
    const int64_t column = axis.Input(begin, s) - (left_ + real_begin_);
    taps_[count] = RealRow(g_.rows.Input(o_row, r)) + column * x_step_;
    if (indices_) ids_[count] = RowNumber(r - first_row) + ColumnNumber(s);
    ++count;
  };
  // Ties go to the first tap: of the rows with indices, else of the columns, as the separable way
  // has it.
  if (indices_) {
    for (int64_t r = first_row; r < end_row; ++r) {
      for (int64_t s = first; s < end_tap; ++s) add(r, s);
    }
  } else {
    for (int64_t s = first; s < end_tap; ++s) {
      for (int64_t r = first_row; r < end_row; ++r) add(r, s);
    }
  }
  const int64_t from = begin - column_begin_;
  const Runs runs{static_cast<size_t>(end - begin), static_cast<size_t>(depth_),
                  axis.stride * x_step_, ResultStep(), depth_};
  T* result = ResultRow(o_row) + from * ResultStep();
  if (indices_) {
    kernels_.arg_max(taps_, ids_, count, runs, result, result_numbers_ + from * depth_);
  } else {
    kernels_.max(taps_, count, runs, result);
  }
}

// Results out of scratch, and numbers to indices.
template <class T>
void Tile<T>::Finish(int64_t o_row, const T* result, const Number* numbers) {
  const int64_t outputs = column_end_ - column_begin_;
  if (!InPlace()) {
    for (int64_t c = 0; c < depth_; ++c) {
      T* out = OutRow(o_row) + c * out_strides_.channel;
      for (int64_t o = 0; o < outputs; ++o) out[o * out_strides_.column] = result[o * depth_ + c];
    }
  }
  if (!indices_) return;
  // Where the numbers count from.
  const int64_t row = g_.rows.Input(o_row, FirstTap(g_.rows, o_row)) * g_.columns.in;
  const int64_t origin = row + g_.columns.First(column_begin_), stride = g_.columns.stride;
  const int64_t step = index_strides_.column;
  int64_t* index = indices_ + o_row * index_strides_.row + column_begin_ * step;
  if (depth_ == 1) {
    for (int64_t o = 0; o < outputs; ++o) index[o * step] = origin + o * stride + numbers[o];
    return;
  }
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t c = 0; c < depth_; ++c) {
      index[o * step + c * index_strides_.channel] = origin + o * stride + numbers[o * depth_ + c];
    }
  }
}

// Numbers are of T's size.
template <class T>
void CheckSpan(const Geometry& g) {
  const double rows = double(std::min(g.rows.dilation * (g.rows.window - 1), g.rows.in - 1));
  const double columns = double(g.columns.dilation * (g.columns.window - 1));
  const double largest = double(std::numeric_limits<typename PoolKernels<T>::Number>::max());
  if (rows * double(g.columns.in) + 2 * columns >= largest) {
    Fail(kOp, ": indices of ", ToString(DTypeOf<T>::value), " need a window that spans less than ",
         largest, " elements of x; it spans ", rows + 1, " rows of ", g.columns.in);
  }
}

template <class T>
void Run(const TensorView& x, const Geometry& g, Layout layout, const TensorView& out,
         const TensorView* indices) {
  if (indices) CheckSpan<T>(g);
  if (g.images == 0 || g.channels == 0 || g.rows.out == 0 || g.columns.out == 0) return;
  const auto& kernels = PoolKernelsFor<T>(ActiveTarget());
  const Strides from(x, layout), to(out, layout), index_to(indices ? *indices : out, layout);
  const Plan<T> plan(g, from, indices != nullptr, kernels.lanes);

  const int64_t per_block = plan.rows.count * plan.columns.count;
  const int64_t per_image = plan.channels.count * per_block;
  const Work work{g.images * per_image, plan.total_ns, plan.ScratchBytes()};
  ParallelFor(work, [&](int64_t task, Scratch scratch) {
    const int64_t image = task / per_image, block = task % per_image / per_block;
    const int64_t columns = task % per_block / plan.rows.count, rows = task % plan.rows.count;
    const int64_t end = plan.channels.end(block);
    Tile<T> tile(kernels, plan, g, from, to, index_to, scratch);
    for (int64_t c = plan.channels.begin(block), depth; c < end; c += depth) {
      depth = plan.pixels ? end - c : 1;
      tile.Run(Data<const T>(x) + image * from.image + c * from.channel,
               Data<T>(out) + image * to.image + c * to.channel,
               indices ? Data<int64_t>(*indices) + image * index_to.image + c * index_to.channel
                       : nullptr,
               depth, plan.rows.begin(rows), plan.rows.end(rows), plan.columns.begin(columns),
               plan.columns.end(columns));
    }
  });
}

Shape OutputShape(const Geometry& g, size_t rank, Layout layout) {
  Shape out = layout == Layout::kNHWC ? Shape{g.rows.out, g.columns.out, g.channels}
                                      : Shape{g.channels, g.rows.out, g.columns.out};
  if (rank == 4) out.insert(out.begin(), g.images);
  int64_t elements = 1;
  for (const int64_t size : out) elements = CheckedProduct(kOp, elements, size);
  return out;
}

}  // namespace
}  // namespace pool

Shape MaxPool2dShape(const Shape& x, const PoolOptions& options) {
  return pool::OutputShape(pool::Resolve(pool::kOp, x, options), x.size(), options.layout);
}

void MaxPool2d(const TensorView& x, const PoolOptions& options, const TensorView& out,
               const TensorView* indices) {
  const pool::Geometry geometry = pool::Resolve(pool::kOp, x.sizes(), options);
  const Shape shape = pool::OutputShape(geometry, x.rank, options.layout);
  CheckView(pool::kOp, "out", out, x.dtype, shape);
  if (indices) CheckView(pool::kOp, "indices", *indices, DType::kInt64, shape);
  switch (x.dtype) {
    case DType::kFloat32:
      return pool::Run<float>(x, geometry, options.layout, out, indices);
    case DType::kFloat64:
      return pool::Run<double>(x, geometry, options.layout, out, indices);
    default:
      FailDType(pool::kOp, ": x has dtype ", ToString(x.dtype), ", expected float32 or float64");
  }
}

}  // namespace lanewise
