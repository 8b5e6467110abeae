#include "ops/pool/tile.h"

#include <algorithm>
#include <limits>

namespace lanewise::pool {

template <class T>
Tile<T>::Tile(const PoolKernels<T>& kernels, const Plan<T>& plan, const Geometry& geometry,
              const FloatKeys<T>* keys, const Strides& x, const Strides& out,
              const Strides& indices, Scratch scratch)
    : kernels_(kernels),
      picks_(kernels.picks[static_cast<int>(plan.reduction.pick)]),
      plan_(plan),
      g_(geometry),
      keys_(keys),
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
  shifted_taps_ = scratch.Take<const T*>(plan.tile_taps);
  divisors_ = scratch.Take<T>(plan.Divisors());
  counts_ = scratch.Take<double>(plan.Divisors());
  ring_ = scratch.Take<T>(plan.ring * plan.length * plan.depth);
  ring_rows_ = scratch.Take<int64_t>(plan.ring);
  strip_ = scratch.Take<T>(plan.StripLevels() * plan.StripSize());
  slide_ = scratch.Take<T>(plan.slide);
  wide_ = scratch.Take<T>(plan.wide.levels * plan.WideRows() * plan.length * plan.depth);
  if (!plan.reduction.numbered) return;
  row_numbers_ = scratch.Take<Number>(row);
  for (int64_t i = 0; i < spares; ++i) spare_numbers_[i] = scratch.Take<Number>(row);
  phase_numbers_ = scratch.Take<Number>(phases);
  result_numbers_ = scratch.Take<Number>(plan.ResultSize());
  ids_ = scratch.Take<Number>(plan.Pointers());
  column_ids_ = scratch.Take<Number>(plan.tile_taps);
  column_tap_numbers_ = scratch.Take<const Number*>(plan.tile_taps);
  tap_numbers_ = scratch.Take<const Number*>(plan.Pointers() + plan.tile_taps);
  strip_numbers_ = scratch.Take<Number>(plan.StripLevels() * plan.StripSize());
  wide_numbers_ =
      scratch.Take<Number>(plan.wide.levels * plan.WideRows() * plan.length * plan.depth);
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
    rows = plan_.tall ? std::min(plan_.batch, row_end - o_row) : AlikeRows(o_row, row_end);
    if (plan_.direct) {
      Direct(o_row);
    } else {
      if (plan_.tall) {
        CascadeRows(o_row, rows);
      } else {
        ReduceRows(o_row, rows);
      }
      ReduceColumns(o_row, rows);
    }
    for (int64_t i = 0; i < rows; ++i) {
      Finish(o_row + i, ResultRow(o_row, i), result_numbers_ + i * ResultSize());
    }
  }
}

// From what the kernels made of a row to its results.
template <class T>
void Tile<T>::Finish(int64_t o_row, T* result, const Number* numbers) {
  if (plan_.reduction.average && !plan_.reduction.sum) Divide(o_row, result);
  if (keys_ != nullptr) {
    ForEachOutput(result, [&](T* values, int64_t n) { kernels_.from_keys(values, n, *keys_); });
  }
  if (!InPlace()) Store(o_row, result);
  if (indices_) StoreIndices(o_row, numbers);
}

// f(values, n) for the results of a row, as far as they are neighbours.
template <class T>
template <class F>
void Tile<T>::ForEachOutput(T* result, const F& f) const {
  const int64_t step = ResultStep(), outputs = column_end_ - column_begin_;
  if (step == depth_) return f(result, outputs * depth_);
  for (int64_t o = 0; o < outputs; ++o) f(result + o * step, depth_);
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
  tap_begin_ = plan_.wide ? 0 : FirstTap(axis, column_end_ - 1);
  tap_end_ = plan_.wide ? axis.window : EndTap(axis, column_begin_);
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
  for (int64_t o = column_begin_; plan_.Divisors() > 0 && o < column_end_; ++o) {
    counts_[o - column_begin_] = Counted(axis, o);
  }
  if (plan_.direct) return;

  PadRow();
  if (plan_.wide) return;
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
  ReadPixels(x_ + offset, columns, copy);
  if (keys_ != nullptr)
    kernels_.to_keys(copy, {1, size_t(columns * depth_), 0, 0, 0}, *keys_, copy);
  return copy;
}

// Where each level begins.
template <class T>
template <class U>
struct Tile<T>::Levels {
  U *level_0, *above;
  int64_t size;  // of each above
  U* operator[](int k) const { return k == 0 ? level_0 : above + (k - 1) * size; }
};

// The window reduced to `out`, by way of its cascade's levels. Level 0 is there, `elements` of it,
// in which one tap follows another after `unit`; `number_unit` is what their numbers differ by.
template <class T>
void Tile<T>::ReduceLevels(const Cascade& cascade, const Levels<T>& levels,
                           const Levels<Number>& numbers, int64_t unit, int64_t number_unit,
                           int64_t elements, const Runs& runs, T* out, Number* out_numbers) {
  int64_t n = 0;
  const auto add = [&](int k, int64_t offset) {
    taps_[n] = levels[k] + offset * unit;
    if (indices_) {
      tap_numbers_[n] = numbers[k] + offset * unit;
      ids_[n] = static_cast<Number>(offset * number_unit);
    }
    ++n;
  };
  const auto reduce = [&](const Runs& where, T* to, Number* to_numbers) {
    if (indices_) return picks_.merge_arg(taps_, tap_numbers_, ids_, n, where, to, to_numbers);
    Reduce(n, n, n, where, to, nullptr);
  };
  for (int k = 1; k <= cascade.levels; ++k, n = 0) {
    const int64_t step = Cascade::Width(k - 1) * cascade.dilation;
    for (int64_t j = 0; j < Cascade::kRadix; ++j) add(k - 1, j * step);
    const int64_t count = elements - (cascade.Span(Cascade::Width(k)) - 1) * unit;
    reduce({1, size_t(count), 0, 0, 0}, levels[k], indices_ ? numbers[k] : nullptr);
  }
  cascade.ForEachPiece(plan_.reduction.average, add);
  reduce(runs, out, out_numbers);
}

// ReduceRows for long windows. Strips of a few columns, from one row to the next, stay in L1 from
// level to level.
template <class T>
void Tile<T>::CascadeRows(int64_t o_row, int64_t rows) {
  const int64_t columns = real_end_ - real_begin_;
  const int64_t strip = CeilDiv(columns, CeilDiv(columns, plan_.StripColumns()));
  for (int64_t column = real_begin_; column < real_end_; column += strip) {
    CascadeStrip(o_row, rows, column, std::min(strip, real_end_ - column));
  }
}

template <class T>
void Tile<T>::CascadeStrip(int64_t o_row, int64_t rows, int64_t begin, int64_t columns) {
  const int64_t width = columns * depth_, first = g_.rows.First(o_row);
  const int64_t height = (rows - 1) * g_.rows.stride + plan_.tall.Span(g_.rows.window);
  const int64_t above = std::clamp<int64_t>(-first, 0, height);
  const int64_t end = std::clamp<int64_t>(g_.rows.in - first, above, height);
  const auto pad = [&](auto* strip, auto value) {
    std::fill_n(strip, above * width, value);
    std::fill_n(strip + end * width, (height - end) * width, value);
  };
  pad(strip_, plan_.reduction.average ? T(0) : Loser());
  ReadStrip(first + above, end - above, begin, columns, strip_ + above * width);
  if (indices_) {
    pad(strip_numbers_, std::numeric_limits<Number>::max() / 2);
    std::fill_n(strip_numbers_ + above * width, (end - above) * width, 0);
  }
  const int64_t size = plan_.StripSize(), row = length_ * depth_, offset = begin * depth_;
  if (plan_.slide > 0) {
    const Runs runs{size_t(rows), size_t(width), width, row, 0};
    return SlideRows(strip_, runs, row_ + offset);
  }
  const Runs runs{size_t(rows), size_t(width), g_.rows.stride * width, row, row};
  Levels<Number> numbers{};
  if (indices_) numbers = {strip_numbers_, strip_numbers_ + size, size};
  ReduceLevels(plan_.tall, {strip_, strip_ + size, size}, numbers, width, g_.columns.in,
               height * width, runs, row_ + offset, indices_ ? row_numbers_ + offset : nullptr);
}

// The kernel takes whole vectors. Strips are narrower only where the image is: their results go
// through scratch, and what is read beyond the last row is the scratch behind it.
template <class T>
void Tile<T>::SlideRows(const T* strip, const Runs& runs, T* to) {
  const int64_t window = g_.rows.window, stride = g_.rows.stride;
  const size_t lanes = kernels_.lanes;
  if (runs.len >= lanes) return picks_.pick_slides(strip, window, stride, runs, slide_, to);
  for (size_t r = 0; r < runs.count; ++r) {
    T* const result = slide_ + window * lanes;
    const Runs one{1, lanes, runs.src_step, 0, 0};
    picks_.pick_slides(strip + r * stride * runs.src_step, window, stride, one, slide_, result);
    std::copy_n(result, runs.len, to + r * runs.out_step);
  }
}

// Some columns of `rows` rows of x, without gaps.
template <class T>
void Tile<T>::ReadStrip(int64_t h, int64_t rows, int64_t begin, int64_t columns, T* to) const {
  const Source<T> x = x_ + (h * x_strides_.row + (left_ + begin) * x_strides_.column);
  const int64_t width = columns * depth_;
  const bool native = x.native() && (depth_ == 1 || x_strides_.channel == 1);
  const auto copy = [&](const T* from, const Runs& runs, T* out) {
    if (keys_ != nullptr) return kernels_.to_keys(from, runs, *keys_, out);
    for (size_t i = 0; i < runs.count; ++i, from += runs.src_step, out += runs.out_step) {
      std::copy_n(from, runs.len, out);
    }
  };
  if (native && (x_strides_.column == depth_ || columns == 1)) {
    return copy(x.InPlace(), {size_t(rows), size_t(width), x_strides_.row, width, 0}, to);
  }
  for (int64_t r = 0; r < rows; ++r, to += width) {
    const Source<T> row = x + r * x_strides_.row;
    if (native && depth_ > 1) {
      copy(row.InPlace(), {size_t(columns), size_t(depth_), x_strides_.column, depth_, 0}, to);
    } else {
      ReadPixels(row, columns, to);
      if (keys_ != nullptr) kernels_.to_keys(to, {1, size_t(width), 0, 0, 0}, *keys_, to);
    }
  }
}

// ReduceColumns for long windows, of a few rows at a time, which stay in L1 from level to level.
template <class T>
void Tile<T>::CascadeColumns(int64_t i, int64_t rows, const Runs& runs, T* result,
                             Number* numbers) {
  const int64_t size = plan_.WideRows() * plan_.length * plan_.depth, row = length_ * depth_;
  for (int64_t end = i + rows, n; i < end; i += n) {
    n = std::min(end - i, plan_.WideRows());
    Runs part = runs;
    if (rows > 1) part.count = n;
    const Levels<T> levels{row_ + i * row, wide_, size};
    Levels<Number> level_numbers{};
    if (indices_) level_numbers = {row_numbers_ + i * row, wide_numbers_, size};
    ReduceLevels(plan_.wide, levels, level_numbers, depth_, 1, n * row, part, result, numbers);
    result += n * runs.out_step;
    if (indices_) numbers += n * runs.number_step;
  }
}

template <class T>
void Tile<T>::ReadPixels(const Source<T>& row, int64_t columns, T* to) const {
  if (depth_ == 1) {
    row.Read(x_strides_.column, columns, to);
  } else if (x_strides_.column == depth_ * x_strides_.channel) {
    row.Read(x_strides_.channel, columns * depth_, to);
  } else {
    for (int64_t w = 0; w < columns; ++w) {
      (row + w * x_strides_.column).Read(x_strides_.channel, depth_, to + w * depth_);
    }
  }
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
  if (plan_.wide && plan_.slide > 0 && depth >= kernels_.lanes) {
    const Runs runs{outputs, depth, depth_, step, 0};
    for (int64_t i = 0; i < rows; ++i) {
      const T* const row = row_ + i * length_ * depth_;
      picks_.pick_slides(row, g_.columns.window, 1, runs, slide_, ResultRow(o_row, i));
    }
    return;
  }
  const bool near = plan_.split || stride == 1 || outputs == 1;
  const ptrdiff_t row_step = plan_.split ? PhaseRowStep() : length_ * depth_;
  const ptrdiff_t out_row_step = InPlace() ? out_strides_.row : ResultSize();
  if (plan_.pairs && outputs > 1) {
    const Runs runs{size_t(rows), outputs, row_step, out_row_step, 0};
    return picks_.pick_pairs(column_taps_[0], tap_end_ - tap_begin_, runs, ResultRow(o_row));
  }
  if (near && step == depth_) {
    const Runs runs{size_t(rows), outputs * depth, row_step, out_row_step, ResultSize()};
    return ReduceColumnsOf(o_row, 0, rows, runs);
  }
  const Runs runs{outputs, depth, near ? depth_ : stride * depth_, step, depth_};
  for (int64_t i = 0; i < rows; ++i) ReduceColumnsOf(o_row, i, 1, runs);
}

// The same for `rows` rows from the i-th of row_ on.
template <class T>
void Tile<T>::ReduceColumnsOf(int64_t o_row, int64_t i, int64_t rows, const Runs& runs) {
  T* const result = ResultRow(o_row, i);
  Number* const numbers = indices_ ? result_numbers_ + i * ResultSize() : nullptr;
  if (plan_.wide) return CascadeColumns(i, rows, runs, result, numbers);
  const int64_t taps = tap_end_ - tap_begin_;
  const int64_t shift = i * (plan_.split ? PhaseRowStep() : length_ * depth_);
  const T** const sources = i == 0 ? column_taps_ : shifted_taps_;
  for (int64_t t = 0; i > 0 && t < taps; ++t) sources[t] = column_taps_[t] + shift;
  if (plan_.reduction.average) {
    kernels_.sum(sources, taps, kBlock - tap_begin_ % kBlock, kBlock, runs, result);
  } else if (indices_) {
    const Number** const tap_numbers = i == 0 ? column_tap_numbers_ : tap_numbers_;
    for (int64_t t = 0; i > 0 && t < taps; ++t) tap_numbers[t] = column_tap_numbers_[t] + shift;
    picks_.merge_arg(sources, tap_numbers, column_ids_, taps, runs, result, numbers);
  } else {
    picks_.pick(sources, taps, runs, result);
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

// Taps of output o that an average counts.
template <class T>
double Tile<T>::Counted(const WindowAxis& axis, int64_t o) const {
  if (plan_.reduction.count_include_pad) return static_cast<double>(PaddedTaps(axis, o));
  return static_cast<double>(EndTap(axis, o) - FirstTap(axis, o));
}

// Sums to averages. Outputs inside the image divide by the same number, the others one by one.
template <class T>
void Tile<T>::Divide(int64_t o_row, T* result) const {
  const double rows = Counted(g_.rows, o_row) * static_cast<double>(plan_.reduction.parts);
  const int64_t step = ResultStep(), outputs = column_end_ - column_begin_;
  if (step == 1 && depth_ == 1 && inside_end_ - inside_begin_ < outputs) {
    for (int64_t o = 0; o < outputs; ++o) divisors_[o] = static_cast<T>(rows * counts_[o]);
    return kernels_.divide_each(result, outputs, divisors_);
  }
  const auto divide = [&](int64_t begin, int64_t end) {
    T* first = result + (begin - column_begin_) * step;
    const T divisor = static_cast<T>(rows * Counted(g_.columns, begin));
    if (step == depth_) return kernels_.divide(first, (end - begin) * depth_, divisor);
    for (int64_t o = begin; o < end; ++o, first += step) kernels_.divide(first, depth_, divisor);
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
  const int64_t first = plan_.tall ? 0 : FirstTap(g_.rows, o_row);
  const int64_t row = g_.rows.Input(o_row, first) * g_.columns.in;
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
