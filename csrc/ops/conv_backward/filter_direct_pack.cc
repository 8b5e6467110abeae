// Packing of blocks of pixels for the direct gradient by filters.
#include "ops/conv_backward/filter_direct_pack.h"

#include <algorithm>
#include <cstdlib>

#include "ops/conv/pack.h"
#include "ops/strided.h"
#include "runtime/target.h"

namespace lanewise {
namespace {

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

}  // namespace

template <class T>
BlockPacker<T>::BlockPacker(const FilterGradient<T>& g, const FilterDirectPlan& plan, int64_t bank,
                            int64_t set, const TileBox& box, const PackedBlock<T>& block)
    : g_(g),
      plan_(plan),
      kernels_(ConvKernelsFor<T>(ActiveTarget())),
      bank_(bank),
      set_(set),
      box_(box),
      block_(block) {}

// n columns of the strips of a box: of pixels `step` apart, and of zeros.
template <class T>
void BlockPacker<T>::PackColumns(const Source<T>& from, int64_t step, int64_t n, T* to) const {
  const int64_t unit = plan_.tiling.x_unit, c = box_.x * unit;
  PackPixels(kernels_, from + c * g_.x_strides.c, step, n, g_.x_strides.c,
             std::min(box_.x_end * unit, plan_.set_c) - c, unit, to, plan_.x.unit);
}

template <class T>
void BlockPacker<T>::FillColumns(int64_t n, T* to) const {
  for (int64_t x = box_.x; x < box_.x_end; ++x, to += plan_.x.unit) {
    std::fill_n(to, n * plan_.tiling.x_unit, T(0));
  }
}

// A line of the strips, whose first column is column `first` of the image.
template <class T>
void BlockPacker<T>::PackLine(const Source<T>& line, int64_t first, T* to) const {
  const int64_t unit = plan_.tiling.x_unit, step = plan_.columns.unit, w = g_.x_strides.w;
  for (int64_t run = 0; run < plan_.columns.runs; ++run, to += plan_.columns.count * unit) {
    const int64_t start = first + run * plan_.columns.run_unit;
    const Interior inside(start, step, plan_.columns.count, plan_.shape.w.in);
    const auto border = [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        const int64_t column = g_.columns(start + j * step);
        if (column == Border::kNone) {
          FillColumns(1, to + j * unit);
        } else {
          PackColumns(line + column * w, w, 1, to + j * unit);
        }
      }
    };
    border(0, inside.begin);
    if (inside.begin < inside.end) {
      PackColumns(line + (start + inside.begin * step) * w, step * w, inside.end - inside.begin,
                  to + inside.begin * unit);
    }
    border(inside.end, plan_.columns.count);
  }
}

// The lines of one image that are under some of its runs, the first of which is `at`.
template <class T>
void BlockPacker<T>::PackImage(const Source<T>& image, const TermRun& at, const StripPlaces& lines,
                               T* to) const {
  const WindowAxis &h = plan_.shape.h, &w = plan_.shape.w;
  const int64_t pitch = plan_.columns.length(), line_size = pitch * plan_.tiling.x_unit;
  const int64_t column = w.Input(at.j, plan_.tiling.joined ? 0 : box_.t);
  // Lines that are packed as they are, and follow each other in memory, are one.
  const bool whole = column == 0 && plan_.columns.unit == 1 && pitch == w.in && lines.unit == 1 &&
                     g_.x_strides.h == pitch * g_.x_strides.w;
  for (int64_t q = 0; q < lines.runs; ++q) {
    const int64_t first = h.Input(at.line, box_.r) + q * lines.run_unit;
    if (whole && first >= 0 && first + lines.count <= h.in) {
      PackColumns(image + first * g_.x_strides.h, g_.x_strides.w, lines.count * pitch, to);
      to += lines.count * line_size;
      continue;
    }
    for (int64_t i = 0; i < lines.count; ++i, to += line_size) {
      const int64_t line = g_.rows(first + i * lines.unit);
      if (line == Border::kNone) {
        FillColumns(pitch, to);
      } else {
        PackLine(image + line * g_.x_strides.h, column, to);
      }
    }
  }
}

template <class T>
void BlockPacker<T>::PackX(int64_t run, int64_t end) const {
  BlockRun<T>* block_run = block_.runs;
  if (plan_.one_value) {
    for (; run < end; ++run) *block_run++ = {nullptr, block_.strip, 0};
    return;
  }
  const Source<T> x = g_.x + set_ * plan_.set_c * g_.x_strides.c;
  const int64_t line_size = plan_.columns.length() * plan_.tiling.x_unit;
  T* to = block_.strip;
  for (int64_t last; run < end; run = last) {
    const TermRun at = plan_.At(run);
    last = std::min(end, run - at.line + plan_.terms.lines);
    const StripPlaces lines(plan_.shape.h, box_.rows(), last - run, false);
    PackImage(x + (bank_ * plan_.terms.images + at.image) * g_.x_strides.n, at, lines, to);
    for (int64_t i = 0; i < last - run; ++i) {
      block_run->x = to + i * lines.step * line_size;
      (block_run++)->row_shift = lines.shift * line_size;
    }
    to += lines.length() * line_size;
  }
}

template <class T>
void BlockPacker<T>::PackDy(int64_t run, int64_t end) const {
  const int64_t unit = plan_.tiling.y_unit;
  const auto [y, y_end] = plan_.YUnits(box_);
  const int64_t k = y * unit, channels = std::min(y_end * unit, plan_.set_k) - k;
  const ImageStrides& strides = g_.dy_strides;
  const Source<T> dy = g_.dy + (set_ * plan_.set_k + k) * strides.c;
  BlockRun<T>* block_run = block_.runs;
  T* to = block_.panels;
  // Lines that follow each other in memory are one.
  const bool whole = plan_.terms.pieces.count == 1 && strides.h == plan_.longest * strides.w;
  for (int64_t last; run < end; run = last) {
    const TermRun at = plan_.At(run);
    last = whole ? std::min(end, run - at.line + plan_.terms.lines) : run + 1;
    const Source<T> line = dy + ((bank_ * plan_.terms.images + at.image) * strides.n +
                                 at.line * strides.h + at.j * strides.w);
    if (!plan_.in_place) {
      PackPixels(kernels_, line, strides.w, (last - run) * at.width, strides.c, channels, unit, to,
                 plan_.dy.unit);
    }
    const int64_t step = plan_.in_place ? strides.h : plan_.longest * unit;
    const T* from = plan_.in_place ? line.InPlace() : to;
    for (int64_t i = run; i < last; ++i, from += step) (block_run++)->dy = from;
    to += (last - run) * plan_.longest * unit;
  }
}

// What runs [run, end) read of memory where it is dense, and one box needs all of it. Of x the
// lines that they do not share with the runs before them.
template <class T>
MemoryAhead BlockPacker<T>::Ahead(int64_t run, int64_t end) const {
  MemoryAhead ahead{nullptr, nullptr, nullptr, nullptr};
  end = std::min(end, plan_.terms.runs);
  if (plan_.boxes.count() > 1 || plan_.sets > 1 || plan_.terms.pieces.count > 1 || run >= end) {
    return ahead;
  }
  const auto dense = [&](const Source<T>& data, const ImageStrides& strides, int64_t channels) {
    return data.native() && strides.c == 1 && strides.w == channels;
  };
  const auto at = [&](const Source<T>& data, const ImageStrides& strides, const TermRun& r,
                      int64_t line) {
    const int64_t image = bank_ * plan_.terms.images + r.image;
    return reinterpret_cast<const char*>((data + (image * strides.n + line * strides.h)).InPlace());
  };
  const TermRun first = plan_.At(run), last = plan_.At(end - 1);
  if (dense(g_.dy, g_.dy_strides, plan_.set_k)) {
    ahead.dy = at(g_.dy, g_.dy_strides, first, first.line);
    ahead.dy_end = at(g_.dy, g_.dy_strides, last, last.line + 1);
  }
  if (dense(g_.x, g_.x_strides, plan_.set_c)) {
    const WindowAxis& h = plan_.shape.h;
    const auto past = [&](int64_t line) {
      return std::clamp<int64_t>(h.Input(line, h.window - 1) + 1, 0, h.in);
    };
    ahead.x = at(g_.x, g_.x_strides, first, first.line == 0 ? 0 : past(first.line - 1));
    ahead.x_end = at(g_.x, g_.x_strides, last, past(last.line));
  }
  return ahead;
}

// What the kernels read and nobody packs: channels past the last, and the ends of both.
template <class T>
void BlockPacker<T>::FillPast() const {
  if (box_.x_end * plan_.tiling.x_unit > plan_.set_c && !plan_.one_value) {
    std::fill_n(block_.strip + (box_.x_end - 1 - box_.x) * plan_.x.unit, plan_.x.unit, T(0));
  }
  std::fill_n(block_.strip + (box_.x_end - box_.x) * plan_.x.unit, plan_.nr, T(0));
  if (plan_.one_value) g_.x.Read(1, 1, block_.strip);
  if (plan_.in_place) return;
  const auto [y, y_end] = plan_.YUnits(box_);
  T* const past = block_.panels + (y_end - y) * plan_.dy.unit;
  if (y_end * plan_.tiling.y_unit > plan_.set_k) {
    std::fill_n(past - plan_.dy.unit, plan_.dy.unit, T(0));
  }
  std::fill_n(past, plan_.nr, T(0));
}

template class BlockPacker<float>;
template class BlockPacker<double>;
template class BlockPacker<int32_t>;
template class BlockPacker<int64_t>;

}  // namespace lanewise
