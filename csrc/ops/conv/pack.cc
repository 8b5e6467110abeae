#include "ops/conv/pack.h"

#include <algorithm>

#include "ops/strided.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr double kNsPerPackedElement = 0.5;

// Offset of tap `tap` of filter `k` of a group, the groups being counted through all banks.
template <class T>
int64_t FilterOffset(const ConvProblem<T>& problem, int64_t tap, int64_t group, int64_t k) {
  const FilterStrides& strides = problem.filter_strides;
  const int64_t width = problem.shape.w.window, groups = problem.shape.groups;
  return tap / width * strides.r + tap % width * strides.s + group / groups * strides.n +
         group % groups * strides.g + k * strides.k;
}

// How many of `taps` positions start, start + step, … (step > 0) lie below `limit`.
int64_t CountBelow(int64_t start, int64_t step, int64_t taps, int64_t limit) {
  return limit <= start ? 0 : std::min(taps, CeilDiv(limit - start, step));
}

// Lanes [begin, begin + length) of a panel: inputs from `offset` on, or zeros.
struct Run {
  int64_t begin, length, offset;
  bool zeros;
};

// The runs of `count` pixels under a tap; returns their number (at most count).
template <class T>
int64_t FindRuns(const ConvProblem<T>& problem, const Pixel* pixels, int64_t count, int64_t tap,
                 Run* runs) {
  const WindowAxis &h = problem.shape.h, &w = problem.shape.w;
  const int64_t dh = tap / w.window * h.dilation, dw = tap % w.window * w.dilation;
  int64_t n = 0;
  for (int64_t j = 0; j < count; j += runs[n++].length) {
    const int64_t ih = problem.rows(pixels[j].ih + dh), iw = pixels[j].iw + dw;
    const int64_t rest = std::min(count - j, w.out - pixels[j].ow);  // of this output row
    const int64_t mapped = problem.columns(iw);
    const bool zeros = ih == Border::kNone || mapped == Border::kNone;
    int64_t length = 1;  // a pixel that the border folds back
    if (Inside(iw, w.in)) {
      length = CountBelow(iw, w.stride, rest, w.in);
    } else if (zeros) {
      length = iw < 0 ? CountBelow(iw, w.stride, rest, 0) : rest;
    }
    runs[n] = {j, length, ih * problem.x_strides.h + mapped * problem.x_strides.w, zeros};
  }
  return n;
}

}  // namespace

std::vector<TermBlock> TermBlocks(const ConvShape& shape, int64_t max_terms, int64_t max_taps) {
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
  const int64_t tasks = problem.banks * shape.groups * panels;
  Buffer<T> packed(tasks * terms * nr);
  const double ns = kNsPerPackedElement * double(tasks * nr) * double(terms);
  ParallelFor({tasks, ns, 0}, [&](int64_t index, Scratch) {
    const int64_t k = index % panels * nr;  // within the group
    const int64_t count = std::min(nr, shape.group_k - k);
    T* to = packed.get() + index * terms * nr;
    for (int64_t tap = 0; tap < shape.taps(); ++tap) {
      const Source<T> from = problem.filter + FilterOffset(problem, tap, index / panels, k);
      for (int64_t c = 0; c < shape.group_c; ++c, to += nr) {
        (from + c * problem.filter_strides.c).Read(problem.filter_strides.k, count, to);
        std::fill(to + count, to + nr, T(0));
      }
    }
  });
  return packed;
}

template <class T>
bool HasFilterRows(const ConvProblem<T>& problem) {
  const ConvShape& shape = problem.shape;
  const FilterStrides& strides = problem.filter_strides;
  return problem.filter.native() && (shape.group_c == 1 || strides.c == 1) &&
         (shape.w.window == 1 || strides.s == shape.group_c) &&
         (shape.h.window == 1 || strides.r == shape.w.window * shape.group_c);
}

template <class T>
Buffer<T> PackFilterRows(const ConvProblem<T>& problem) {
  const ConvShape& shape = problem.shape;
  const int64_t filters = problem.banks * shape.filters(), terms = shape.terms();
  Buffer<T> packed(filters * terms);
  const double ns = kNsPerPackedElement * double(filters) * double(terms);
  ParallelFor({filters, ns, 0}, [&](int64_t index, Scratch) {
    const int64_t group = index / shape.group_k, k = index % shape.group_k;
    T* to = packed.get() + index * terms;
    for (int64_t tap = 0; tap < shape.taps(); ++tap, to += shape.group_c) {
      (problem.filter + FilterOffset(problem, tap, group, k))
          .Read(problem.filter_strides.c, shape.group_c, to);
    }
  });
  return packed;
}

template <class T>
void PackPixelRow(const ConvProblem<T>& problem, const Source<T>& x, const Pixel& pixel,
                  const TermBlock& block, T* to) {
  const WindowAxis &h = problem.shape.h, &w = problem.shape.w;
  const ImageStrides& strides = problem.x_strides;
  const int64_t depth = block.depth(), tap_step = w.dilation * strides.w;
  // Where neighbouring taps are neighbours in memory, all taps of a row are one copy.
  const bool joined = strides.c == 1 && tap_step == depth;
  for (int64_t tap = block.tap_begin; tap < block.tap_end;) {
    const int64_t s = tap % w.window, taps = std::min(w.window - s, block.tap_end - tap);
    const int64_t ih = problem.rows(pixel.ih + tap / w.window * h.dilation);
    const int64_t iw = pixel.iw + s * w.dilation;
    const Source<T> row = x + (ih * strides.h + block.c_begin * strides.c);
    const auto copy_tap = [&](int64_t t) {
      const int64_t column = problem.columns(iw + t * w.dilation);
      if (ih == Border::kNone || column == Border::kNone) {
        std::fill_n(to + t * depth, depth, T(0));
      } else {
        (row + column * strides.w).Read(strides.c, depth, to + t * depth);
      }
    };
    const int64_t left = CountBelow(iw, w.dilation, taps, 0);
    const int64_t right = CountBelow(iw, w.dilation, taps, w.in);
    if (joined && ih != Border::kNone && left < right) {
      for (int64_t t = 0; t < left; ++t) copy_tap(t);
      (row + (iw + left * w.dilation) * strides.w)
          .Read(1, (right - left) * depth, to + left * depth);
      for (int64_t t = right; t < taps; ++t) copy_tap(t);
    } else {
      for (int64_t t = 0; t < taps; ++t) copy_tap(t);
    }
    to += taps * depth;
    tap += taps;
  }
}

template <class T>
void PackPixelPanel(const ConvProblem<T>& problem, const Source<T>& x, const Pixel* pixels,
                    int64_t count, const TermBlock& block, int64_t nr, T* panel) {
  constexpr int64_t kMaxNr = 64;
  Run runs[kMaxNr];
  const int64_t step = problem.shape.w.stride * problem.x_strides.w;
  const auto pack = [&](const auto& read) {
    for (int64_t tap = block.tap_begin; tap < block.tap_end; ++tap) {
      const int64_t n = FindRuns(problem, pixels, count, tap, runs);
      int64_t plane = block.c_begin * problem.x_strides.c;
      for (int64_t c = block.c_begin; c < block.c_end;
           ++c, plane += problem.x_strides.c, panel += nr) {
        for (int64_t i = 0; i < n; ++i) {
          if (runs[i].zeros) {
            std::fill_n(panel + runs[i].begin, runs[i].length, T(0));
          } else {
            read(plane + runs[i].offset, runs[i].length, panel + runs[i].begin);
          }
        }
        std::fill(panel + count, panel + nr, T(0));
      }
    }
  };
  if (x.native()) {
    pack([step, from = x.InPlace()](int64_t offset, int64_t n, T* to) {
      Gather(from + offset, step, n, to);
    });
  } else {
    pack([&](int64_t offset, int64_t n, T* to) { (x + offset).Read(step, n, to); });
  }
}

#define LANEWISE_INSTANTIATE(T)                                                                \
  template Buffer<T> PackFilterPanels(const ConvProblem<T>&, int64_t);                         \
  template Buffer<T> PackFilterRows(const ConvProblem<T>&);                                    \
  template bool HasFilterRows(const ConvProblem<T>&);                                          \
  template void PackPixelRow(const ConvProblem<T>&, const Source<T>&, const Pixel&,            \
                             const TermBlock&, T*);                                            \
  template void PackPixelPanel(const ConvProblem<T>&, const Source<T>&, const Pixel*, int64_t, \
                               const TermBlock&, int64_t, T*);
LANEWISE_INSTANTIATE(float)
LANEWISE_INSTANTIATE(double)
LANEWISE_INSTANTIATE(int32_t)
LANEWISE_INSTANTIATE(int64_t)
#undef LANEWISE_INSTANTIATE

}  // namespace lanewise
