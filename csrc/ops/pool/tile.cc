#include "ops/pool/tile.h"

#include <algorithm>
#include <limits>

namespace lanewise::pool {

template <class T>
Tile<T>::Tile(const PoolKernels<T>& kernels, const Plan<T>& plan, const Geometry& geometry,
              const Strides& x, const Strides& out, const Strides& indices, Scratch scratch)
    : kernels_(kernels),
      picks_(kernels.picks[static_cast<int>(plan.reduction.pick)]),
      plan_(plan),
      g_(geometry),
      x_strides_(x),
      out_strides_(out),
      index_strides_(indices) {
  const int64_t row = plan.RowSize(), phases = plan.split ? row : 0, spares = plan.SpareRows();
  row_ = scratch.Take<T>(row);
  for (int64_t i = 0; i < spares; ++i) spare_[i] = scratch.Take<T>(row);
  phases_ = scratch.Take<T>(phases);
  result_ = scratch.Take<T>(plan.ResultSize());
  taps_ = scratch.Take<const T*>(plan.Pointers());
  column_taps_ = scratch.Take<const T*>(plan.tile_taps);
  ring_ = scratch.Take<T>(plan.ring * plan.length * plan.depth);
  ring_rows_ = scratch.Take<int64_t>(plan.ring);
  if (!plan.reduction.numbered) return;
  row_numbers_ = scratch.Take<Number>(row);
  for (int64_t i = 0; i < spares; ++i) spare_numbers_[i] = scratch.Take<Number>(row);
  phase_numbers_ = scratch.Take<Number>(phases);
  result_numbers_ = scratch.Take<Number>(plan.ResultSize());
  ids_ = scratch.Take<Number>(plan.Pointers());
  column_ids_ = scratch.Take<Number>(plan.tile_taps);
  column_tap_numbers_ = scratch.Take<const Number*>(plan.tile_taps);
}

template <class T>
void Tile<T>::Run(const Source<T>& x, const Sink<T>& out, int64_t* indices, int64_t depth,
                  int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end) {
  x_ = x;
  out_ = out;
  indices_ = indices;
  depth_ = depth;
  column_begin_ = column_begin;
  column_end_ = column_end;
  StartColumns();
  for (int64_t o_row = row_begin, rows; o_row < row_end; o_row += rows) {
    rows = AlikeRows(o_row, row_end);
    if (plan_.direct) {
      Direct(o_row);
    } else {
      ReduceRows(o_row, rows);
      ReduceColumns(o_row, rows);
    }
    for (int64_t i = 0; i < rows; ++i) {
      if (plan_.reduction.average) Divide(o_row + i, ResultRow(o_row, i));
      if (!InPlace()) Store(o_row + i, ResultRow(o_row, i));
      if (indices_) StoreIndices(o_row + i, result_numbers_ + i * ResultSize());
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
  const Inside inside(axis);
  inside_end_ = std::clamp(inside.end, column_begin_, column_end_);
  inside_begin_ = std::clamp(inside.begin, column_begin_, inside_end_);
  std::fill_n(ring_rows_, plan_.ring, -1);
  if (plan_.direct) return;

  PadRow();
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

// No element loses to it.
template <class T>
T Tile<T>::Loser() const {
  using Limits = std::numeric_limits<T>;
  const Pick pick = plan_.reduction.pick;
  const bool smallest = pick == Pick::kMin || pick == Pick::kMinOmitNaN;
  if constexpr (Limits::has_infinity) {
    if (pick == Pick::kMaxOmitNaN || pick == Pick::kMinOmitNaN) return Limits::quiet_NaN();
    return smallest ? Limits::infinity() : -Limits::infinity();
  } else {
    return smallest ? Limits::max() : Limits::lowest();
  }
}

// Padding never wins: at best it is level with a real element, whose number is smaller.
template <class T>
void Tile<T>::PadRow() {
  const auto pad = [&](auto* row, auto value) {
    for (int64_t i = 0; i < plan_.batch; ++i, row += length_ * depth_) {
      std::fill_n(row, real_begin_ * depth_, value);
      std::fill_n(row + real_end_ * depth_, (length_ - real_end_) * depth_, value);
    }
  };
  pad(row_, plan_.reduction.average ? T(0) : Loser());
  if (indices_) {
    pad(row_numbers_, std::numeric_limits<Number>::max() - ColumnNumber(g_.columns.window - 1));
  }
}

// The row of x under a tap from the tile's first real column on, x_step_ elements per column. Rows
// are gathered when first asked for; those in use at one time have different places in the ring.
template <class T>
const T* Tile<T>::RealRow(int64_t o_row, int64_t tap) {
  const int64_t h = g_.rows.Input(o_row, tap), columns = real_end_ - real_begin_;
  const int64_t offset = h * x_strides_.row + (left_ + real_begin_) * x_strides_.column;
  if (!plan_.gathered) return x_.InPlace() + offset;
  const int64_t place = (plan_.reuse ? h : tap) % plan_.ring;
  T* const copy = ring_ + place * plan_.length * plan_.depth;
  if (ring_rows_[place] == h) return copy;
  ring_rows_[place] = h;
  const Source<T> row = x_ + offset;
  if (depth_ == 1) {
    row.Read(x_strides_.column, columns, copy);
  } else if (x_strides_.column == depth_ * x_strides_.channel) {
    row.Read(x_strides_.channel, columns * depth_, copy);
  } else {
    for (int64_t w = 0; w < columns; ++w) {
      (row + w * x_strides_.column).Read(x_strides_.channel, depth_, copy + w * depth_);
    }
  }
  return copy;
}

// out = taps_[0] to taps_[taps - 1], reduced; `first` and `block` cut sums.
template <class T>
void Tile<T>::Reduce(int64_t taps, int64_t first, int64_t block, const Runs& runs, T* out,
                     Number* numbers) const {
  if (plan_.reduction.average) {
    kernels_.sum(taps_, taps, first, block, runs, out);
  } else if (indices_) {
    picks_.arg(taps_, ids_, taps, runs, out, numbers);
  } else {
    picks_.pick(taps_, taps, runs, out);
  }
}

// The window's rows, reduced column by column into row_; for several output rows alike.
template <class T>
void Tile<T>::ReduceRows(int64_t o_row, int64_t rows) {
  const size_t columns = real_end_ - real_begin_, depth = depth_;
  Runs runs{columns, depth, x_step_, depth_, depth_};
  if (x_step_ == depth_) {
    const ptrdiff_t step = length_ * depth_;
    runs = {size_t(rows), columns * depth, g_.rows.stride * x_strides_.row, step, step};
  }
  const int64_t first = FirstTap(g_.rows, o_row), end = EndTap(g_.rows, o_row);
  // Each chunk of rows joins what is known of those before, from row_ to the spare row and back.
  bool to_row = CeilDiv(end - first, plan_.chunk) % 2 == 1;
  for (int64_t tap = first; tap < end; tap += plan_.chunk, to_row = !to_row) {
    ReduceChunk(o_row, tap, std::min(end, tap + plan_.chunk), to_row, runs);
  }
}

template <class T>
void Tile<T>::ReduceChunk(int64_t o_row, int64_t tap, int64_t end, bool to_row, const Runs& runs) {
  const int64_t first = FirstTap(g_.rows, o_row), offset = real_begin_ * depth_;
  const bool joins = tap > first;
  T* const out = (to_row ? row_ : spare_[0]) + offset;
  const T* const before = joins ? (to_row ? spare_[0] : row_) + offset : nullptr;
  int64_t n = 0;
  if (joins && !indices_) taps_[n++] = before;
  for (int64_t t = tap; t < end; ++t, ++n) {
    taps_[n] = RealRow(o_row, t);
    if (indices_) ids_[n] = RowNumber(t - first);
  }
  if (!indices_) return Reduce(n, joins ? 1 : kBlock, kBlock, runs, out, nullptr);

  Number* const numbers = (to_row ? row_numbers_ : spare_numbers_[0]) + offset;
  if (!joins) return Reduce(n, 0, 0, runs, out, numbers);
  Reduce(n, 0, 0, runs, spare_[1] + offset, spare_numbers_[1] + offset);
  const T* const both[] = {before, spare_[1] + offset};
  const Number* const both_numbers[] = {(to_row ? spare_numbers_[0] : row_numbers_) + offset,
                                        spare_numbers_[1] + offset};
  const Number no_shift[] = {0, 0};
  picks_.merge_arg(both, both_numbers, no_shift, 2, runs, out, numbers);
}

// The window's columns of row_, reduced to the outputs.
template <class T>
void Tile<T>::ReduceColumns(int64_t o_row, int64_t rows) {
  const int64_t stride = g_.columns.stride, step = ResultStep();
  if (plan_.split) {
    SplitRows(rows, row_, kernels_.split, phases_);
    if (indices_) SplitRows(rows, row_numbers_, kernels_.split_numbers, phase_numbers_);
  }
  const size_t outputs = column_end_ - column_begin_, depth = depth_;
  const bool near = plan_.split || stride == 1 || outputs == 1;
  Runs runs{outputs, depth, near ? depth_ : stride * depth_, step, depth_};
  if (near && step == depth_) {
    const ptrdiff_t row_step = ResultSize();
    runs = {size_t(rows), outputs * depth, plan_.split ? PhaseRowStep() : length_ * depth_,
            InPlace() ? out_strides_.row : row_step, row_step};
  }
  const int64_t taps = tap_end_ - tap_begin_;
  T* const result = ResultRow(o_row);
  if (plan_.reduction.average) {
    kernels_.sum(column_taps_, taps, kBlock - tap_begin_ % kBlock, kBlock, runs, result);
  } else if (indices_) {
    picks_.merge_arg(column_taps_, column_tap_numbers_, column_ids_, taps, runs, result,
                     result_numbers_);
  } else {
    picks_.pick(column_taps_, taps, runs, result);
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
  for (int64_t o = column_begin_; o < inside_begin_; ++o) DirectRuns(o_row, o, o + 1);
  if (inside_begin_ < inside_end_) DirectRuns(o_row, inside_begin_, inside_end_);
  for (int64_t o = inside_end_; o < column_end_; ++o) DirectRuns(o_row, o, o + 1);
}

// Outputs [begin, end), whose taps in the image are the same, from all of these.
template <class T>
void Tile<T>::DirectRuns(int64_t o_row, int64_t begin, int64_t end) {
  const WindowAxis& axis = g_.columns;
  const int64_t first_row = FirstTap(g_.rows, o_row), end_row = EndTap(g_.rows, o_row);
  const int64_t first = FirstTap(axis, begin), end_tap = EndTap(axis, begin);
  int64_t count = 0;
  const auto add = [&](int64_t r, int64_t s) {
    const int64_t column = axis.Input(begin, s) - (left_ + real_begin_);
    taps_[count] = RealRow(o_row, r) + column * x_step_;
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
  const int64_t from = begin - column_begin_, rows = end_row - first_row;
  const Runs runs{static_cast<size_t>(end - begin), static_cast<size_t>(depth_),
                  axis.stride * x_step_, ResultStep(), depth_};
  Reduce(count, rows, rows, runs, ResultRow(o_row) + from * ResultStep(),
         indices_ ? result_numbers_ + from * depth_ : nullptr);
}

// Sums to averages. Outputs inside the image divide by the same number, the others one by one.
template <class T>
void Tile<T>::Divide(int64_t o_row, T* result) const {
  const auto taps = [&](const WindowAxis& axis, int64_t o) {
    if (plan_.reduction.count_include_pad) {
      return PaddedTaps(axis, o);
    }
    return EndTap(axis, o) - FirstTap(axis, o);
  };
  const double rows = static_cast<double>(taps(g_.rows, o_row));
  const int64_t step = ResultStep();
  const auto divide = [&](int64_t begin, int64_t end) {
    const T count = static_cast<T>(rows * static_cast<double>(taps(g_.columns, begin)));
    T* first = result + (begin - column_begin_) * step;
    if (step == depth_) return kernels_.divide(first, (end - begin) * depth_, count);
    for (int64_t o = begin; o < end; ++o, first += step) kernels_.divide(first, depth_, count);
  };
  for (int64_t o = column_begin_; o < inside_begin_; ++o) divide(o, o + 1);
  if (inside_begin_ < inside_end_) divide(inside_begin_, inside_end_);
  for (int64_t o = inside_end_; o < column_end_; ++o) divide(o, o + 1);
}

// Results out of scratch.
template <class T>
void Tile<T>::Store(int64_t o_row, const T* result) const {
  const int64_t outputs = column_end_ - column_begin_;
  const Sink<T> row = out_ + OutOffset(o_row);
  if (depth_ == 1) return row.Write(result, outputs, out_strides_.column);
  if (out_strides_.column == depth_ * out_strides_.channel) {
    return row.Write(result, outputs * depth_, out_strides_.channel);
  }
  for (int64_t o = 0; o < outputs; ++o) {
    (row + o * out_strides_.column).Write(result + o * depth_, depth_, out_strides_.channel);
  }
}

// Numbers to indices.
template <class T>
void Tile<T>::StoreIndices(int64_t o_row, const Number* numbers) const {
  // Local copies: for all the compiler knows, storing an index may change a member.
  const int64_t outputs = column_end_ - column_begin_, depth = depth_;
  const int64_t column_step = index_strides_.column, channel_step = index_strides_.channel;
  int64_t* index = indices_ + o_row * index_strides_.row + column_begin_ * column_step;
  // Where the numbers count from.
  const int64_t row = g_.rows.Input(o_row, FirstTap(g_.rows, o_row)) * g_.columns.in;
  int64_t origin = row + g_.columns.First(column_begin_);
  const int64_t stride = g_.columns.stride;
  if (depth == 1) {
    for (int64_t o = 0; o < outputs; ++o) index[o * column_step] = origin + o * stride + numbers[o];
    return;
  }
  for (int64_t o = 0; o < outputs; ++o, index += column_step, numbers += depth, origin += stride) {
    for (int64_t c = 0; c < depth; ++c) index[c * channel_step] = origin + numbers[c];
  }
}

template class Tile<int8_t>;
template class Tile<uint8_t>;
template class Tile<int16_t>;
template class Tile<uint16_t>;
template class Tile<int32_t>;
template class Tile<uint32_t>;
template class Tile<int64_t>;
template class Tile<uint64_t>;
template class Tile<float>;
template class Tile<double>;

}  // namespace lanewise::pool
