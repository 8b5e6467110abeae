// The gradient of an average: a pixel sums the quotients dy / count of the windows that cover it.
//
//   task     an image × a block of channels × a tile of x: all channels of the block together where
//            they are neighbours in memory ("pixels"), else one plane after the other
//     quotients   of all windows over the tile, and zeros where there is no window
//     run of rows, run of columns   (ops/pool/covering.h) the quotients are summed down columns,
//            the sums along rows, and these sums are the results of the run's pixels
//
// Which terms are summed in which order follows from the axes alone: tiles, planes and pixels, and
// whether a tile's quotients are in scratch at the same time change no bit.
#include <algorithm>
#include <cstdlib>

#include "kernels/kernels.h"
#include "lanewise/pool.h"
#include "ops/elements.h"
#include "ops/pool/covering.h"
#include "ops/pool/geometry.h"
#include "runtime/cpu.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace pool {
namespace {

constexpr const char* kOp = "avg_pool2d_backward";

// One call: where everything is, and how windows lie over the pixels.
struct Problem {
  Geometry g;
  Strides dy, out;
  bool count_include_pad;

  // One window over all of x makes its image a row of pixels, and planes in line a row of these.
  void MergeWhole() {
    const auto whole = [](const WindowAxis& axis) {
      return axis.out == 1 && axis.window == axis.in && axis.dilation == 1 && axis.before == 0 &&
             axis.after == 0;
    };
    const int64_t rows = g.rows.in, columns = g.columns.in, pixels = rows * columns;
    if (!whole(g.rows) || !whole(g.columns) ||
        (rows > 1 && columns > 1 && out.row != columns * out.column)) {
      return;
    }
    if (columns == 1) out.column = out.row;
    g.rows = {1, 1, 1, 1, 0, 0, 1};
    g.columns = {pixels, pixels, pixels, 1, 0, 0, 1};
    if (g.channels > 1 && out.channel == pixels * out.column) {
      g.columns.in *= g.channels;
      g.columns.out = g.channels;
      g.channels = 1;
      dy.column = dy.channel;
    }
  }
};

struct Plan {
  const int64_t size;  // of an element
  const Covering rows, columns;
  bool pixels;            // the channels of a pixel are processed as neighbours
  bool chunked = false;   // too many rows of quotients for scratch: sums are made of parts
  int64_t depth;          // most channels at a time
  int64_t height, width;  // most of a tile, in strides
  Split channels, row_tiles, column_tiles;
  double total_ns;

  Plan(const Problem& problem, int64_t element_size)
      : size(element_size),
        rows(problem.g.rows),
        columns(problem.g.columns),
        pixels(problem.g.channels > 1 && problem.out.channel == 1),
        height(rows.end() - rows.begin()),
        width(columns.end() - columns.begin()) {
    const Geometry& g = problem.g;
    const int64_t line = 64 / size;
    const bool overlap = rows.most > 1 || columns.most > 1;
    depth = pixels ? std::min(g.channels, overlap ? 4 * line : 1024) : 1;
    FitTile(overlap);

    const double plane_ns = 0.5 * double(g.rows.in) * double(g.columns.in);
    total_ns = double(g.images) * double(g.channels) * plane_ns;
    // Tasks of 10 µs; rows are cut where there are too few otherwise.
    const int64_t planes = static_cast<int64_t>(std::min(1 + 10e3 / plane_ns, double(g.channels)));
    channels = pixels ? Split(g.channels, line, depth) : Split(g.channels, 1, planes);
    depth = pixels ? channels.longest() : 1;
    column_tiles = Split(columns.end() - columns.begin(), 1, width);
    const int64_t threads = ThreadsFor(total_ns), all = rows.end() - rows.begin();
    const int64_t bands = CeilDiv(4 * threads, g.images * channels.count * column_tiles.count);
    const int64_t thinnest = std::max<int64_t>(4, Halo(rows));
    row_tiles = Split(all, 1, height,
                      threads == 1 ? 1 : std::min(bands, std::max<int64_t>(1, all / thinnest)));
    height = row_tiles.longest();
    width = column_tiles.longest();
  }

  // Rows or columns of quotients beyond those of the tile.
  static int64_t Halo(const Covering& axis) { return axis.high - axis.low; }
  int64_t QuotientRows() const { return chunked ? ChunkRows() : height + Halo(rows); }
  int64_t QuotientColumns() const { return width + Halo(columns); }
  int64_t RowSize() const { return QuotientColumns() * depth; }

  // Where sums down columns are made of parts: terms of a part, rows that this needs, and how often
  // parts are joined.
  int64_t PartTerms() const {
    int64_t terms = 1;
    while (height + 2 * terms * rows.step <= kChunkRows) terms *= 2;
    return terms;
  }
  int64_t ChunkRows() const { return height + (PartTerms() - 1) * rows.step; }
  int64_t Joins() const {
    int64_t joins = 0;
    for (int64_t terms = PartTerms(); terms < rows.most; terms *= 2) ++joins;
    return joins + 1;
  }

  size_t ScratchBytes() const {
    const auto bytes = [&](int64_t n) { return Scratch::Bytes<char>(n * RowSize() * size); };
    return 2 * bytes(QuotientRows()) + 2 * bytes(height) + (chunked ? bytes(Joins() * height) : 0) +
           3 * bytes(1) + Scratch::Bytes<double>(QuotientColumns());
  }

 private:
  static constexpr int64_t kChunkRows = 64;

  void FitTile(bool overlap) {
    const size_t wanted = overlap ? Caches().l2 / 4 : Caches().l1;
    const int64_t halo_rows = std::max<int64_t>(8, Halo(rows));
    const int64_t halo_columns = std::max<int64_t>(8, Halo(columns));
    while (ScratchBytes() > wanted) {
      const bool tall = height > halo_rows, wide = width > halo_columns;
      // More than half of a tile would be its neighbours' too.
      if (!tall && !wide && ScratchBytes() <= Caches().l2 / 2) return;
      if (tall || (!wide && height > 8)) {
        height = CeilDiv(height, 2);
      } else if (width > 8) {
        width = CeilDiv(width, 2);
      } else if (!chunked && height + Halo(rows) > kChunkRows) {
        chunked = true;
        width = std::min(columns.end() - columns.begin(), halo_columns);
      } else {
        return;  // a few windows' columns
      }
    }
  }
};

template <class T>
class AverageTile {
 public:
  AverageTile(const PoolBackwardKernels<T>& kernels, const Problem& problem, const Plan& plan,
              Scratch scratch)
      : kernels_(kernels), problem_(problem), plan_(plan), g_(problem.g) {
    quotients_ = scratch.Take<T>(plan.QuotientRows() * plan.RowSize());
    spare_ = scratch.Take<T>(plan.QuotientRows() * plan.RowSize());
    down_ = scratch.Take<T>(plan.height * plan.RowSize());
    along_ = scratch.Take<T>(plan.height * plan.RowSize());
    if (plan.chunked) parts_ = scratch.Take<T>(plan.Joins() * plan.height * plan.RowSize());
    given_ = scratch.Take<T>(plan.RowSize());
    divisors_ = scratch.Take<T>(plan.RowSize());
    zeros_ = scratch.Take<T>(plan.RowSize());
    counts_ = scratch.Take<double>(plan.QuotientColumns());
    kernels_.clear(zeros_, 1, 0, plan.RowSize());
  }

  // dy and out point to the image and its first channel. The tile is [row_begin, row_end) ×
  // [column_begin, column_end), in strides.
  void Run(const Source<T>& dy, const Sink<T>& out, int64_t depth, int64_t row_begin,
           int64_t row_end, int64_t column_begin, int64_t column_end) {
    dy_ = dy;
    out_ = out;
    depth_ = depth;
    row_begin_ = row_begin, row_end_ = row_end;
    column_begin_ = column_begin, column_end_ = column_end;
    row_size_ = (column_end - column_begin + Plan::Halo(plan_.columns)) * depth;
    CountColumns();
    if (!plan_.chunked) {
      Load(row_begin + plan_.rows.low, row_end - row_begin + Plan::Halo(plan_.rows));
    }
    plan_.rows.ForEachRun([&](const CoveredRun& rows) {
      const T* down = rows.terms == 0 ? nullptr : SumsDown(rows);
      plan_.columns.ForEachRun([&](const CoveredRun& columns) {
        const bool covered = rows.terms > 0 && columns.terms > 0;
        Store(rows, columns, covered ? SumsAlong(down, columns) : nullptr);
      });
    });
  }

 private:
  int64_t TileRows() const { return row_end_ - row_begin_; }

  // ------------------------------------------------------------------------------- quotients

  int64_t Taps(const WindowAxis& axis, int64_t o) const {
    return problem_.count_include_pad ? PaddedTaps(axis, o) : EndTap(axis, o) - FirstTap(axis, o);
  }

  // Windows [window_begin_, window_end_) of a row are there, the first at place first_place_.
  void CountColumns() {
    const int64_t first = column_begin_ + plan_.columns.low, columns = row_size_ / depth_;
    window_begin_ = std::clamp<int64_t>(first, 0, g_.columns.out);
    window_end_ = std::clamp<int64_t>(first + columns, window_begin_, g_.columns.out);
    first_place_ = std::min(columns, window_begin_ - first);
    for (int64_t o = window_begin_; o < window_end_; ++o) {
      counts_[o - window_begin_] = static_cast<double>(Taps(g_.columns, o));
    }
    divided_by_ = 0;
  }

  // The quotients of `rows` rows of windows from o on.
  void Load(int64_t o, int64_t rows) {
    for (T* to = quotients_; rows > 0; --rows, ++o, to += row_size_) {
      const int64_t windows = window_end_ - window_begin_;
      if (o < 0 || o >= g_.rows.out || windows == 0) {
        kernels_.clear(to, 1, 0, row_size_);
        continue;
      }
      const int64_t count = Taps(g_.rows, o);
      if (count != divided_by_) {
        divided_by_ = count;
        for (int64_t i = 0; i < windows; ++i) {
          divisors_[i] = static_cast<T>(static_cast<double>(count) * counts_[i]);
        }
      }
      T* const first = to + first_place_ * depth_;
      T* const end = first + windows * depth_;
      kernels_.clear(to, 1, 0, first - to);
      ptrdiff_t step = problem_.dy.column;
      const T* from = Given(o, windows, &step);
      kernels_.quotients(from, step, windows, depth_, divisors_, first);
      kernels_.clear(end, 1, 0, to + row_size_ - end);
    }
  }

  // A row of dy, in place or in scratch.
  const T* Given(int64_t o, int64_t windows, ptrdiff_t* step) const {
    const int64_t column = problem_.dy.column, channel = problem_.dy.channel;
    const Source<T> row = dy_ + (o * problem_.dy.row + window_begin_ * column);
    if (row.native() && (depth_ == 1 ? column == 1 : channel == 1)) return row.InPlace();
    *step = depth_;
    if (depth_ == 1) {
      row.Read(column, windows, given_);
    } else if (channel == 1 && column == depth_) {
      row.Read(1, windows * depth_, given_);
    } else {
      for (int64_t i = 0; i < windows; ++i) {
        (row + i * column).Read(channel, depth_, given_ + i * depth_);
      }
    }
    return given_;
  }

  // ------------------------------------------------------------------------------------ sums

  // Per row of the tile, the sums over the run's rows of windows.
  const T* SumsDown(const CoveredRun& run) {
    if (plan_.chunked) {
      Chunked(row_begin_ + run.first, run.terms);
      return down_;
    }
    const T* first = quotients_ + (run.first - plan_.rows.low) * row_size_;
    if (run.terms == 1) return first;
    kernels_.window_sums(first, TileRows() * row_size_, plan_.rows.step * row_size_, run.terms,
                         spare_, down_);
    return down_;
  }

  // The same in the order of `window_sums`, with fewer rows of quotients in scratch at a time.
  void Chunked(int64_t o, int64_t terms) {
    const int64_t size = TileRows() * row_size_;
    bool first = true;
    for (int64_t power = 1; terms > 0; power *= 2) {
      if ((terms & power) == 0) continue;
      Part(o, power, first ? down_ : parts_, first ? parts_ : parts_ + size);
      if (!first) kernels_.add(down_, parts_, size, down_);
      first = false;
      terms -= power;
      o += power * plan_.rows.step;
    }
  }

  // to = sums over `terms` rows, a power of two. `room` holds the second halves.
  void Part(int64_t o, int64_t terms, T* to, T* room) {
    const int64_t size = TileRows() * row_size_;
    if (terms <= plan_.PartTerms()) {
      Load(o, TileRows() + (terms - 1) * plan_.rows.step);
      if (terms == 1) {
        std::copy_n(quotients_, size, to);
      } else {
        kernels_.window_sums(quotients_, size, plan_.rows.step * row_size_, terms, spare_, to);
      }
      return;
    }
    Part(o, terms / 2, to, room);
    Part(o + terms / 2 * plan_.rows.step, terms / 2, room, room + size);
    kernels_.add(to, room, size, to);
  }

  // Per place of the tile, the sums over the run's columns; what follows in a row means nothing.
  const T* SumsAlong(const T* down, const CoveredRun& run) {
    const T* first = down + (run.first - plan_.columns.low) * depth_;
    if (run.terms == 1) return first;
    const int64_t distance = plan_.columns.step * depth_;
    const int64_t rest = (run.first - plan_.columns.low) * depth_ + (run.terms - 1) * distance;
    kernels_.window_sums(first, TileRows() * row_size_ - rest, distance, run.terms, spare_, along_);
    return along_;
  }

  // --------------------------------------------------------------------------------- results

  // The pixels where two runs meet: their sums, or zeros if null.
  void Store(const CoveredRun& rows, const CoveredRun& columns, const T* sums) const {
    const WindowAxis& axis = plan_.rows.axis();
    for (int64_t j = row_begin_; j < row_end_; ++j) {
      for (int64_t p = rows.begin; p < rows.end; ++p) {
        const int64_t h = j * axis.stride + p - axis.before;
        if (h < 0 || h >= axis.in) continue;
        StoreRow(out_ + h * problem_.out.row, columns,
                 sums == nullptr ? nullptr : sums + (j - row_begin_) * row_size_);
      }
    }
  }

  void StoreRow(const Sink<T>& row, const CoveredRun& run, const T* sums) const {
    const WindowAxis& axis = plan_.columns.axis();
    const int64_t stride = axis.stride, begin = axis.before, end = axis.before + axis.in;
    // Strides [whole_begin, whole_end) have all of the run in the image.
    const int64_t whole_begin =
        std::clamp(CeilDiv(begin - run.begin, stride), column_begin_, column_end_);
    const int64_t whole_end =
        end < run.end ? whole_begin
                      : std::clamp((end - run.end) / stride + 1, whole_begin, column_end_);
    const auto store = [&](int64_t j, int64_t n) {
      const int64_t from = std::max(begin, j * stride + run.begin);
      const int64_t to = std::min(end, j * stride + run.end);
      if (from >= to) return;
      Spread(sums == nullptr ? zeros_ : sums + (j - column_begin_) * depth_, n, to - from,
             row + (from - begin) * problem_.out.column,
             n > 1 ? stride * problem_.out.column : 0);  // no overflow of a stride never taken
    };
    for (int64_t j = column_begin_; j < whole_begin; ++j) store(j, 1);
    if (whole_begin < whole_end) store(whole_begin, whole_end - whole_begin);
    for (int64_t j = whole_end; j < column_end_; ++j) store(j, 1);
  }

  // n pixels, each `times` times in a row.
  void Spread(const T* from, int64_t n, int64_t times, const Sink<T>& to, int64_t step) const {
    const int64_t column = problem_.out.column, channel = problem_.out.channel;
    if (to.native() && (depth_ == 1 || channel == 1)) {
      return kernels_.repeat(from, n, depth_, times, to.InPlace(), column, step);
    }
    for (int64_t k = 0; k < times; ++k) {
      const Sink<T> first = to + k * column;
      if (depth_ == 1) {
        first.Write(from, n, step);
      } else if (channel == 1 && step == depth_) {
        first.Write(from, n * depth_, 1);
      } else {
        for (int64_t i = 0; i < n; ++i) {
          (first + i * step).Write(from + i * depth_, depth_, channel);
        }
      }
    }
  }

  const PoolBackwardKernels<T>& kernels_;
  const Problem& problem_;
  const Plan& plan_;
  const Geometry& g_;
  Source<T> dy_;
  Sink<T> out_;
  int64_t depth_, row_begin_, row_end_, column_begin_, column_end_;
  int64_t row_size_;  // elements of a row of quotients
  int64_t window_begin_, window_end_, first_place_;
  int64_t divided_by_;  // rows that the windows of the divisors have

  T *quotients_, *spare_, *down_, *along_, *parts_ = nullptr;
  T *given_, *divisors_, *zeros_;
  double* counts_;
};

template <class T>
void RunAverage(const Problem& problem, const TensorView& dy, const TensorView& out) {
  const Geometry& g = problem.g;
  const auto& kernels = PoolBackwardKernelsFor<T>(ActiveTarget());
  const Source<T> source(dy);
  const Sink<T> sink(out);
  const Plan plan(problem, sizeof(T));
  const Split &rows = plan.row_tiles, &columns = plan.column_tiles;
  const int64_t per_image = plan.channels.count * rows.count * columns.count;
  const Work work{g.images * per_image, plan.total_ns, plan.ScratchBytes()};
  ParallelFor(work, [&](int64_t task, Scratch scratch) {
    // Blocks of channels follow each other: threads that write neighbouring lines hinder each other
    // (0.35 instead of 0.14 ms for 64 channels of 112² pixels in two threads).
    const int64_t image = task / per_image, place = task % per_image / plan.channels.count;
    const int64_t row = place / columns.count, column = place % columns.count;
    const int64_t block = task % plan.channels.count;
    const int64_t end = plan.channels.end(block);
    AverageTile<T> tile(kernels, problem, plan, scratch);
    for (int64_t c = plan.channels.begin(block), depth; c < end; c += depth) {
      depth = plan.pixels ? end - c : 1;
      tile.Run(source + (image * problem.dy.image + c * problem.dy.channel),
               sink + (image * problem.out.image + c * problem.out.channel), depth,
               plan.rows.begin() + rows.begin(row), plan.rows.begin() + rows.end(row),
               plan.columns.begin() + columns.begin(column),
               plan.columns.begin() + columns.end(column));
    }
  });
}

Geometry ResolveShapes(const Shape& dy, const Shape& x, const PoolOptions& options) {
  if (x.size() != 3 && x.size() != 4) {
    Fail(kOp, ": input_shape is ", ToString(x), ", expected 4 axes, or 3 without the batch");
  }
  const Geometry g = Resolve(kOp, 2, x, options);
  const Shape expected = OutputShape(kOp, 2, x, g, options.layout);
  if (dy != expected) {
    Fail(kOp, ": dy has shape ", ToString(dy), ", expected ", ToString(expected),
         " for input_shape ", ToString(x), " and these options");
  }
  return g;
}

}  // namespace
}  // namespace pool

Shape AvgPool2dBackwardShape(const Shape& dy, const Shape& x, const PoolOptions& options) {
  pool::ResolveShapes(dy, x, options);
  return CheckedShape(pool::kOp, x);
}

void AvgPool2dBackward(const TensorView& dy, const PoolOptions& options, const TensorView& out) {
  const Shape x = CheckedShape(pool::kOp, out.sizes());
  const pool::Geometry g = pool::ResolveShapes(dy.sizes(), x, options);
  CheckView(pool::kOp, "out", out, IsFloat(dy.dtype) ? dy.dtype : DType::kFloat64, x);
  if (std::find(x.begin(), x.end(), 0) != x.end()) return;
  pool::Problem problem{g, pool::Strides(dy, options.layout, 2),
                        pool::Strides(out, options.layout, 2), options.count_include_pad};
  problem.MergeWhole();
  DispatchFloat(out.dtype, [&](auto zero) { pool::RunAverage<decltype(zero)>(problem, dy, out); });
}

}  // namespace lanewise
