#include "ops/conv/pack.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "runtime/parallel.h"

namespace lanewise {

ConvProblem<int32_t> Paired(const ConvProblem<int32_t>& problem) {
  ConvProblem<int32_t> pairs = problem;
  pairs.x = problem.x.Paired(problem.x_strides.c);
  pairs.x_strides.c *= 2;
  pairs.filter = problem.filter.Paired(problem.filter_strides.c);
  pairs.filter_strides.c *= 2;
  pairs.shape.group_c = CeilDiv(problem.shape.group_c, 2);
  pairs.last_is_single = problem.shape.group_c % 2 == 1;
  return pairs;
}

bool IsPairable(const ConvProblem<int32_t>& problem) {
  return problem.x.pairable() && problem.filter.pairable() &&
         (problem.shape.groups == 1 || problem.shape.group_c % 2 == 0);
}

std::vector<TermBlock> TermBlocks(const ConvShape& shape, int64_t max_terms, int64_t max_taps,
                                  int64_t unit) {
  std::vector<TermBlock> blocks;
  const int64_t c = shape.group_c, taps = shape.taps();
  if (c == 0) {  // an empty sum
    blocks.push_back({0, 0, 0, 0});
  } else if (c > max_terms) {
    const Split slices(c, 1, max_terms);
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t i = 0; i < slices.count; ++i) {
        blocks.push_back({tap, tap + 1, slices.begin(i), slices.end(i)});
      }
    }
  } else {
    const int64_t most = std::max(unit, std::min(max_taps, max_terms / c) / unit * unit);
    const Split groups(taps, unit, most);
    for (int64_t i = 0; i < groups.count; ++i) {
      blocks.push_back({groups.begin(i), groups.end(i), 0, c});
    }
  }
  return blocks;
}

// ----------------------------------------------------------------------------------------- filters

template <class T>
bool FiltersArePlanes(const ConvProblem<T>& problem) {
  const ConvShape& shape = problem.shape;
  const FilterStrides& strides = problem.filter_strides;
  const bool pairs = problem.filter.paired();
  const bool one = shape.group_c == 1 && (!pairs || problem.last_is_single);
  return strides.k > 0 &&
         (one || (pairs ? problem.filter.distance() : strides.c) == shape.taps()) &&
         (shape.h.window == 1 || strides.r == shape.w.window) &&
         (shape.w.window == 1 || strides.s == 1);
}

namespace {

constexpr double kNsPerPackedElement = 0.5;

// Values [first, last) of a filter in memory as [c][tap], whose channels are pairs.
void ReadPairPlanes(const ConvProblem<int32_t>& problem, const Source<int32_t>& filter,
                    int64_t first, int64_t last, int32_t* to) {
  const int64_t taps = problem.shape.taps(), step = problem.filter_strides.c;
  const int64_t whole = problem.shape.group_c - (problem.last_is_single ? 1 : 0);
  for (int64_t n = 0; first < last; first += n, to += n) {
    const int64_t c = first / taps, tap = first % taps, planes = std::min(last / taps, whole) - c;
    const Source<int32_t> at = filter + (c * step + tap);
    if (tap == 0 && planes > 0) {
      n = planes * taps;
      at.ReadRuns(step, planes, taps, to);
    } else {
      n = std::min(last, (c + 1) * taps) - first;
      problem.Channel(at, c).Read(1, n, to);
    }
  }
}

template <class T>
void ReadPlanes(const ConvProblem<T>& problem, const Source<T>& filter, int64_t first, int64_t last,
                T* to) {
  if constexpr (std::is_same_v<T, int32_t>) {
    if (filter.paired()) return ReadPairPlanes(problem, filter, first, last, to);
  }
  (filter + first).Read(1, last - first, to);
}

// For filters in memory as [k][c][tap]: a few of their values at a time, which lie side by side,
// are transposed to [value][k], and from there go to their terms.
template <class T>
void PackPlanes(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                const Source<T>& filters, int64_t count, const TermBlock& block, int64_t width,
                T* to) {
  constexpr int64_t kElements = 48, kMostWidth = 32;
  alignas(64) T chunk[kElements * kMostWidth], widened[kMostWidth * kElements];
  const int64_t taps = problem.shape.taps(), stride = problem.filter_strides.k;
  const int64_t depth = block.depth(), begin = block.c_begin * taps, end = block.c_end * taps;
  const bool whole = filters.paired() && taps <= kElements;  // planes, which are read at once
  const int64_t most = whole ? kElements / taps * taps : kElements;
  for (int64_t first = begin; first < end; first += most) {
    const int64_t last = std::min(first + most, end), n = last - first;
    for (int64_t k = 0; k < count && !filters.native(); ++k) {
      ReadPlanes(problem, filters + k * stride, first, last, widened + k * kElements);
    }
    T* const transposed = taps == 1 ? to + (first - begin) * width : chunk;
    if (filters.native()) {
      kernels.transpose(filters.InPlace() + first, stride, count, n, transposed, width);
    } else {
      kernels.transpose(widened, kElements, count, n, transposed, width);
    }
    for (int64_t c = first / taps; c * taps < last && taps > 1; ++c) {
      const int64_t tap = std::max(block.tap_begin, first - c * taps);
      const int64_t past = std::min(block.tap_end, last - c * taps);
      if (tap >= past) continue;
      kernels.copy(chunk + (c * taps + tap - first) * width, width, past - tap, count,
                   to + ((tap - block.tap_begin) * depth + c - block.c_begin) * width,
                   depth * width);
    }
  }
}

// For filters whose taps are side by side in reverse order, as those of an adjoint convolution are.
template <class T>
void PackTurnedPlanes(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                      const T* filters, int64_t count, const TermBlock& block, int64_t width,
                      T* to) {
  constexpr int64_t kTaps = 32, kMostWidth = 32;
  alignas(64) T chunk[kTaps * kMostWidth];
  const FilterStrides& strides = problem.filter_strides;
  const int64_t depth = block.depth();
  for (int64_t past = block.tap_end, n; past > block.tap_begin; past -= n) {
    n = std::min(kTaps, past - block.tap_begin);
    for (int64_t c = 0; c < depth; ++c) {
      const T* const from = filters + (block.c_begin + c) * strides.c - (past - 1);
      kernels.transpose(from, strides.k, count, n, chunk, width);
      for (int64_t i = 0; i < n; ++i) {
        kernels.copy(chunk + i * width, width, 1, count,
                     to + ((past - 1 - i - block.tap_begin) * depth + c) * width, width);
      }
    }
  }
}

// Whether the taps are side by side in reverse order.
bool TapsAreTurned(const ConvShape& shape, const FilterStrides& strides) {
  return shape.taps() > 1 && (shape.w.window == 1 || strides.s == -1) &&
         (shape.h.window == 1 || strides.r == -shape.w.window);
}

}  // namespace

template <class T>
void PackFilterBlock(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, int64_t bank,
                     int64_t group, int64_t k, int64_t width, const TermBlock& block, T* to) {
  const ConvShape& shape = problem.shape;
  const FilterStrides& strides = problem.filter_strides;
  const int64_t count = std::min(width, shape.group_k - k), depth = block.depth();
  const int64_t s_taps = shape.w.window;
  const Source<T> filters = problem.filter + (bank * strides.n + group * strides.g + k * strides.k);
  if (count < width) {
    for (int64_t t = 0; t < block.terms(); ++t)
      std::fill_n(to + t * width + count, width - count, T(0));
  }
  const bool rows = filters.native() && strides.k == 1 && strides.c >= 0;
  if (!rows && FiltersArePlanes(problem)) {
    return PackPlanes(kernels, problem, filters, count, block, width, to);
  }
  const bool spaced = filters.native() && strides.k > 0 && !rows;
  if (spaced && strides.c != 1 && TapsAreTurned(shape, strides)) {
    return PackTurnedPlanes(kernels, problem, filters.InPlace(), count, block, width, to);
  }
  for (int64_t tap = block.tap_begin; tap < block.tap_end; ++tap, to += depth * width) {
    const Source<T> from =
        filters + (tap / s_taps * strides.r + tap % s_taps * strides.s + block.c_begin * strides.c);
    if (rows) {
      kernels.copy(from.InPlace(), strides.c, depth, count, to, width);
      continue;
    }
    if (spaced && strides.c == 1) {
      kernels.transpose(from.InPlace(), strides.k, count, depth, to, width);
      continue;
    }
    for (int64_t c = 0; c < depth; ++c) {
      problem.Channel(from + c * strides.c, block.c_begin + c)
          .Read(strides.k, count, to + c * width);
    }
  }
}

template <class T>
Buffer<T> PackFilters(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, int64_t width) {
  const ConvShape& shape = problem.shape;
  const int64_t blocks = CeilDiv(shape.group_k, width), size = shape.terms() * width;
  const int64_t count = problem.banks * shape.groups * blocks;
  Buffer<T> packed(count * size);
  const Work work{count, kNsPerPackedElement * double(count) * double(size), 0};
  ParallelFor(work, [&](int64_t index, Scratch) {
    const int64_t group = index / blocks;  // through the banks
    PackFilterBlock(kernels, problem, group / shape.groups, group % shape.groups,
                    index % blocks * width, width, {0, shape.taps(), 0, shape.group_c},
                    packed.get() + index * size);
  });
  return packed;
}

// ------------------------------------------------------------------------------------------ inputs

TapBox::TapBox(const ConvShape& shape, const TermBlock& block) {
  const int64_t width = shape.w.window;
  const int64_t last = std::max(block.tap_begin, block.tap_end - 1);
  r = {block.tap_begin / width, last / width - block.tap_begin / width + 1};
  s = r.count > 1 ? TapRange{0, width}
                  : TapRange{block.tap_begin % width, std::max<int64_t>(1, block.taps())};
}

namespace {

// Pixels of fewer channels are not worth a call each.
constexpr int64_t kFewChannels = 8;
// Elements of a row that are widened at a time, to be split.
constexpr int64_t kWidened = 512;

}  // namespace

PixelStrip::PixelStrip(const ConvShape& shape, const TermBlock& block, int64_t rows,
                       int64_t columns)
    : shape_(shape), block_(block), box_(shape, block) {
  const int64_t height = (box_.r.count - 1) * shape.h.dilation + 1;
  const int64_t width = (box_.s.count - 1) * shape.w.dilation + 1;
  row_step_ = std::min(shape.h.stride, height);
  column_step_ = std::min(shape.w.stride, width);
  rows_ = (rows - 1) * row_step_ + height;
  columns_ = (columns - 1) * column_step_ + width;
  row_ = columns_ * block.depth();
}

int64_t PixelStrip::Offset(int64_t tap, int64_t row, int64_t column) const {
  const int64_t width = shape_.w.window;
  const int64_t r = tap / width - box_.r.begin, s = tap % width - box_.s.begin;
  return (row * row_step_ + r * shape_.h.dilation) * row_ +
         (column * column_step_ + s * shape_.w.dilation) * block_.depth();
}

// Pixels of an odd number of channels that lie side by side: widened as one run of halves, whatever
// pair they fall in. A pixel's last upper half is the next one's first channel, which the filters
// multiply by 0.
void PixelStrip::ReadOddRun(const Source<int32_t>& pixels, int64_t count, int32_t* to) const {
  constexpr int64_t kPixels = 64;
  int32_t chunk[kPixels * kFewChannels];
  const int64_t depth = block_.depth(), channels = 2 * depth - 1;
  for (int64_t j = 0; j < count; j += kPixels) {
    const int64_t n = std::min(kPixels, count - j), whole = n * channels / 2;
    const Source<int32_t> from = pixels + j * channels;
    from.Read(2, whole, chunk);
    chunk[whole] = 0;
    if (n * channels % 2 == 1) (from + 2 * whole).Single().Read(1, 1, chunk + whole);
    const char* halves = reinterpret_cast<const char*>(chunk);
    for (int64_t i = 0; i < n; ++i, halves += 2 * channels) {
      for (int64_t c = 0; c < depth; ++c, ++to) std::memcpy(to, halves + 4 * c, 4);
    }
  }
}

// A few channels at a time are read along the row, and transposed.
void PixelStrip::ReadAcross(const ConvKernels<int32_t>& kernels,
                            const ConvProblem<int32_t>& problem, const Source<int32_t>& pixels,
                            int64_t count, int32_t* to) const {
  constexpr int64_t kChannels = 16, kPixels = 64;
  int32_t chunk[kChannels * kPixels];
  const ImageStrides& strides = problem.x_strides;
  const int64_t depth = block_.depth();
  for (int64_t j = 0; j < count; j += kPixels) {
    const int64_t n = std::min(kPixels, count - j);
    for (int64_t first = 0; first < depth; first += kChannels) {
      const int64_t channels = std::min(kChannels, depth - first);
      for (int64_t i = 0, c = first; i < channels; ++i, ++c) {
        problem.Channel(pixels + (j * strides.w + c * strides.c), block_.c_begin + c)
            .Read(strides.w, n, chunk + i * kPixels);
      }
      kernels.transpose(chunk, kPixels, channels, n, to + j * depth + first, depth);
    }
  }
}

template <class T>
void PixelStrip::ReadPixels(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                            const Source<T>& from, int64_t count, T* to) const {
  const ImageStrides& strides = problem.x_strides;
  const int64_t depth = block_.depth();
  if (depth == 1) {
    return problem.Channel(from, block_.c_begin).Read(strides.w, count, to);
  }
  const bool single = problem.last_is_single && block_.c_end == shape_.group_c;
  if (strides.w == depth * strides.c && !single) {
    return from.Read(strides.c, count * depth, to);
  }
  if (from.native() && strides.w == 1 && strides.c > 0) {
    return kernels.transpose(from.InPlace(), strides.c, depth, count, to, depth);
  }
  if constexpr (std::is_same_v<T, int32_t>) {
    const bool few = depth < kFewChannels, run = strides.c == 2 && from.distance() == 1;
    if (single && few && run && strides.w == 2 * depth - 1) return ReadOddRun(from, count, to);
    if (from.paired() && (few || std::abs(strides.w) < std::abs(strides.c))) {
      return ReadAcross(kernels, problem, from, count, to);
    }
  }
  const int64_t whole = depth - (single ? 1 : 0);
  for (int64_t j = 0; j < count; ++j, to += depth) {
    const Source<T> pixel = from + j * strides.w;
    pixel.Read(strides.c, whole, to);
    if (!single) continue;
    problem.Channel(pixel + whole * strides.c, shape_.group_c - 1).Read(1, 1, to + whole);
  }
}

template <class T>
void PixelStrip::FillColumns(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                             const Source<T>& row, int64_t first, int64_t count, T* to) const {
  const int64_t depth = block_.depth(), step = problem.x_strides.w;
  const Interior inside(first, 1, count, shape_.w.in);
  const auto fill_border = [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      const int64_t iw = problem.columns(first + j);
      if (iw == Border::kNone) {
        std::fill_n(to + j * depth, depth, T(0));
      } else {
        ReadPixels(kernels, problem, row + iw * step, 1, to + j * depth);
      }
    }
  };
  fill_border(0, inside.begin);
  ReadPixels(kernels, problem, row + (first + inside.begin) * step, inside.end - inside.begin,
             to + inside.begin * depth);
  fill_border(inside.end, count);
}

template <class T>
void PixelStrip::Fill(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                      const Source<T>& x, const Region& region, T* to) const {
  const WindowAxis &h = shape_.h, &w = shape_.w;
  const int64_t first_row = h.Input(region.oh, box_.r.begin);
  const int64_t first = w.Input(region.ow, box_.s.begin);
  // Windows that overlap or touch are one run of columns, others one run each.
  const int64_t run = column_step_ == w.stride ? columns_ : column_step_;
  for (int64_t i = 0; i < rows_; ++i, to += row_) {
    // Of the last window, rows past its first row_step_ are still its own.
    const int64_t window = std::min(i / row_step_, region.rows - 1);
    const int64_t ih = problem.rows(first_row + window * h.stride + (i - window * row_step_));
    if (ih == Border::kNone) {
      std::fill_n(to, row_, T(0));
      continue;
    }
    const Source<T> row = x + (ih * problem.x_strides.h + block_.c_begin * problem.x_strides.c);
    for (int64_t j = 0, column = first; j < columns_; j += run, column += w.stride) {
      FillColumns(kernels, problem, row, column, run, to + j * block_.depth());
    }
  }
}

Phases::Phases(const WindowAxis& axis, int64_t taps, int64_t n, bool per_tap_)
    : stride(axis.stride),
      dilation(axis.dilation),
      per_tap(per_tap_),
      count(per_tap ? taps : std::min(taps, stride / std::gcd(stride, dilation))),
      length(per_tap ? n : n + (taps - 1) * dilation / stride) {}

namespace {

// Whether a copy of its rows for each tap is fewer rows than all that the taps span, as where they
// are dilated.
bool RowsPerTap(const WindowAxis& h, int64_t taps, int64_t rows) {
  const Phases phases(h, taps, rows, false);
  return taps * rows < phases.count * phases.length;
}

}  // namespace

PlaneStrip::PlaneStrip(const ConvShape& shape, const TermBlock& block, int64_t rows,
                       int64_t columns, bool spread, int64_t nr)
    : shape_(shape),
      block_(block),
      box_(shape, block),
      h_(shape.h, box_.r.count, rows, RowsPerTap(shape.h, box_.r.count, rows)),
      w_(shape.w, box_.s.count, columns, spread),
      // An odd number of vectors: planes a power of two apart would share sets of the caches.
      plane_(RoundUp(h_.count * h_.length * w_.count * w_.length, 16) | 16),
      nr_(nr) {}

void PlaneStrip::Offsets(int64_t* offsets) const {
  const int64_t width = shape_.w.window, rows = h_.count * h_.length;
  int64_t tap = block_.tap_begin;
  for (int64_t r = 0; r < box_.r.count; ++r) {
    const int64_t row = h_.Row(r) * h_.length + h_.Place(r);
    const int64_t past = std::min(block_.tap_end, (box_.r.begin + r + 1) * width);
    for (int64_t s = tap % width - box_.s.begin; tap < past; ++tap, ++s) {
      *offsets++ = (w_.Row(s) * rows + row) * w_.length + w_.Place(s);
    }
  }
}

template <class T>
void PlaneStrip::FillEdges(const ConvProblem<T>& problem, const Source<T>& row,
                           const std::vector<Column>& columns, T* to) const {
  for (const Column& column : columns) {
    const auto fill = [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        const int64_t iw = problem.columns(column.start + j * shape_.w.stride);
        to[j] = T(0);
        if (iw != Border::kNone) (row + iw * problem.x_strides.w).Read(1, 1, to + j);
      }
    };
    fill(0, column.inside.begin);
    fill(column.inside.end, w_.length);
    to += h_.count * h_.length * w_.length;
  }
}

template <class T>
void PlaneStrip::FillRow(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                         const Source<T>& row, const std::vector<Column>& columns, bool split,
                         T* to) const {
  const int64_t stride = shape_.w.stride, step = h_.count * h_.length * w_.length;
  const int64_t count = w_.count, element = problem.x_strides.w;
  for (int64_t q = 0; q < count; q += split ? stride : 1) {
    const Column& column = columns[q];
    const int64_t n = column.inside.end - column.inside.begin;
    const Source<T> from = row + (column.start + column.inside.begin * stride) * element;
    T* const inside = to + q * step + column.inside.begin;
    const int64_t phases = std::min(stride, count - q);
    if (!split) {
      from.Read(stride * element, n, inside);
    } else if (from.native()) {
      kernels.split(from.InPlace(), stride, phases, n, inside, step);
    } else {
      T chunk[kWidened];
      const int64_t most = kWidened / stride;
      for (int64_t i = 0; i < n; i += most) {
        const int64_t some = std::min(most, n - i);
        (from + i * stride).Read(1, some * stride, chunk);
        kernels.split(chunk, stride, phases, some, inside + i, step);
      }
    }
  }
}

template <class T>
void PlaneStrip::FillFromPixels(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                                const T* x, const Region& region, T* to) const {
  const ImageStrides& strides = problem.x_strides;
  const int64_t first_row = shape_.h.Input(region.oh, box_.r.begin);
  const int64_t first = shape_.w.Input(region.ow, box_.s.begin);
  const int64_t depth = block_.depth(), stride = shape_.w.stride;
  const auto put = [&](const T* pixel, T* at) {  // null: zeros
    for (int64_t c = 0; c < depth; ++c) at[c * plane_] = pixel == nullptr ? T(0) : pixel[c];
  };
  for (int64_t q = 0; q < w_.count; ++q) {
    const int64_t start = first + w_.Input(q, 0);
    const Interior inside(start, stride, w_.length, shape_.w.in);
    for (int64_t p = 0; p < h_.count; ++p) {
      for (int64_t j = 0; j < h_.length; ++j, to += w_.length) {
        const int64_t ih = problem.rows(first_row + h_.Input(p, j));
        if (ih == Border::kNone) {
          for (int64_t c = 0; c < depth; ++c) std::fill_n(to + c * plane_, w_.length, T(0));
          continue;
        }
        const T* const row = x + (ih * strides.h + block_.c_begin);
        const auto put_border = [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) {
            const int64_t iw = problem.columns(start + i * stride);
            put(iw == Border::kNone ? nullptr : row + iw * strides.w, to + i);
          }
        };
        put_border(0, inside.begin);
        kernels.transpose(row + (start + inside.begin * stride) * strides.w, stride * strides.w,
                          inside.end - inside.begin, depth, to + inside.begin, plane_);
        put_border(inside.end, w_.length);
      }
    }
  }
  const int64_t used = w_.count * h_.count * h_.length * w_.length;
  to -= used;
  for (int64_t c = 0; c < depth; ++c, to += plane_) std::fill(to + used, to + plane_, T(0));
  std::fill_n(to, nr_, T(0));
}

template <class T>
void PlaneStrip::Fill(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                      const Source<T>& x, const Region& region, T* to) const {
  const ImageStrides& strides = problem.x_strides;
  if (x.native() && strides.c == 1 && strides.w > 0 && block_.depth() > 1) {
    return FillFromPixels(kernels, problem, x.InPlace(), region, to);
  }
  const WindowAxis &h = shape_.h, &w = shape_.w;
  const int64_t first_row = h.Input(region.oh, box_.r.begin);
  const int64_t first = w.Input(region.ow, box_.s.begin);
  const int64_t length = w_.length, step = h_.count * h_.length * length;
  // Rows of neighbouring inputs are split together, as far as all are in the image.
  const bool split =
      strides.w == 1 && w.stride > 1 && w.dilation == 1 && (x.native() || w.stride <= kWidened);
  std::vector<Column> columns;
  for (int64_t q = 0; q < w_.count; ++q) {
    const int64_t start = first + w_.Input(q, 0);
    Column column{start, Interior(start, w.stride, length, w.in)};
    if (split) {
      const int64_t group = start - q % w.stride;
      const int64_t begin = Interior(group, w.stride, length, w.in).begin;
      const int64_t end = Interior(group + w.stride - 1, w.stride, length, w.in).end;
      column.inside.begin = begin;
      column.inside.end = std::max(begin, end);
    }
    columns.push_back(column);
  }
  // Rows of the image that are copied as they are go to the kernel together.
  const int64_t row_step = h.stride * strides.h;
  const bool block = x.native() && strides.w == 1 && w.stride == 1 && row_step >= 0;
  for (int64_t c = 0; c < block_.depth(); ++c, to += plane_) {
    const int64_t channel = block_.c_begin + c;
    const Source<T> plane = problem.Channel(x + channel * strides.c, channel);
    T* row = to;
    for (int64_t p = 0; p < h_.count; ++p) {
      const int64_t start_row = first_row + h_.Input(p, 0);
      const Interior image(start_row, h.stride, h_.length, h.in);
      for (int64_t q = 0; q < w_.count && block && image.begin < image.end; ++q) {
        const Interior& inside = columns[q].inside;
        if (inside.begin == inside.end) continue;
        const int64_t ih = start_row + image.begin * h.stride;
        kernels.copy((plane + (ih * strides.h + columns[q].start + inside.begin)).InPlace(),
                     row_step, image.end - image.begin, inside.end - inside.begin,
                     row + q * step + image.begin * length + inside.begin, length);
      }
      for (int64_t j = 0; j < h_.length; ++j, row += length) {
        const int64_t ih = problem.rows(start_row + j * h.stride);
        if (ih == Border::kNone) {
          for (int64_t q = 0; q < w_.count; ++q) std::fill_n(row + q * step, length, T(0));
          continue;
        }
        const Source<T> from = plane + ih * strides.h;
        if (!block || j < image.begin || j >= image.end) {
          FillRow(kernels, problem, from, columns, split, row);
        }
        FillEdges(problem, from, columns, row);
      }
    }
    std::fill(to + w_.count * step, to + plane_, T(0));
  }
  std::fill_n(to, nr_, T(0));
}

#define LANEWISE_INSTANTIATE(T)                                                                  \
  template Buffer<T> PackFilters(const ConvKernels<T>&, const ConvProblem<T>&, int64_t);         \
  template bool FiltersArePlanes(const ConvProblem<T>&);                                         \
  template void PackFilterBlock(const ConvKernels<T>&, const ConvProblem<T>&, int64_t, int64_t,  \
                                int64_t, int64_t, const TermBlock&, T*);                         \
  template void PixelStrip::Fill(const ConvKernels<T>&, const ConvProblem<T>&, const Source<T>&, \
                                 const Region&, T*) const;                                       \
  template void PlaneStrip::Fill(const ConvKernels<T>&, const ConvProblem<T>&, const Source<T>&, \
                                 const Region&, T*) const;
LANEWISE_INSTANTIATE(float)
LANEWISE_INSTANTIATE(double)
LANEWISE_INSTANTIATE(int32_t)
LANEWISE_INSTANTIATE(int64_t)
#undef LANEWISE_INSTANTIATE

}  // namespace lanewise
