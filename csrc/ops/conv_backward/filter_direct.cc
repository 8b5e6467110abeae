// Per tap a matrix product over pixels: dw[tap][c][k] = Σ x[pixel under the tap][c] · dy[pixel][k].
//
// A register tile holds the sums of a few channels of x and of dy. Pixels are packed in blocks: dy
// as [unit of channels][term][channel], x as strips [unit][line][column][channel] that have the
// padding around them, so that each tap of a line is a shift of the strip's start.
//
// The terms of a sum are cut in *chains* of about kChain: whole lines of dy's images, or a piece of
// a line. Each is one chain of multiply-adds that starts at zero; the sums of chains are added in
// order within a *slice* of them, and then those of the slices. With chains of L terms, N chains in
// a slice and S slices a result is within (L + N + S)·ε·Σ|x||dy| of the sum, ε half an ulp of 1;
// L < 2·kChain, and all three follow from the shapes only.
#include "ops/conv_backward/filter_direct.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <type_traits>

#include "kernels/kernels.h"
#include "ops/conv/pack.h"
#include "ops/strided.h"
#include "runtime/buffer.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"
#include "runtime/target.h"

namespace lanewise {
namespace {

// Bytes. Pixels of dy this narrow are read in place: 3→32 channels, 3×3, stride 2 took 0.95 ms with
// a copy and 0.80 without (two threads); 64 filters' were read from as many sets of L1 as they have
// lines, and slower by a tenth.
constexpr int64_t kDensePixel = 128;

constexpr int64_t kChain = 256;        // terms, about
constexpr int64_t kSliceTerms = 2048;  // at least, about
constexpr int64_t kMostSlices = 16;
constexpr int64_t kSliceBytes = 4 << 20;  // of the sums of all slices
constexpr int64_t kElements = 96;         // of filters that are written as planes, at a time

// ------------------------------------------------------------------------------------------ terms

// Outputs of all images of a bank in the order in which they are summed. A wide image is cut into
// `pieces` of its columns; a run is a line of a piece, numbered (image, piece, line).
struct Terms {
  int64_t images, lines, runs;
  Split pieces;
  int64_t chain;   // runs of one chain; 1 where there are several pieces
  int64_t chains;  // one without terms where there are no images
  Split slices;    // of chains

  Terms(const ConvShape& shape, int64_t images_, int64_t sums_bytes)
      : images(images_), lines(shape.h.out) {
    const int64_t width = shape.w.out;
    pieces = Split(width, 1, width, (width + kChain / 2) / kChain);
    chain = pieces.count > 1 ? 1 : std::max<int64_t>(1, (kChain + width / 2) / width);
    runs = images * pieces.count * lines;
    chains = std::max<int64_t>(1, CeilDiv(runs, chain));
    const int64_t most = std::min(kMostSlices, kSliceBytes / std::max<int64_t>(1, sums_bytes));
    const int64_t count = std::min(most, images * shape.pixels() / kSliceTerms);
    slices = Split(chains, 1, chains, std::max<int64_t>(1, count));
  }
  int64_t width(int64_t piece) const { return pieces.end(piece) - pieces.begin(piece); }
};

// Where the inputs of n neighbouring outputs under some taps stand in a strip, along one axis: that
// of output o under tap t at o·step + t·shift. They are packed in runs of `count` inputs that are
// `unit` apart, for each tap one run where that is less than all that the taps span.
struct Places {
  int64_t step, shift, runs, count, unit, run_unit;

  Places(const WindowAxis& axis, int64_t taps, int64_t n, bool side_by_side) {
    unit = taps == 1 ? axis.stride : std::gcd(axis.stride, axis.dilation);
    step = axis.stride / unit;
    shift = axis.dilation / unit;
    runs = 1;
    run_unit = axis.dilation;
    count = (n - 1) * step + (taps - 1) * shift + 1;
    if (!side_by_side && taps * n < count) *this = {1, n, taps, n, axis.stride, axis.dilation};
  }
  int64_t length() const { return runs * count; }

 private:
  Places(int64_t step_, int64_t shift_, int64_t runs_, int64_t count_, int64_t unit_, int64_t run)
      : step(step_), shift(shift_), runs(runs_), count(count_), unit(unit_), run_unit(run) {}
};

// ------------------------------------------------------------------------------------------- tiles

// How channels and taps fill register tiles. A unit is the channels that are packed side by side.
// Taps of a filter row whose inputs are neighbours are joined where channels are few: a tile is
// then some of the S·C pairs (s, c).
struct Tiling {
  bool swapped;            // lanes are channels of x, rows those of dy
  bool joined;             // there is then one unit of x, of all channels
  int64_t x_tile, y_tile;  // channels of a tile
  int64_t x_unit;
  int64_t x_units, y_units;
  int64_t taps;  // tiles of x per filter row and unit: its taps, or pieces of the joined ones

  Tiling(const ConvShape& shape, int64_t mr, int64_t nr) {
    const int64_t c = shape.group_c, k = shape.group_k, s = shape.w.window;
    const bool joinable = s > 1 && c <= kFewChannels && shape.w.stride % shape.w.dilation == 0;
    double best = 0;
    for (const bool swap : {false, true}) {
      const int64_t x = swap ? nr : mr, y = swap ? mr : nr;
      const int64_t x_part = swap ? nr / 2 : mr / 3, y_part = swap ? mr / 3 : nr / 2;
      for (const bool join : {false, true}) {
        if (join && !joinable) continue;
        // Products, and the calls of a kernel as a tenth of a tile each.
        const double tiles = join ? double(CeilDiv(s * c, x)) : double(s * CeilDiv(c, x));
        const double columns =
            join ? double(RoundUp(s * c, x_part)) : double(s * RoundUp(c, x_part));
        const double cost = (columns + 0.1 * tiles * double(x)) * double(RoundUp(k, y_part));
        // Lanes that are filters are often stored as they are.
        if (best != 0 && cost * (swap ? 1.1 : 1.0) >= best) continue;
        best = cost;
        swapped = swap;
        joined = join;
        x_tile = x;
        y_tile = y;
        x_unit = join ? c : x;
        x_units = join ? 1 : CeilDiv(c, x);
        y_units = CeilDiv(k, y);
        taps = join ? CeilDiv(s * c, x) : s;
      }
    }
  }

 private:
  static constexpr int64_t kFewChannels = 32;
};

// Some units of x and of dy, filter rows, and tiles of each row.
struct Box {
  int64_t x, x_end, y, y_end, r, r_end, t, t_end;

  int64_t rows() const { return r_end - r; }
  int64_t taps() const { return t_end - t; }
  int64_t tiles() const { return (x_end - x) * (y_end - y) * rows() * taps(); }
  // The number of a tile among those of the box: [y][x][r][t].
  int64_t Index(int64_t yi, int64_t xi, int64_t ri, int64_t ti) const {
    return (((yi - y) * (x_end - x) + xi - x) * rows() + ri - r) * taps() + ti - t;
  }
};

// The tiles of one group's filters cut into boxes: into as many as keep the sums of each in a
// quarter of L2, and at least `tasks`.
struct Boxes {
  Split x, y, r, t;

  Boxes(const Tiling& tiling, int64_t rows, int64_t tile_bytes, int64_t tasks) {
    int64_t nx = 1, ny = 1, nr = 1, nt = 1;
    const int64_t most = std::max<int64_t>(1, int64_t(Caches().l2) / 4 / tile_bytes);
    for (;;) {
      x = Split(tiling.x_units, 1, tiling.x_units, nx);
      y = Split(tiling.y_units, 1, tiling.y_units, ny);
      r = Split(rows, 1, rows, nr);
      t = Split(tiling.taps, 1, tiling.taps, nt);
      if (count() >= tasks && longest() <= most) return;
      // The side of more channels, since the other operand is packed once more for each piece.
      const int64_t wide_x = x.longest() * tiling.x_tile, wide_y = y.longest() * tiling.y_tile;
      if (y.longest() > 1 && (wide_y >= wide_x || x.longest() == 1)) {
        ++ny;
      } else if (x.longest() > 1) {
        ++nx;
      } else if (r.longest() > 1) {
        ++nr;
      } else if (t.longest() > 1) {
        ++nt;
      } else {
        return;
      }
    }
  }
  int64_t count() const { return x.count * y.count * r.count * t.count; }
  int64_t longest() const { return x.longest() * y.longest() * r.longest() * t.longest(); }
  Box operator()(int64_t i) const {
    const int64_t ti = i % t.count, ri = i / t.count % r.count,
                  xi = i / (t.count * r.count) % x.count, yi = i / (t.count * r.count * x.count);
    return {x.begin(xi), x.end(xi), y.begin(yi), y.end(yi),
            r.begin(ri), r.end(ri), t.begin(ti), t.end(ti)};
  }
};

// ----------------------------------------------------------------------------------------- packing

// Packs n pixels `step` apart as [pixel][width], `count` <= width channels of each.
template <class T>
void PackUnit(const ConvKernels<T>& kernels, const Source<T>& from, int64_t step, int64_t n,
              int64_t c_step, int64_t count, int64_t width, T* to) {
  constexpr int64_t kPixels = 32, kMostWidth = 64;
  if (n == 1 || (count == width && c_step == 1 && step == width)) {
    return from.Read(c_step, n * count, to);
  }
  if (width == 1) return from.Read(step, n, to);
  if (from.native() && c_step == 1 && step >= 0) {
    return kernels.copy(from.InPlace(), step, n, count, to, width);
  }
  if (from.native() && step == 1 && c_step >= 0) {
    return kernels.transpose(from.InPlace(), c_step, count, n, to, width);
  }
  if (std::abs(c_step) < std::abs(step)) {
    for (int64_t j = 0; j < n; ++j) (from + j * step).Read(c_step, count, to + j * width);
    return;
  }
  T chunk[kMostWidth * kPixels];
  for (int64_t j = 0; j < n; j += kPixels) {
    const int64_t pixels = std::min(kPixels, n - j);
    for (int64_t c = 0; c < count; c += kMostWidth) {
      const int64_t channels = std::min(kMostWidth, count - c);
      for (int64_t i = 0; i < channels; ++i) {
        (from + ((c + i) * c_step + j * step)).Read(step, pixels, chunk + i * kPixels);
      }
      kernels.transpose(chunk, kPixels, channels, pixels, to + j * width + c, width);
    }
  }
}

// Packs pixels as [unit][pixel][width], units `unit_size` apart. What a last unit has more than
// channels is left as it is.
template <class T>
void PackPixels(const ConvKernels<T>& kernels, const Source<T>& from, int64_t step, int64_t n,
                int64_t c_step, int64_t channels, int64_t width, T* to, int64_t unit_size) {
  // A page of pixels at a time, so that memory is read in order.
  const int64_t page = 4096 / int64_t(sizeof(T));
  const int64_t most = c_step == 1 ? std::max<int64_t>(4, page / channels) : n;
  for (int64_t j = 0; j < n; j += most) {
    const int64_t pixels = std::min(most, n - j);
    T* unit = to + j * width;
    for (int64_t c = 0; c < channels; c += width, unit += unit_size) {
      PackUnit(kernels, from + (j * step + c * c_step), step, pixels, c_step,
               std::min(width, channels - c), width, unit);
    }
  }
}

// -------------------------------------------------------------------------------------------- sums

// Integers modulo 2^bits.
template <class T>
T Add(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return a + b;
  }
}

template <class T>
class FilterDirect {
 public:
  explicit FilterDirect(const FilterGradient<T>& g);
  void Run();

 private:
  // A run of a block: its outputs, its inputs under the first tap of the box, and how far it is
  // from there to those under the next filter row's.
  struct BlockRun {
    const T *dy, *x;
    int64_t row_shift;
  };
  // How an operand is read: from a term to the next, and from a unit of channels to the next.
  struct Steps {
    int64_t term, unit;
  };
  // A thread's scratch.
  struct Pieces {
    T *strip, *panels, *sums, *chunk;
    BlockRun* runs;
    const T **rows, **lanes;
  };

  // Memory that the next block is packed from, of which each call of a kernel brings some to L2:
  // read at the peak's pace, 64 bytes for a tile's term, it costs little time.
  struct Ahead {
    const char *dy, *dy_end, *x, *x_end;

    // As many lines.
    const char* Take(int64_t lines) {
      const char*& next = dy < dy_end ? dy : x;
      if (next >= (dy < dy_end ? dy_end : x_end)) return nullptr;
      const char* const from = next;
      next += lines * 64;
      return from;
    }
  };

  template <class F>
  void ForPieces(const F& f) const;
  Ahead Fetched(int64_t bank, int64_t run, int64_t end) const;
  int64_t Lines(int64_t rows, int64_t runs) const;
  int64_t StripSize(int64_t chains) const;
  int64_t PanelSize(int64_t chains) const {
    return chains * terms_.chain * longest_ * tiling_.y_tile;
  }
  int64_t BlockElements(int64_t chains) const {
    return boxes_.x.longest() * StripSize(chains) + boxes_.y.longest() * PanelSize(chains);
  }

  void SumBox(int64_t bank, int64_t group, int64_t slice, const Box& box, const Pieces& pieces,
              T* sums, const Box& whole) const;
  void PackX(int64_t bank, int64_t group, const Box& box, int64_t run, int64_t end,
             const Pieces& pieces) const;
  void PackColumns(const Source<T>& from, int64_t step, int64_t n, const Box& box, T* to) const;
  void FillColumns(int64_t n, const Box& box, T* to) const;
  void PackLine(const Source<T>& line, int64_t first, const Box& box, T* to) const;
  void FillPast(const Box& box, const Pieces& pieces) const;
  void PackDy(int64_t bank, int64_t group, const Box& box, int64_t run, int64_t end,
              const Pieces& pieces) const;
  void SumChain(const Box& box, const BlockRun* runs, int64_t count, int64_t width, bool first,
                const Pieces& pieces, Ahead* ahead, T* sums, const Box& whole) const;
  void Write(int64_t bank, int64_t group, const Box& box, const T* sums, T* chunk) const;
  void WriteTiles(const Sink<T>& to, const Box& box, int64_t x, int64_t t, const T* tiles,
                  int64_t step) const;
  bool WritesPlanes(const Box& box) const;
  void WritePlanes(const Sink<T>& to, int64_t x, int64_t y, const T* tiles, T* chunk) const;

  // Run q of a bank: its image, outputs, and line.
  struct RunAt {
    int64_t image, j, width, line;
  };
  RunAt At(int64_t run) const {
    const int64_t piece = run / terms_.lines;
    return {piece / terms_.pieces.count, terms_.pieces.begin(piece % terms_.pieces.count),
            terms_.width(piece % terms_.pieces.count), run % terms_.lines};
  }

  const FilterGradient<T>& g_;
  const ConvShape& shape_;
  const ConvBackwardKernels<T>& kernels_;
  const ConvKernels<T>& pack_;
  const int64_t mr_, nr_, tile_;  // tile_: elements of one
  const Tiling tiling_;
  const Box whole_;
  const Terms terms_;
  const double ns_;
  const Boxes boxes_;
  const int64_t longest_;  // of the widths of pieces
  const int64_t taps_;     // the most of a filter row that a box has
  const Places columns_;   // of a strip
  int64_t block_chains_;   // packed at a time
  Steps x_, dy_;
  bool one_segment_;        // runs follow each other without a gap
  bool one_value_ = false;  // which x holds everywhere, as for the gradient of a bias
  bool in_place_ = false;   // dy is read where it is
};

template <class T>
FilterDirect<T>::FilterDirect(const FilterGradient<T>& g)
    : g_(g),
      shape_(g.shape),
      kernels_(ConvBackwardKernelsFor<T>(ActiveTarget())),
      pack_(ConvKernelsFor<T>(ActiveTarget())),
      mr_(kernels_.mr),
      nr_(kernels_.nr),
      tile_(mr_ * nr_),
      tiling_(shape_, mr_, nr_),
      whole_{0, tiling_.x_units, 0, tiling_.y_units, 0, shape_.h.window, 0, tiling_.taps},
      terms_(shape_, g.batch / g.banks,
             g.banks * shape_.groups * whole_.tiles() * tile_ * int64_t(sizeof(T))),
      // Products at half the peak, and what is packed.
      ns_(double(g.banks * shape_.groups * whole_.tiles()) * double(g.terms()) * double(sizeof(T)) +
          0.2 * double(g.terms()) * double(shape_.channels() + shape_.filters())),
      boxes_(tiling_, shape_.h.window, tile_ * sizeof(T),
             CeilDiv(ThreadsFor(ns_) == 1 ? 1 : 2 * ThreadsFor(ns_),
                     g.banks * shape_.groups * terms_.slices.count)),
      longest_(terms_.pieces.longest()),
      taps_(tiling_.joined ? shape_.w.window : boxes_.t.longest()),
      columns_(shape_.w, taps_, longest_, tiling_.joined),
      block_chains_(1) {
  // As many chains as save lines that windows of neighbouring outputs share.
  const int64_t most = int64_t(Caches().l2) / 2 / int64_t(sizeof(T));
  while (block_chains_ < terms_.slices.longest() && BlockElements(2 * block_chains_) <= most &&
         8 * StripSize(2 * block_chains_) < 7 * 2 * StripSize(block_chains_)) {
    block_chains_ *= 2;
  }
  x_ = {columns_.step * tiling_.x_unit, StripSize(block_chains_)};
  dy_ = {tiling_.y_tile, PanelSize(block_chains_)};
  one_segment_ = boxes_.r.longest() == 1 && taps_ == 1;
  const auto inside = [](const WindowAxis& axis) {
    return axis.First(0) >= 0 && axis.Input(axis.out - 1, axis.window - 1) < axis.in;
  };
  const ImageStrides &x = g.x_strides, &dy = g.dy_strides;
  if (shape_.taps() * shape_.channels() == 1 && x.n == 0 && x.h == 0 && x.w == 0 &&
      inside(shape_.h) && inside(shape_.w)) {
    one_value_ = true;
    x_ = {0, 0};
  }
  in_place_ = g.dy.native() && dy.c == 1 && dy.w >= 0 && shape_.group_k % (nr_ / 2) == 0 &&
              !tiling_.swapped && (one_value_ || dy.w * int64_t(sizeof(T)) <= kDensePixel);
  if (in_place_) {
    dy_ = {dy.w, nr_};
    one_segment_ = one_segment_ && dy.h == longest_ * dy.w &&
                   (terms_.images == 1 || dy.n == terms_.lines * dy.h);
  }
}

// The most lines that the strip of a block may have. Its runs are parts of at most p images, with
// the lines of Places for each; their sum is linear in the number of parts.
template <class T>
int64_t FilterDirect<T>::Lines(int64_t rows, int64_t runs) const {
  runs = std::min(runs, terms_.runs);
  const int64_t parts = std::min(runs, (runs - 1) / terms_.lines + 2);
  const Places one(shape_.h, rows, 1, true);
  const auto lines = [&](int64_t p) { return (runs - p) * one.step + p * one.count; };
  return std::min(rows * runs, std::max(lines(1), lines(parts)));
}

// Elements of the strip of a unit.
template <class T>
int64_t FilterDirect<T>::StripSize(int64_t chains) const {
  return Lines(boxes_.r.longest(), chains * terms_.chain) * columns_.length() * tiling_.x_unit;
}

// n columns of the strips of a box: of pixels `step` apart, and of zeros.
template <class T>
void FilterDirect<T>::PackColumns(const Source<T>& from, int64_t step, int64_t n, const Box& box,
                                  T* to) const {
  const int64_t unit = tiling_.x_unit, c = box.x * unit;
  PackPixels(pack_, from + c * g_.x_strides.c, step, n, g_.x_strides.c,
             std::min(box.x_end * unit, shape_.group_c) - c, unit, to, x_.unit);
}

template <class T>
void FilterDirect<T>::FillColumns(int64_t n, const Box& box, T* to) const {
  for (int64_t x = box.x; x < box.x_end; ++x, to += x_.unit) {
    std::fill_n(to, n * tiling_.x_unit, T(0));
  }
}

// A line of the strips, whose first column is column `first` of the image.
template <class T>
void FilterDirect<T>::PackLine(const Source<T>& line, int64_t first, const Box& box, T* to) const {
  const int64_t unit = tiling_.x_unit, step = columns_.unit, w = g_.x_strides.w;
  for (int64_t run = 0; run < columns_.runs; ++run, to += columns_.count * unit) {
    const int64_t start = first + run * columns_.run_unit;
    const Interior inside(start, step, columns_.count, shape_.w.in);
    const auto border = [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        const int64_t column = g_.columns(start + j * step);
        if (column == Border::kNone) {
          FillColumns(1, box, to + j * unit);
        } else {
          PackColumns(line + column * w, w, 1, box, to + j * unit);
        }
      }
    };
    border(0, inside.begin);
    if (inside.begin < inside.end) {
      PackColumns(line + (start + inside.begin * step) * w, step * w, inside.end - inside.begin,
                  box, to + inside.begin * unit);
    }
    border(inside.end, columns_.count);
  }
}

template <class T>
void FilterDirect<T>::PackX(int64_t bank, int64_t group, const Box& box, int64_t run, int64_t end,
                            const Pieces& pieces) const {
  const int64_t unit = tiling_.x_unit;
  const int64_t pitch = columns_.length();
  const int64_t first_tap = tiling_.joined ? 0 : box.t;
  const Source<T> x = g_.x + group * shape_.group_c * g_.x_strides.c;
  BlockRun* block_run = pieces.runs;
  if (one_value_) {
    for (; run < end; ++run) *block_run++ = {nullptr, pieces.strip, 0};
    return;
  }
  int64_t place = 0;
  for (int64_t last; run < end; run = last) {
    const RunAt at = At(run);
    last = std::min(end, run - at.line + terms_.lines);
    const Places lines(shape_.h, box.rows(), last - run, false);
    const Source<T> image = x + (bank * terms_.images + at.image) * g_.x_strides.n;
    const int64_t column = shape_.w.Input(at.j, first_tap);
    const bool whole = column == 0 && columns_.unit == 1 && pitch == shape_.w.in &&
                       lines.unit == 1 && g_.x_strides.h == pitch * g_.x_strides.w;
    for (int64_t q = 0; q < lines.runs; ++q) {
      const int64_t first = shape_.h.Input(at.line, box.r) + q * lines.run_unit;
      T* to = pieces.strip + (place + q * lines.count * pitch) * unit;
      if (whole && first >= 0 && first + lines.count <= shape_.h.in) {
        PackColumns(image + first * g_.x_strides.h, g_.x_strides.w, lines.count * pitch, box, to);
        continue;
      }
      for (int64_t i = 0; i < lines.count; ++i, to += pitch * unit) {
        const int64_t line = g_.rows(first + i * lines.unit);
        if (line == Border::kNone) {
          FillColumns(pitch, box, to);
        } else {
          PackLine(image + line * g_.x_strides.h, column, box, to);
        }
      }
    }
    for (int64_t i = run; i < last; ++i) {
      block_run->x = pieces.strip + (place + (i - run) * lines.step * pitch) * unit;
      (block_run++)->row_shift = lines.shift * pitch * unit;
    }
    place += lines.length() * pitch;
  }
}

template <class T>
void FilterDirect<T>::PackDy(int64_t bank, int64_t group, const Box& box, int64_t run, int64_t end,
                             const Pieces& pieces) const {
  const int64_t unit = tiling_.y_tile;
  const int64_t k = box.y * unit, channels = std::min(box.y_end * unit, shape_.group_k) - k;
  const ImageStrides& strides = g_.dy_strides;
  const Source<T> dy = g_.dy + (group * shape_.group_k + k) * strides.c;
  BlockRun* block_run = pieces.runs;
  T* to = pieces.panels;
  // Lines that follow each other in memory are one.
  const bool whole = terms_.pieces.count == 1 && strides.h == longest_ * strides.w;
  for (int64_t last; run < end; run = last) {
    const RunAt at = At(run);
    last = whole ? std::min(end, run - at.line + terms_.lines) : run + 1;
    const Source<T> line = dy + ((bank * terms_.images + at.image) * strides.n +
                                 at.line * strides.h + at.j * strides.w);
    if (!in_place_) {
      PackPixels(pack_, line, strides.w, (last - run) * at.width, strides.c, channels, unit, to,
                 dy_.unit);
    }
    const int64_t step = in_place_ ? strides.h : longest_ * unit;
    const T* from = in_place_ ? line.InPlace() : to;
    for (int64_t i = run; i < last; ++i, from += step) (block_run++)->dy = from;
    to += (last - run) * longest_ * unit;
  }
}

// What runs [run, end) read of memory where it is dense, and one box needs all of it. Of x the
// lines that they do not share with the runs before them.
template <class T>
typename FilterDirect<T>::Ahead FilterDirect<T>::Fetched(int64_t bank, int64_t run,
                                                         int64_t end) const {
  Ahead ahead{nullptr, nullptr, nullptr, nullptr};
  end = std::min(end, terms_.runs);
  if (boxes_.count() > 1 || shape_.groups > 1 || terms_.pieces.count > 1 || run >= end) {
    return ahead;
  }
  const auto dense = [&](const Source<T>& data, const ImageStrides& strides, int64_t channels) {
    return data.native() && strides.c == 1 && strides.w == channels;
  };
  const auto at = [&](const Source<T>& data, const ImageStrides& strides, const RunAt& r,
                      int64_t line) {
    const int64_t image = bank * terms_.images + r.image;
    return reinterpret_cast<const char*>((data + (image * strides.n + line * strides.h)).InPlace());
  };
  const RunAt first = At(run), last = At(end - 1);
  if (dense(g_.dy, g_.dy_strides, shape_.group_k)) {
    ahead.dy = at(g_.dy, g_.dy_strides, first, first.line);
    ahead.dy_end = at(g_.dy, g_.dy_strides, last, last.line + 1);
  }
  if (dense(g_.x, g_.x_strides, shape_.group_c)) {
    const WindowAxis& h = shape_.h;
    const auto past = [&](int64_t line) {
      return std::clamp<int64_t>(h.Input(line, h.window - 1) + 1, 0, h.in);
    };
    ahead.x = at(g_.x, g_.x_strides, first, first.line == 0 ? 0 : past(first.line - 1));
    ahead.x_end = at(g_.x, g_.x_strides, last, past(last.line));
  }
  return ahead;
}

// Adds chain [run, end) of a block to the sums of a box.
template <class T>
void FilterDirect<T>::SumChain(const Box& box, const BlockRun* runs, int64_t count, int64_t width,
                               bool first, const Pieces& pieces, Ahead* ahead, T* sums,
                               const Box& whole) const {
  const int64_t segments = one_segment_ ? 1 : count;
  const int64_t depth = one_segment_ ? count * width : width;
  const int64_t x_tile = tiling_.x_tile, y_tile = tiling_.y_tile;
  const int64_t x_count = tiling_.joined ? shape_.w.window * shape_.group_c : shape_.group_c;
  const int64_t row_step = tiling_.swapped ? dy_.term : x_.term;
  const int64_t lane_step = tiling_.swapped ? x_.term : dy_.term;
  const T** const xs = tiling_.swapped ? pieces.lanes : pieces.rows;
  const T** const ys = tiling_.swapped ? pieces.rows : pieces.lanes;
  for (int64_t y = box.y; y < box.y_end; ++y) {
    const int64_t ny = std::min(y_tile, shape_.group_k - y * y_tile);
    for (int64_t s = 0; s < segments; ++s) ys[s] = runs[s].dy + (y - box.y) * dy_.unit;
    for (int64_t x = box.x; x < box.x_end; ++x) {
      for (int64_t r = box.r; r < box.r_end; ++r) {
        for (int64_t t = box.t; t < box.t_end; ++t) {
          const int64_t nx = std::min(x_tile, x_count - (tiling_.joined ? t : x) * x_tile);
          const int64_t shift =
              tiling_.joined ? t * x_tile : (t - box.t) * columns_.shift * tiling_.x_unit;
          for (int64_t s = 0; s < segments; ++s) {
            xs[s] = runs[s].x + ((x - box.x) * x_.unit + (r - box.r) * runs[s].row_shift + shift);
          }
          T* const tile = sums + whole.Index(y, x, r, t) * tile_;
          const int64_t rows = tiling_.swapped ? ny : nx;
          const bool half = (tiling_.swapped ? nx : ny) <= nr_ / 2;
          const char* const fetch =
              half || rows <= mr_ / 3 * 2 ? nullptr : ahead->Take(segments * depth);
          if (fetch != nullptr) {
            kernels_.outer_fetching(pieces.rows, row_step, pieces.lanes, lane_step, segments, depth,
                                    first, tile, fetch);
          } else {
            kernels_.outer(pieces.rows, row_step, rows, pieces.lanes, lane_step, half, segments,
                           depth, first, tile);
          }
        }
      }
    }
  }
}

// What the kernels read and nobody packs: channels past the last, and the end of the strip.
template <class T>
void FilterDirect<T>::FillPast(const Box& box, const Pieces& pieces) const {
  if (box.x_end * tiling_.x_unit > shape_.group_c && !one_value_) {
    std::fill_n(pieces.strip + (box.x_end - 1 - box.x) * x_.unit, x_.unit, T(0));
  }
  std::fill_n(pieces.strip + (box.x_end - box.x) * x_.unit, nr_, T(0));
  if (one_value_) g_.x.Read(1, 1, pieces.strip);
  if (!in_place_ && box.y_end * tiling_.y_tile > shape_.group_k) {
    std::fill_n(pieces.panels + (box.y_end - 1 - box.y) * dy_.unit, dy_.unit, T(0));
  }
}

// Sums of a slice, for the tiles of a box among those of `whole`.
template <class T>
void FilterDirect<T>::SumBox(int64_t bank, int64_t group, int64_t slice, const Box& box,
                             const Pieces& pieces, T* sums, const Box& whole) const {
  FillPast(box, pieces);
  const int64_t begin = terms_.slices.begin(slice), slice_end = terms_.slices.end(slice);
  for (int64_t chain = begin; chain < slice_end; chain += block_chains_) {
    const int64_t chain_end = std::min(slice_end, chain + block_chains_);
    const int64_t run = chain * terms_.chain, end = std::min(terms_.runs, chain_end * terms_.chain);
    PackX(bank, group, box, run, end, pieces);
    PackDy(bank, group, box, run, end, pieces);
    Ahead ahead = Fetched(bank, end, end + (end - run));
    for (int64_t i = chain; i < chain_end; ++i) {
      const int64_t first = i * terms_.chain, count = std::min(terms_.chain, end - first);
      SumChain(box, pieces.runs + (first - run), count, At(first).width, i == begin, pieces, &ahead,
               sums, whole);
    }
  }
}

// ----------------------------------------------------------------------------------------- results

// The tiles of a unit of x, filter row and piece t of it, for the units of dy of a box; they are
// `step` elements apart.
template <class T>
void FilterDirect<T>::WriteTiles(const Sink<T>& to, const Box& box, int64_t x, int64_t t,
                                 const T* tiles, int64_t step) const {
  const FilterStrides& strides = g_.dw_strides;
  const int64_t c = shape_.group_c, k = shape_.group_k, y_tile = tiling_.y_tile;
  // Elements of x's side, which are numbered (s, c).
  const int64_t past = tiling_.joined ? shape_.w.window * c : c;
  const int64_t first = (tiling_.joined ? t : x) * tiling_.x_tile;
  const int64_t nx = std::min(tiling_.x_tile, past - first);
  for (int64_t i = 0, n; i < nx; i += n) {
    const int64_t s = tiling_.joined ? (first + i) / c : t, channel = (first + i) % c;
    const Sink<T> at = to + (s * strides.s + channel * strides.c);
    n = tiling_.swapped ? std::min(nx - i, c - channel) : 1;
    for (int64_t y = box.y; y < box.y_end; ++y) {
      const int64_t ny = std::min(y_tile, k - y * y_tile);
      const T* const tile = tiles + (y - box.y) * step;
      const Sink<T> filters = at + y * y_tile * strides.k;
      if (!tiling_.swapped) {
        filters.Write(tile + i * nr_, ny, strides.k);
      } else if (strides.k == 1 && strides.c >= 0 && to.native()) {
        pack_.transpose(tile + i, nr_, ny, n, filters.InPlace(), strides.c);
      } else {
        for (int64_t j = 0; j < ny; ++j) {
          (filters + j * strides.k).Write(tile + j * nr_ + i, n, strides.c);
        }
      }
    }
  }
}

// Whether filters are written as [k][c][tap], transposed.
template <class T>
bool FilterDirect<T>::WritesPlanes(const Box& box) const {
  const FilterStrides& strides = g_.dw_strides;
  const int64_t taps = shape_.taps();
  return g_.dw.native() && !tiling_.swapped && !tiling_.joined && strides.k > 1 &&
         strides.c == taps && (shape_.w.window == 1 || strides.s == 1) &&
         (shape_.h.window == 1 || strides.r == shape_.w.window) && taps <= kElements &&
         box.rows() * box.taps() == taps;
}

template <class T>
void FilterDirect<T>::WritePlanes(const Sink<T>& to, int64_t x, int64_t y, const T* tiles,
                                  T* chunk) const {
  const int64_t taps = shape_.taps(), c = x * tiling_.x_tile, k = y * tiling_.y_tile;
  const int64_t nx = std::min(tiling_.x_tile, shape_.group_c - c);
  const int64_t ny = std::min(tiling_.y_tile, shape_.group_k - k), most = kElements / taps;
  for (int64_t i = 0; i < nx; i += most) {
    const int64_t count = std::min(most, nx - i);
    for (int64_t tap = 0; tap < taps; ++tap) {
      pack_.copy(tiles + tap * tile_ + i * nr_, nr_, count, ny, chunk + tap * nr_, taps * nr_);
    }
    pack_.transpose(chunk, nr_, count * taps, ny,
                    (to + ((c + i) * taps + k * g_.dw_strides.k)).InPlace(), g_.dw_strides.k);
  }
}

template <class T>
void FilterDirect<T>::Write(int64_t bank, int64_t group, const Box& box, const T* sums,
                            T* chunk) const {
  const Sink<T> to = g_.dw + (bank * g_.dw_strides.n + group * g_.dw_strides.g);
  const bool planes = WritesPlanes(box);
  for (int64_t x = box.x; x < box.x_end; ++x) {
    for (int64_t y = box.y; y < box.y_end && planes; ++y) {
      WritePlanes(to, x, y, sums + box.Index(y, x, 0, 0) * tile_, chunk);
    }
    for (int64_t r = box.r; r < box.r_end && !planes; ++r) {
      for (int64_t t = box.t; t < box.t_end; ++t) {
        WriteTiles(to + r * g_.dw_strides.r, box, x, t, sums + box.Index(box.y, x, r, t) * tile_,
                   (box.Index(1, 0, 0, 0) - box.Index(0, 0, 0, 0)) * tile_);
      }
    }
  }
}

template <class T>
template <class F>
void FilterDirect<T>::ForPieces(const F& f) const {
  f(&Pieces::strip, boxes_.x.longest() * x_.unit + nr_);
  f(&Pieces::panels, in_place_ ? 0 : boxes_.y.longest() * dy_.unit);
  f(&Pieces::sums, terms_.slices.count == 1 ? boxes_.longest() * tile_ : 0);
  f(&Pieces::chunk, kElements * nr_);
  f(&Pieces::runs, block_chains_ * terms_.chain);
  f(&Pieces::rows, terms_.chain);
  f(&Pieces::lanes, terms_.chain);
}

template <class T>
void FilterDirect<T>::Run() {
  const int64_t slices = terms_.slices.count, groups = shape_.groups;
  const int64_t filters = g_.banks * groups;
  const int64_t size = whole_.tiles() * tile_;  // of the sums of a group's filters
  const Buffer<T> shared(slices > 1 ? slices * filters * size : 0);
  size_t bytes = 0;
  ForPieces([&](auto piece, int64_t count) { bytes += Scratch::BytesFor(piece, count); });
  const Work work{filters * slices * boxes_.count(), ns_, bytes};
  ParallelFor(work, [&](int64_t task, Scratch scratch) {
    Pieces pieces;
    ForPieces([&](auto piece, int64_t count) { scratch.TakeFor(&pieces, piece, count); });
    const Box box = boxes_(task % boxes_.count());
    const int64_t filter = task / boxes_.count() / slices, slice = task / boxes_.count() % slices;
    if (slices > 1) {
      return SumBox(filter / groups, filter % groups, slice, box, pieces,
                    shared.get() + (slice * filters + filter) * size, whole_);
    }
    SumBox(filter / groups, filter % groups, slice, box, pieces, pieces.sums, box);
    Write(filter / groups, filter % groups, box, pieces.sums, pieces.chunk);
  });
  if (slices == 1) return;
  // The sums of the slices, for a pair of units at a time.
  const int64_t pairs = tiling_.x_units * tiling_.y_units, pair = size / pairs;
  const Work add{filters * pairs, 0.2 * double(slices * filters * size),
                 Scratch::Bytes<T>(kElements * nr_)};
  ParallelFor(add, [&](int64_t task, Scratch scratch) {
    T* const sums = shared.get() + task * pair;
    for (int64_t slice = 1; slice < slices; ++slice) {
      const T* const more = sums + slice * filters * size;
      for (int64_t i = 0; i < pair; ++i) sums[i] = Add(sums[i], more[i]);
    }
    const int64_t filter = task / pairs, y = task % pairs / tiling_.x_units,
                  x = task % tiling_.x_units;
    const Box box{x, x + 1, y, y + 1, 0, shape_.h.window, 0, tiling_.taps};
    Write(filter / groups, filter % groups, box, sums, scratch.Take<T>(kElements * nr_));
  });
}

}  // namespace

template <class T>
void RunFilterDirect(const FilterGradient<T>& gradient) {
  FilterDirect<T>(gradient).Run();
}

template void RunFilterDirect(const FilterGradient<float>&);
template void RunFilterDirect(const FilterGradient<double>&);
template void RunFilterDirect(const FilterGradient<int32_t>&);
template void RunFilterDirect(const FilterGradient<int64_t>&);

}  // namespace lanewise
