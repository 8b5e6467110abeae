#include "ops/conv/pack.h"

#include <algorithm>
#include <numeric>

#include "runtime/parallel.h"

namespace lanewise {

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
  return strides.k > 0 && (shape.group_c == 1 || strides.c == shape.taps()) &&
         (shape.h.window == 1 || strides.r == shape.w.window) &&
         (shape.w.window == 1 || strides.s == 1);
}

namespace {

constexpr double kNsPerPackedElement = 0.5;

// For filters in memory as [k][c][tap]: a few of their elements at a time, which lie side by side,
// are transposed to [element][k], and from there go to their terms.
template <class T>
void PackPlanes(const ConvKernels<T>& kernels, const Source<T>& filters, int64_t stride,
                int64_t count, int64_t taps, const TermBlock& block, int64_t width, T* to) {
  constexpr int64_t kElements = 48, kMostWidth = 32;
  alignas(64) T chunk[kElements * kMostWidth], widened[kMostWidth * kElements];
  const int64_t depth = block.depth(), begin = block.c_begin * taps, end = block.c_end * taps;
  for (int64_t first = begin; first < end; first += kElements) {
    const int64_t last = std::min(first + kElements, end), n = last - first;
    const Source<T> from = filters + first;
    for (int64_t k = 0; k < count && !from.native(); ++k) {
      (from + k * stride).Read(1, n, widened + k * kElements);
    }
    T* const transposed = taps == 1 ? to + (first - begin) * width : chunk;
    if (from.native()) {
      kernels.transpose(from.InPlace(), stride, count, n, transposed, width);
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
    return PackPlanes(kernels, filters, strides.k, count, shape.taps(), block, width, to);
  }
  for (int64_t tap = block.tap_begin; tap < block.tap_end; ++tap, to += depth * width) {
    const Source<T> from =
        filters + (tap / s_taps * strides.r + tap % s_taps * strides.s + block.c_begin * strides.c);
    if (rows) {
      kernels.copy(from.InPlace(), strides.c, depth, count, to, width);
      continue;
    }
    for (int64_t c = 0; c < depth; ++c) {
      (from + c * strides.c).Read(strides.k, count, to + c * width);
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

template <class T>
void PixelStrip::FillColumns(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                             const Source<T>& row, int64_t first, int64_t count, T* to) const {
  const ImageStrides& strides = problem.x_strides;
  const int64_t depth = block_.depth();
  const Interior inside(first, 1, count, shape_.w.in);
  const auto copy_each = [&](int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; ++j) {
      const int64_t iw = problem.columns(first + j);
      if (iw == Border::kNone) {
        std::fill_n(to + j * depth, depth, T(0));
      } else {
        (row + iw * strides.w).Read(strides.c, depth, to + j * depth);
      }
    }
  };
  const Source<T> from = row + (first + inside.begin) * strides.w;
  const int64_t n = inside.end - inside.begin;
  T* const interior = to + inside.begin * depth;
  copy_each(0, inside.begin);
  if ((strides.c == 1 || depth == 1) && strides.w == depth) {
    from.Read(1, n * depth, interior);
  } else if (from.native() && strides.w == 1 && strides.c > 0) {
    kernels.transpose(from.InPlace(), strides.c, depth, n, interior, depth);
  } else {
    copy_each(inside.begin, inside.end);
  }
  copy_each(inside.end, count);
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
    if (split) {
      kernels.split(from.InPlace(), stride, std::min(stride, count - q), n, inside, step);
    } else {
      from.Read(stride * element, n, inside);
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
  const bool planes = x.native() && strides.w == 1;
  // Rows of neighbouring inputs are split together, as far as all are in the image.
  const bool split = planes && w.stride > 1 && w.dilation == 1;
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
  const bool block = planes && w.stride == 1 && row_step >= 0;
  for (int64_t c = 0; c < block_.depth(); ++c, to += plane_) {
    const Source<T> plane = x + (block_.c_begin + c) * strides.c;
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
