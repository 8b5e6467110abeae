#include "ops/conv/pack.h"

#include <algorithm>
#include <numeric>

namespace lanewise {
namespace {

// How many of the positions start, start + step, … (step > 0) lie below `limit`.
int64_t CountBelow(int64_t start, int64_t step, int64_t limit) {
  return limit <= start ? 0 : CeilDiv(limit - start, step);
}

// Positions start + i·step, i < n, of an axis: those of [begin, end) are in the image.
struct Interior {
  int64_t begin, end;
  Interior(int64_t start, int64_t step, int64_t n, int64_t size)
      : begin(std::min(n, CountBelow(start, step, 0))),
        end(std::clamp(CountBelow(start, step, size), begin, n)) {}
};

}  // namespace

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

namespace {

// Whether filters are in memory as [k][c][tap].
template <class T>
bool ArePlanes(const ConvProblem<T>& problem) {
  const ConvShape& shape = problem.shape;
  const FilterStrides& strides = problem.filter_strides;
  return problem.filter.native() && strides.k > 0 &&
         (shape.group_c == 1 || strides.c == shape.taps()) &&
         (shape.h.window == 1 || strides.r == shape.w.window) &&
         (shape.w.window == 1 || strides.s == 1);
}

// For filters in memory as [k][c][tap]: a few of their elements at a time, which lie side by side,
// are transposed to [element][k], and from there go to their terms.
template <class T>
void PackPlanes(const ConvKernels<T>& kernels, const T* from, int64_t from_stride, int64_t count,
                int64_t taps, const TermBlock& block, int64_t width, T* to) {
  const int64_t depth = block.depth(), begin = block.c_begin * taps, end = block.c_end * taps;
  if (taps == 1) {
    kernels.transpose(from + begin, from_stride, count, depth, to, width);
    return;
  }
  constexpr int64_t kElements = 48, kMostWidth = 32;
  alignas(64) T chunk[kElements * kMostWidth];
  for (int64_t e = begin; e < end; e += kElements) {
    const int64_t n = std::min(kElements, end - e);
    kernels.transpose(from + e, from_stride, count, n, chunk, width);
    for (int64_t tap = block.tap_begin; tap < block.tap_end; ++tap) {
      const int64_t c = CeilDiv(e - tap, taps), first = c * taps + tap - e;
      if (first >= n) continue;
      kernels.copy(chunk + first * width, taps * width, CeilDiv(n - first, taps), count,
                   to + ((tap - block.tap_begin) * depth + c - block.c_begin) * width, width);
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
  if (!rows && ArePlanes(problem)) {
    return PackPlanes(kernels, filters.InPlace(), strides.k, count, shape.taps(), block, width, to);
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
  rows_ = (rows - 1) * shape.h.stride + (box_.r.count - 1) * shape.h.dilation + 1;
  columns_ = (columns - 1) * shape.w.stride + (box_.s.count - 1) * shape.w.dilation + 1;
  row_ = columns_ * block.depth();
}

int64_t PixelStrip::Offset(int64_t tap, int64_t row, int64_t column) const {
  const WindowAxis &h = shape_.h, &w = shape_.w;
  const int64_t r = tap / w.window - box_.r.begin, s = tap % w.window - box_.s.begin;
  return (row * h.stride + r * h.dilation) * row_ +
         (column * w.stride + s * w.dilation) * block_.depth();
}

template <class T>
void PixelStrip::Fill(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                      const Source<T>& x, const Region& region, T* to) const {
  const ImageStrides& strides = problem.x_strides;
  const int64_t depth = block_.depth();
  const int64_t first_row = shape_.h.Input(region.oh, box_.r.begin);
  const int64_t first = shape_.w.Input(region.ow, box_.s.begin);
  const Interior inside(first, 1, columns_, shape_.w.in);
  const int64_t count = inside.end - inside.begin;
  for (int64_t i = 0; i < rows_; ++i, to += row_) {
    const int64_t ih = problem.rows(first_row + i);
    if (ih == Border::kNone) {
      std::fill_n(to, row_, T(0));
      continue;
    }
    const Source<T> row = x + (ih * strides.h + block_.c_begin * strides.c);
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
    copy_each(0, inside.begin);
    const Source<T> from = row + (first + inside.begin) * strides.w;
    T* const interior = to + inside.begin * depth;
    if ((strides.c == 1 || depth == 1) && strides.w == depth) {
      from.Read(1, count * depth, interior);
    } else if (from.native() && strides.w == 1 && strides.c > 0) {
      kernels.transpose(from.InPlace(), strides.c, depth, count, interior, depth);
    } else {
      copy_each(inside.begin, inside.end);
    }
    copy_each(inside.end, columns_);
  }
}

Phases::Phases(const WindowAxis& axis, int64_t taps, int64_t n, bool per_tap_)
    : stride(axis.stride),
      dilation(axis.dilation),
      per_tap(per_tap_),
      count(per_tap ? taps : std::min(taps, stride / std::gcd(stride, dilation))),
      length(per_tap ? n : n + (taps - 1) * dilation / stride) {}

PlaneStrip::PlaneStrip(const ConvShape& shape, const TermBlock& block, int64_t rows,
                       int64_t columns, bool spread, int64_t nr)
    : shape_(shape),
      block_(block),
      box_(shape, block),
      h_(shape.h, box_.r.count, rows, false),
      w_(shape.w, box_.s.count, columns, spread),
      // An odd number of vectors: planes a power of two apart would share sets of the caches.
      plane_(RoundUp(h_.count * h_.length * w_.count * w_.length, 16) | 16),
      nr_(nr) {}

int64_t PlaneStrip::Offset(int64_t tap) const {
  const int64_t width = shape_.w.window;
  const int64_t r = tap / width - box_.r.begin, s = tap % width - box_.s.begin;
  const int64_t row = (w_.Row(s) * h_.count + h_.Row(r)) * h_.length + h_.Place(r);
  return row * w_.length + w_.Place(s);
}

template <class T>
void PlaneStrip::Fill(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                      const Source<T>& x, const Region& region, T* to) const {
  const ImageStrides& strides = problem.x_strides;
  const WindowAxis &h = shape_.h, &w = shape_.w;
  const int64_t first_row = h.Input(region.oh, box_.r.begin);
  const int64_t first_column = w.Input(region.ow, box_.s.begin);
  const int64_t length = w_.length, step = w.stride * strides.w;
  const int64_t rows_step = h.stride * strides.h;
  for (int64_t c = 0; c < block_.depth(); ++c) {
    const Source<T> plane = x + (block_.c_begin + c) * strides.c;
    T* row = to;
    for (int64_t q = 0; q < w_.count; ++q) {
      const int64_t start = first_column + w_.Input(q, 0);
      const Interior inside(start, w.stride, length, w.in);
      const int64_t interior = inside.end - inside.begin;
      const int64_t from = (start + inside.begin * w.stride) * strides.w;
      const auto fill_border = [&](const Source<T>& in, int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t iw = problem.columns(start + i * w.stride);
          row[i] = T(0);
          if (iw != Border::kNone) (in + iw * strides.w).Read(1, 1, row + i);
        }
      };
      for (int64_t p = 0; p < h_.count; ++p) {
        const int64_t start_row = first_row + h_.Input(p, 0);
        const Interior image(start_row, h.stride, h_.length, h.in);
        for (int64_t j = 0; j < h_.length;) {
          const int64_t ih = problem.rows(start_row + j * h.stride);
          if (ih == Border::kNone) {
            std::fill_n(row, length, T(0));
            row += length;
            ++j;
            continue;
          }
          // Rows of the image itself go to the kernel together.
          const int64_t n = j >= image.begin && j < image.end ? image.end - j : 1;
          const Source<T> rows = plane + ih * strides.h;
          const bool block = rows.native() && step == 1 && rows_step >= 0 && interior > 0;
          if (block) {
            kernels.copy(rows.InPlace() + from, rows_step, n, interior, row + inside.begin, length);
          }
          for (int64_t i = 0; i < n; ++i, row += length) {
            const Source<T> in = rows + i * rows_step;
            if (!block) (in + from).Read(step, interior, row + inside.begin);
            fill_border(in, 0, inside.begin);
            fill_border(in, inside.end, length);
          }
          j += n;
        }
      }
    }
    to += plane_;
    std::fill(row, to, T(0));
  }
  std::fill_n(to, nr_, T(0));
}

#define LANEWISE_INSTANTIATE(T)                                                                  \
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
