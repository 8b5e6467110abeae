#include "ops/distance/gradient.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "lanewise/runtime.h"

namespace lanewise::distance {
namespace {

constexpr int64_t kTerms = kSumBlock;

// A unit's rows and sums take 128 KB each, and the panel of 64 other rows as much, so that a thread
// stays within half of a small L2.
constexpr int64_t kPieceBytes = int64_t{128} << 10;
// Rows enough to amortise the packing of the panels that they meet: copies of 1/240 of the terms.
constexpr int64_t kMostRows = 240, kFewestRows = 48;
// Lines of grad and d that are fetched ahead: 4096 × 4096 gradients of 64 coordinates then take
// 94 ms and not 122 (one thread, AVX-512).
constexpr int64_t kLinesAhead = 8;
// Where coefficients take a sum over all coordinates, these are not cut before their panel has 1
// MB.
constexpr int64_t kPieceBytesWithSums = int64_t{1} << 20;

// Of a view's axis that is `back` axes before its last, 0 where it has none; or its length is 1.
int64_t StrideOf(const TensorView& view, int axis) {
  return axis >= 0 && view.shape[axis] != 1 ? view.strides[axis] : 0;
}

// The leading axes, all before the last `inner` of x and y and the last `grad_inner` of grad.
void AppendLeadingAxes(int inner, int grad_inner, Walk* walk) {
  const int leading = walk->grad.rank - grad_inner;
  for (int axis = 0; axis < leading; ++axis) {
    const int64_t size = walk->grad.shape[axis];
    const int x_axis = axis - leading + (walk->x.rank - inner);
    const int64_t y = StrideOf(walk->y, axis - leading + (walk->y.rank - inner));
    const int64_t grad = walk->grad.strides[axis], d = walk->d.strides[axis];
    if (x_axis >= 0 && walk->x.shape[x_axis] == size) {
      const int64_t x = walk->x.strides[x_axis], out = walk->out.strides[x_axis];
      const bool rows = grad_inner == 0 && y == 0 && size > 1 && walk->rows == 1;
      if (rows) {  // they meet the same y
        walk->rows = size;
        walk->x_row = x, walk->grad_row = grad, walk->d_row = d, walk->out_row = out;
      } else {
        walk->batch.Append(size, {x, y, grad, d, out});
      }
    } else {
      walk->terms.Append(size, {y, grad, d});
    }
  }
}

}  // namespace

Walk WalkPairwise(const TensorView& x, const TensorView& y, const TensorView& grad,
                  const TensorView& d, const TensorView& out, bool columns) {
  Walk walk{x, y, grad, d, out};
  const int last = grad.rank - 1, rows = columns ? last : last - 1,
            terms = columns ? last - 1 : last;
  walk.rows = grad.shape[rows];
  walk.x_row = x.strides[x.rank - 2];
  walk.grad_row = grad.strides[rows];
  walk.d_row = d.strides[rows];
  walk.out_row = out.strides[out.rank - 2];
  AppendLeadingAxes(2, 2, &walk);
  walk.terms.Append(grad.shape[terms],
                    {y.strides[y.rank - 2], grad.strides[terms], d.strides[terms]});
  return walk;
}

Walk WalkPaired(const TensorView& x, const TensorView& y, const TensorView& grad,
                const TensorView& d, const TensorView& out) {
  Walk walk{x, y, grad, d, out};
  AppendLeadingAxes(1, 0, &walk);
  return walk;
}

// One unit after the other, in one thread's scratch.
template <class T>
class Gradient<T>::Block {
 public:
  Block(const Gradient& gradient, Scratch scratch)
      : g_(gradient),
        kernels_(gradient.kernels_),
        recipe_(gradient.recipe_),
        walk_(gradient.walk_),
        mr_(kernels_.mr),
        lanes_(kernels_.lanes) {
    ForEachPiece(g_, [&](auto piece, int64_t count) { scratch.TakeFor(this, piece, count); });
    if (recipe_.unit) std::fill_n(ones_, kTerms * lanes_, T(1));
  }

  static size_t ScratchBytes(const Gradient& gradient) {
    size_t bytes = 0;
    ForEachPiece(gradient,
                 [&](auto piece, int64_t count) { bytes += Scratch::BytesFor(piece, count); });
    return bytes;
  }

  // Rows [row, row + rows) and coordinates [first, last) of the matrices at `offsets`.
  void Run(const typename MergedAxes<5>::Offsets& offsets, int64_t row, int64_t rows,
           int64_t piece) {
    offsets_ = offsets;
    row_ = row;
    rows_ = rows;
    const int64_t terms = walk_.terms.count();
    if (recipe_.unit) {
      for (int64_t i = 0; i < rows; ++i) {
        x_units_[i] = UnitOf(XRow(i), walk_.coordinates(), recipe_.centred);
      }
    }
    ClearLastTile();
    SeePiece(piece);
    PackRows();
    for (int64_t begin = 0; begin < terms; begin += kTerms) {
      terms_ = std::min(kTerms, terms - begin);
      FindTerms(begin);
      if (recipe_.sums == PairSum::kNone) {
        PackPanel();
      } else {
        SumPairs(piece);
      }
      const bool trusted = FindCoefficients();
      for (int64_t i = 0; i < rows; i += mr_) Accumulate(i, begin == 0);
      if (!trusted) AddExactSlopes();
    }
    Store(terms == 0);
  }

 private:
  // Terms that are evenly spaced.
  struct TermRun {
    int64_t at, length, grad, d;
  };

  template <class F>
  static void ForEachPiece(const Gradient& g, const F& f) {
    const int64_t rows = RoundUp(g.rows_.longest(), g.kernels_.mr), lanes = g.kernels_.lanes;
    const int64_t coordinates = g.coordinates_.longest();
    f(&Block::x_, rows * coordinates);
    f(&Block::totals_, rows * coordinates);
    f(&Block::panel_, kTerms * coordinates);
    f(&Block::out_row_, coordinates);
    f(&Block::c_, rows * kTerms);
    if (g.recipe_.second) f(&Block::s_, rows * kTerms);
    if (g.recipe_.sums != PairSum::kNone) f(&Block::sums_, rows * kTerms);
    f(&Block::runs_, kTerms);
    f(&Block::y_offsets_, kTerms);
    f(&Block::grad_line_, std::max(rows, kTerms));
    f(&Block::d_line_, std::max(rows, kTerms));
    if (g.along_rows_) {
      f(&Block::c_lines_, kTerms * rows);
      if (g.recipe_.second) f(&Block::s_lines_, kTerms * rows);
      if (g.recipe_.sums != PairSum::kNone) f(&Block::sum_lines_, kTerms * rows);
    }
    if (g.recipe_.unit) {
      f(&Block::ones_, kTerms * lanes);
      f(&Block::row_totals_, rows * lanes);
      f(&Block::x_units_, rows);
      f(&Block::y_units_, kTerms);
    }
  }

  Row<T> XRow(int64_t i) const {
    return {g_.x_ + (offsets_[0] + (row_ + i) * walk_.x_row), walk_.x.strides[walk_.x.rank - 1]};
  }
  Row<T> YRow(int64_t j) const {
    return {g_.y_ + (offsets_[1] + y_offsets_[j]), walk_.y.strides[walk_.y.rank - 1]};
  }

  void SeePiece(int64_t piece) {
    first_ = g_.coordinates_.begin(piece);
    count_ = g_.coordinates_.end(piece) - first_;
    vectors_ = CeilDiv(count_, lanes_);
  }

  // Rows of a tile that are not there are computed as well, so they are given something to read.
  void ClearLastTile() {
    const int64_t end = rows_ == 1 ? 1 : RoundUp(rows_, mr_);
    const int64_t missing = (end - rows_) * kTerms;
    std::fill_n(c_ + rows_ * kTerms, missing, T(0));
    if (recipe_.second) std::fill_n(s_ + rows_ * kTerms, missing, T(0));
  }

  // to[v·step + lane] = the coordinates of this piece, 0 in lanes past the last.
  [[gnu::noinline]] void PackRow(const Row<T>& row, const Unit* unit, T* to, int64_t step) const {
    const Source<T> from = row.source + first_ * row.stride;
    for (int64_t k = 0; k < count_; k += lanes_, to += step) {
      const int64_t n = std::min(lanes_, count_ - k);
      if (from.native() && row.stride == 1) {
        std::copy_n(from.InPlace() + k, n, to);
      } else {
        (from + k * row.stride).Read(row.stride, n, to);
      }
      if (unit != nullptr) {
        std::transform(to, to + n, to, [&](T value) { return unit->Of(value); });
      }
      std::fill(to + n, to + lanes_, T(0));
    }
  }

  // Where vector 0 of row i is, among rows and totals.
  int64_t At(int64_t i) const { return (i / mr_ * vectors_ * mr_ + i % mr_) * lanes_; }

  [[gnu::noinline]] void PackRows() {
    for (int64_t i = 0; i < rows_; ++i) {
      PackRow(XRow(i), recipe_.unit ? x_units_ + i : nullptr, x_ + At(i), mr_ * lanes_);
    }
    if (rows_ == 1) return;
    for (int64_t i = rows_; i < RoundUp(rows_, mr_); ++i) {
      for (int64_t v = 0; v < vectors_; ++v) {
        std::fill_n(x_ + At(i) + v * mr_ * lanes_, lanes_, T(0));
      }
    }
  }

  // Where terms [begin, begin + terms_) are.
  void FindTerms(int64_t begin) {
    int64_t at = 0;
    run_count_ = 0;
    walk_.terms.ForEachRun(begin, begin + terms_, [&](int64_t length, const auto& offsets) {
      runs_[run_count_++] = {at, length, offsets[1], offsets[2]};
      for (int64_t i = 0; i < length; ++i) {
        y_offsets_[at++] = offsets[0] + i * walk_.terms.inner_stride(0);
      }
    });
    if (!recipe_.unit) return;
    for (int64_t j = 0; j < terms_; ++j) {
      y_units_[j] = UnitOf(YRow(j), walk_.coordinates(), recipe_.centred);
    }
  }

  [[gnu::noinline]] void PackPanel() {
    for (int64_t j = 0; j < terms_; ++j) {
      PackRow(YRow(j), recipe_.unit ? y_units_ + j : nullptr, panel_ + j * lanes_, kTerms * lanes_);
    }
  }

  // Leaves the rows and panel of `own`.
  void SumPairs(int64_t own) {
    const int64_t pieces = g_.coordinates_.count;
    for (int64_t piece = 0; piece < pieces; ++piece) {
      SeePiece(piece);
      if (pieces > 1) PackRows();
      PackPanel();
      for (int64_t i = 0; i < rows_; i += mr_) {
        const auto sum =
            recipe_.sums == PairSum::kSizes ? kernels_.sums_of_sizes : kernels_.largest_differences;
        sum(Tile(i), sums_ + i * kTerms, piece == 0);
      }
    }
    if (own == pieces - 1) return;
    SeePiece(own);
    PackRows();
    PackPanel();
  }

  // A line of grad or d, widened or gathered into `buffer` where that has to be. If there are more
  // lines, `step` elements apart, one that comes soon is fetched: lines of a few hundred bytes are
  // too short for the memory's own prefetchers.
  [[gnu::noinline]] static const T* Line(const Source<T>& from, int64_t stride, int64_t n,
                                         int64_t step, bool more, T* buffer) {
    const T* line = from.Line(stride, n, buffer);
    if (more && line != buffer) {
      const T* next = line + kLinesAhead * step;
      for (int64_t k = 0; k < n; k += 64 / int64_t{sizeof(T)}) __builtin_prefetch(next + k);
    }
    return line;
  }

  // c and s of n pairs along a line of grad and d.
  [[gnu::noinline]] bool FindLine(int64_t grad, int64_t d, bool more, const T* sums, int64_t n,
                                  T* c, T* s) {
    const auto line = [&](const Source<T>& from, int array, int64_t row, T* buffer) {
      const int64_t term = walk_.terms.inner_stride(array);
      return g_.along_rows_ ? Line(from, row, n, term, more, buffer)
                            : Line(from, term, n, row, more, buffer);
    };
    PairsOfRows<T> pairs{};
    pairs.g = line(g_.grad_ + (offsets_[2] + grad), 1, walk_.grad_row, grad_line_);
    if (recipe_.needs_distances()) {
      pairs.d = line(g_.d_ + (offsets_[3] + d), 2, walk_.d_row, d_line_);
    }
    pairs.sums = sums;
    return kernels_.coefficients[static_cast<int>(recipe_.coefficient)](pairs, n, c, s);
  }

  // All of c_ and s_; false if some are not trusted.
  bool FindCoefficients() {
    return g_.along_rows_ ? FindCoefficientsAlongRows() : FindCoefficientsAlongTerms();
  }

  bool FindCoefficientsAlongTerms() {
    bool trusted = true;
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t r = 0; r < run_count_; ++r) {
        const TermRun& run = runs_[r];
        const auto at = [&](T* rows) {
          return rows == nullptr ? nullptr : rows + i * kTerms + run.at;
        };
        trusted &=
            FindLine(run.grad + (row_ + i) * walk_.grad_row, run.d + (row_ + i) * walk_.d_row,
                     i + kLinesAhead < rows_, at(sums_), run.length, at(c_), at(s_));
      }
    }
    return trusted;
  }

  bool FindCoefficientsAlongRows() {
    if (sums_ != nullptr) kernels_.transpose(sums_, kTerms, rows_, terms_, sum_lines_, rows_);
    bool trusted = true;
    for (int64_t r = 0; r < run_count_; ++r) {
      const TermRun& run = runs_[r];
      for (int64_t j = 0; j < run.length; ++j) {
        const auto at = [&](T* lines) {
          return lines == nullptr ? nullptr : lines + (run.at + j) * rows_;
        };
        trusted &= FindLine(run.grad + j * walk_.terms.inner_stride(1) + row_ * walk_.grad_row,
                            run.d + j * walk_.terms.inner_stride(2) + row_ * walk_.d_row,
                            j + kLinesAhead < run.length, at(sum_lines_), rows_, at(c_lines_),
                            at(s_lines_));
      }
    }
    kernels_.transpose(c_lines_, rows_, terms_, rows_, c_, kTerms);
    if (s_ != nullptr) kernels_.transpose(s_lines_, rows_, terms_, rows_, s_, kTerms);
    return trusted;
  }

  SlopeTile<T> Tile(int64_t i) const {
    SlopeTile<T> tile{};
    tile.count = std::min(mr_, rows_ - i);
    tile.terms = terms_;
    tile.vectors = vectors_;
    tile.rows = x_ + At(i);
    tile.panel = panel_;
    tile.c = c_ + i * kTerms;
    tile.s = s_ == nullptr ? nullptr : s_ + i * kTerms;
    return tile;
  }

  void Accumulate(int64_t i, bool first) {
    SlopeTile<T> tile = Tile(i);
    kernels_.accumulate[static_cast<int>(recipe_.slope)](tile, recipe_.p, totals_ + At(i), first);
    if (!recipe_.unit) return;
    // Σ g·d of each row, in the same order, as s times 1.
    tile.c = tile.s;
    tile.panel = ones_;
    tile.vectors = 1;
    kernels_.accumulate[static_cast<int>(Slope::kProduct)](tile, 0, row_totals_ + i * lanes_,
                                                           first);
  }

  // Coefficients that are not trusted are 0; their terms are added after the block's.
  void AddExactSlopes() {
    for (int64_t i = 0; i < rows_; ++i) {
      for (int64_t r = 0; r < run_count_; ++r) {
        for (int64_t j = 0; j < runs_[r].length; ++j) {
          if (c_[i * kTerms + runs_[r].at + j] == 0) AddExactSlope(i, runs_[r], j);
        }
      }
    }
  }
  void AddExactSlope(int64_t i, const TermRun& run, int64_t j) {
    T grad, d;
    (g_.grad_ +
     (offsets_[2] + run.grad + j * walk_.terms.inner_stride(1) + (row_ + i) * walk_.grad_row))
        .Read(1, 1, &grad);
    (g_.d_ + (offsets_[3] + run.d + j * walk_.terms.inner_stride(2) + (row_ + i) * walk_.d_row))
        .Read(1, 1, &d);
    if (d == 0) return;  // as in a block that is trusted, also where d was rounded to 0
    const int64_t term = run.at + j;
    double size = 0;
    if (recipe_.sums == PairSum::kSizes) size = SizeOf(XRow(i), YRow(term), walk_.coordinates());
    if (recipe_.sums == PairSum::kLargest && !std::isnan(d)) d = sums_[i * kTerms + term];
    for (int64_t k = 0; k < count_; ++k) {
      const int64_t v = k / lanes_, lane = k % lanes_, at = At(i) + v * mr_ * lanes_ + lane;
      const T y = panel_[(v * kTerms + term) * lanes_ + lane];
      totals_[at] += static_cast<T>(ExactSlope(recipe_, x_[at], y, grad, d, size));
    }
  }

  // Totals to results, row by row.
  void Store(bool empty) const {
    for (int64_t i = 0; i < rows_; ++i) {
      int64_t at = At(i);
      for (int64_t k = 0; k < count_; k += lanes_, at += mr_ * lanes_) {
        const int64_t n = std::min(lanes_, count_ - k);
        for (int64_t lane = 0; lane < n; ++lane) {
          out_row_[k + lane] = empty ? T(0) : Finished(i, at + lane);
        }
      }
      const int64_t stride = walk_.out.strides[walk_.out.rank - 1];
      g_.results_.Write(out_row_, count_,
                        offsets_[4] + (row_ + i) * walk_.out_row + first_ * stride, stride);
    }
  }
  T Finished(int64_t i, int64_t at) const {
    if (!recipe_.unit) return static_cast<T>(recipe_.factor) * totals_[at];
    return x_units_[i].Gradient(totals_[at], x_[at], row_totals_[i * lanes_]);
  }

  const Gradient& g_;
  const DistanceBackwardKernels<T>& kernels_;
  const SlopeRecipe& recipe_;
  const Walk& walk_;
  const int64_t mr_, lanes_;
  typename MergedAxes<5>::Offsets offsets_{};
  int64_t row_ = 0, rows_ = 0, terms_ = 0, run_count_ = 0;
  int64_t first_ = 0, count_ = 0, vectors_ = 0;  // coordinates of this piece
  // Scratch.
  T* x_ = nullptr;                                                    // [tile][vector][MR][lanes]
  T* totals_ = nullptr;                                               // likewise
  T* panel_ = nullptr;                                                // [vector][64][lanes]
  T* out_row_ = nullptr;                                              // a row of results
  T *c_ = nullptr, *s_ = nullptr, *sums_ = nullptr;                   // [row][64]
  T *c_lines_ = nullptr, *s_lines_ = nullptr, *sum_lines_ = nullptr;  // [term][row]
  T *grad_line_ = nullptr, *d_line_ = nullptr;  // as they are widened or gathered
  TermRun* runs_ = nullptr;
  int64_t* y_offsets_ = nullptr;
  T *ones_ = nullptr, *row_totals_ = nullptr;  // [64][lanes] and [row][lanes]
  Unit *x_units_ = nullptr, *y_units_ = nullptr;
};

template <class T>
Gradient<T>::Gradient(const SlopeRecipe& recipe, const Walk& walk)
    : kernels_(DistanceBackwardKernelsFor<T>(ActiveTarget())),
      recipe_(recipe),
      walk_(walk),
      x_(walk.x),
      y_(walk.y),
      grad_(walk.grad),
      d_(walk.d),
      results_(walk.out) {
  const int64_t term_stride = std::abs(walk.terms.inner_stride(1));
  along_rows_ = walk.rows > 1 && (walk.terms.count() == 1 || std::abs(walk.grad_row) < term_stride);
}

template <class T>
double Gradient<T>::total_ns() const {
  if (walk_.empty()) return 0;
  const double rows = double(walk_.batch.count()) * double(walk_.rows);
  const double d = double(walk_.coordinates());
  return rows * (double(walk_.terms.count()) * (d * recipe_.term_ns + 1) + d + 50);
}

template <class T>
void Gradient<T>::Plan(double all_ns) {
  if (walk_.empty()) return;
  const int64_t d = walk_.coordinates(), mr = kernels_.mr, lanes = kernels_.lanes;
  const int64_t threads = ThreadsFor(all_ns), batch = walk_.batch.count();
  const bool sums = recipe_.sums != PairSum::kNone;
  const int64_t piece = (sums ? kPieceBytesWithSums : kPieceBytes) / kTerms / int64_t{sizeof(T)};
  // Four tasks for each thread, as far as there are rows enough to amortise what is packed.
  const int64_t pieces = threads == 1 ? 1 : CeilDiv(4 * threads, batch);
  const int64_t coordinates = std::min(RoundUp(d, lanes), piece);
  const int64_t most_rows =
      std::clamp<int64_t>(kPieceBytes / int64_t{sizeof(T)} / coordinates / mr * mr, mr, kMostRows);
  rows_ = Split(walk_.rows, mr, most_rows,
                std::max<int64_t>(1, std::min(pieces, walk_.rows / kFewestRows)));
  // Few rows share their coordinates out, unless sums over all of these depend on the cut.
  const bool cut = !sums && batch * rows_.count < threads;
  coordinates_ = Split(d, lanes, piece, cut ? CeilDiv(threads, batch * rows_.count) : 1);
  units_ = batch * rows_.count * coordinates_.count;
  // Tasks of some 50 µs.
  const int64_t per_task = static_cast<int64_t>(5e4 * double(units_) / (total_ns() + 1));
  units_per_task_ = std::clamp<int64_t>(per_task, 1, CeilDiv(units_, 4 * threads));
}

template <class T>
size_t Gradient<T>::ScratchBytes() const {
  return walk_.empty() ? 0 : Block::ScratchBytes(*this);
}

template <class T>
void Gradient<T>::Run(int64_t task, Scratch scratch) const {
  Block block(*this, scratch);
  const int64_t end = std::min(units_, (task + 1) * units_per_task_);
  for (int64_t unit = task * units_per_task_; unit < end; ++unit) {
    const int64_t piece = unit % coordinates_.count, rest = unit / coordinates_.count;
    const int64_t rows = rest % rows_.count;
    block.Run(walk_.batch.OffsetsOf(rest / rows_.count), rows_.begin(rows),
              rows_.end(rows) - rows_.begin(rows), piece);
  }
}

template class Gradient<float>;
template class Gradient<double>;

}  // namespace lanewise::distance
