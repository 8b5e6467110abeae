#include "ops/conv/pack.h"

#include <algorithm>

#include "ops/strided.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr double kNsPerPackedElement = 0.5;

template <class T>
const T* FilterTap(const ConvProblem<T>& problem, int64_t tap) {
  const int64_t width = problem.shape.w.window;
  return problem.filter + tap / width * problem.filter_strides.r +
         tap % width * problem.filter_strides.s;
}

// How many of `taps` positions start, start + step, … (step > 0) lie below `limit`.
int64_t CountBelow(int64_t start, int64_t step, int64_t taps, int64_t limit) {
  return limit <= start ? 0 : std::min(taps, CeilDiv(limit - start, step));
}

// Lanes [begin, begin + length) of a panel: inputs from `offset` on, or pixels outside the image.
struct Run {
  int64_t begin, length, offset;
  bool inside;
};

// The runs of `count` pixels under a tap; returns their number (at most count).
template <class T>
int64_t FindRuns(const ConvProblem<T>& problem, const Pixel* pixels, int64_t count, int64_t tap,
                 Run* runs) {
  const WindowAxis &h = problem.shape.h, &w = problem.shape.w;
  const int64_t dh = tap / w.window * h.dilation, dw = tap % w.window * w.dilation;
  int64_t n = 0;
  for (int64_t j = 0; j < count; j += runs[n++].length) {
    const int64_t ih = pixels[j].ih + dh, iw = pixels[j].iw + dw;
    const int64_t rest = std::min(count - j, w.out - pixels[j].ow);  // of this output row
    const bool inside = Inside(ih, h.in) && Inside(iw, w.in);
    const int64_t length = inside                       ? CountBelow(iw, w.stride, rest, w.in)
                           : iw < 0 && Inside(ih, h.in) ? CountBelow(iw, w.stride, rest, 0)
                                                        : rest;
    runs[n] = {j, length, ih * problem.x_strides.h + iw * problem.x_strides.w, inside};
  }
  return n;
}

}  // namespace

std::vector<TermBlock> TermBlocks(const ConvShape& shape, int64_t max_terms, int64_t max_taps) {
  std::vector<TermBlock> blocks;
  const int64_t c = shape.group_c, taps = shape.taps();
  if (c == 0) {
    blocks.push_back({0, 0, 0, 0});
  } else if (c > max_terms) {
    const Split slices(c, 1, max_terms);
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t i = 0; i < slices.count; ++i) {
        blocks.push_back({tap, tap + 1, slices.begin(i), slices.end(i)});
      }
    }
  } else {
    const Split groups(taps, 1, std::min(max_taps, max_terms / c));
    for (int64_t i = 0; i < groups.count; ++i) {
      blocks.push_back({groups.begin(i), groups.end(i), 0, c});
    }
  }
  return blocks;
}

void FillPixels(const ConvShape& shape, int64_t begin, int64_t end, Pixel* pixels) {
  int64_t oh = begin / shape.w.out, ow = begin % shape.w.out;
  for (int64_t p = begin; p < end; ++p) {
    *pixels++ = {oh, ow, shape.h.First(oh), shape.w.First(ow)};
    if (++ow == shape.w.out) {
      ow = 0;
      ++oh;
    }
  }
}

template <class T>
Buffer<T> PackFilterPanels(const ConvProblem<T>& problem, int64_t nr) {
  const ConvShape& shape = problem.shape;
  const int64_t panels = CeilDiv(shape.group_k, nr), terms = shape.terms();
  Buffer<T> packed(shape.groups * panels * terms * nr);
  const double ns = kNsPerPackedElement * double(shape.groups * panels * nr) * double(terms);
  ParallelFor({shape.groups * panels, ns, 0}, [&](int64_t index, Scratch) {
    const int64_t k = index % panels * nr;  // within the group
    const int64_t count = std::min(nr, shape.group_k - k);
    const int64_t k_offset = (index / panels * shape.group_k + k) * problem.filter_strides.k;
    T* to = packed.get() + index * terms * nr;
    for (int64_t tap = 0; tap < shape.taps(); ++tap) {
      const T* from = FilterTap(problem, tap) + k_offset;
      for (int64_t c = 0; c < shape.group_c; ++c, to += nr) {
        Gather(from + c * problem.filter_strides.c, problem.filter_strides.k, count, to);
        std::fill(to + count, to + nr, T(0));
      }
    }
  });
  return packed;
}

template <class T>
bool HasFilterRows(const ConvProblem<T>& problem) {
  const ConvShape& shape = problem.shape;
  const auto& strides = problem.filter_strides;
  return (shape.group_c == 1 || strides.c == 1) &&
         (shape.w.window == 1 || strides.s == shape.group_c) &&
         (shape.h.window == 1 || strides.r == shape.w.window * shape.group_c);
}

template <class T>
Buffer<T> PackFilterRows(const ConvProblem<T>& problem) {
  const ConvShape& shape = problem.shape;
  const int64_t filters = shape.groups * shape.group_k, terms = shape.terms();
  Buffer<T> packed(filters * terms);
  const double ns = kNsPerPackedElement * double(filters) * double(terms);
  ParallelFor({filters, ns, 0}, [&](int64_t k, Scratch) {
    for (int64_t tap = 0; tap < shape.taps(); ++tap) {
      Gather(FilterTap(problem, tap) + k * problem.filter_strides.k, problem.filter_strides.c,
             shape.group_c, packed.get() + k * terms + tap * shape.group_c);
    }
  });
  return packed;
}

template <class T>
void PackPixelRow(const ConvProblem<T>& problem, const T* x, const Pixel& pixel,
                  const TermBlock& block, T* to) {
  const WindowAxis &h = problem.shape.h, &w = problem.shape.w;
  const ImageStrides& strides = problem.x_strides;
  const int64_t depth = block.depth(), tap_step = w.dilation * strides.w;
  // Where neighbouring taps are neighbours in memory, all taps of a row are one copy.
  const bool joined = strides.c == 1 && tap_step == depth;
  for (int64_t tap = block.tap_begin; tap < block.tap_end;) {
    const int64_t s = tap % w.window, taps = std::min(w.window - s, block.tap_end - tap);
    const int64_t ih = pixel.ih + tap / w.window * h.dilation, iw = pixel.iw + s * w.dilation;
    const int64_t left = CountBelow(iw, w.dilation, taps, 0);
    const int64_t right = Inside(ih, h.in) ? CountBelow(iw, w.dilation, taps, w.in) : left;
    std::fill(to, to + left * depth, T(0));
    const T* from =
        x + ih * strides.h + (iw + left * w.dilation) * strides.w + block.c_begin * strides.c;
    if (joined) {
      Gather(from, 1, (right - left) * depth, to + left * depth);
    } else {
      for (int64_t t = left; t < right; ++t, from += tap_step) {
        Gather(from, strides.c, depth, to + t * depth);
      }
    }
    std::fill(to + right * depth, to + taps * depth, T(0));
    to += taps * depth;
    tap += taps;
  }
}

template <class T>
void PackPixelPanel(const ConvProblem<T>& problem, const T* x, const Pixel* pixels, int64_t count,
                    const TermBlock& block, int64_t nr, T* panel) {
  constexpr int64_t kMaxNr = 64;
  Run runs[kMaxNr];
  const int64_t step = problem.shape.w.stride * problem.x_strides.w;
  for (int64_t tap = block.tap_begin; tap < block.tap_end; ++tap) {
    const int64_t n = FindRuns(problem, pixels, count, tap, runs);
    const T* from = x + block.c_begin * problem.x_strides.c;
    for (int64_t c = block.c_begin; c < block.c_end;
         ++c, from += problem.x_strides.c, panel += nr) {
      for (int64_t i = 0; i < n; ++i) {
        if (runs[i].inside) {
          Gather(from + runs[i].offset, step, runs[i].length, panel + runs[i].begin);
        } else {
          std::fill_n(panel + runs[i].begin, runs[i].length, T(0));
        }
      }
      std::fill(panel + count, panel + nr, T(0));
    }
  }
}

#define LANEWISE_INSTANTIATE(T)                                                                    \
  template Buffer<T> PackFilterPanels(const ConvProblem<T>&, int64_t);                             \
  template Buffer<T> PackFilterRows(const ConvProblem<T>&);                                        \
  template bool HasFilterRows(const ConvProblem<T>&);                                              \
  template void PackPixelRow(const ConvProblem<T>&, const T*, const Pixel&, const TermBlock&, T*); \
  template void PackPixelPanel(const ConvProblem<T>&, const T*, const Pixel*, int64_t,             \
                               const TermBlock&, int64_t, T*);
LANEWISE_INSTANTIATE(float)
LANEWISE_INSTANTIATE(double)
#undef LANEWISE_INSTANTIATE

}  // namespace lanewise
