#include "ops/conv/inside.h"

#include <algorithm>

#include "ops/conv/pack.h"
#include "ops/strided.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// A rectangle also costs packing its taps, which takes as long as the products of so many pixels;
// pixels come in tiles.
constexpr int64_t kPixelsPerTap = 32, kTilePixels = 12;
// 3×3 with 256 channels at 33² and dilation 18, share 0.48, takes 3.1 ms instead of 6.6 (one core
// with AVX-512); with dilation 12, share 0.71, 4.6.
constexpr double kWorthwhile = 0.85;

// Outputs along an axis whose windows have the same taps inside the image: none, where they are in
// the padding altogether.
struct AxisPart {
  int64_t out, count, tap, taps;
};

std::vector<AxisPart> PartsOf(const WindowAxis& axis) {
  std::vector<AxisPart> parts;
  for (int64_t o = 0; o < axis.out; ++o) {
    const Interior inside(axis.First(o), axis.dilation, axis.window, axis.in);
    const AxisPart part{o, 1, inside.begin, inside.end - inside.begin};
    if (!parts.empty() && parts.back().tap == part.tap && parts.back().taps == part.taps) {
      ++parts.back().count;
    } else {
      parts.push_back(part);
    }
  }
  return parts;
}

double Cost(int64_t pixels, int64_t taps) {
  return double(RoundUp(pixels, kTilePixels) + kPixelsPerTap) * double(taps);
}

// Whether some of an axis' taps are in the padding for so many outputs that it may pay to look.
bool ReachesOut(const WindowAxis& axis) {
  return (axis.before + axis.after) * 8 > axis.in + axis.before + axis.after;
}

struct Parts {
  std::vector<AxisPart> h, w;
  double share = 1;

  explicit Parts(const ConvShape& shape);
  bool pay() const { return share < kWorthwhile; }
};

Parts::Parts(const ConvShape& shape) {
  const bool few = shape.pixels() <= 2 * kPixelsPerTap;
  if (few || (!ReachesOut(shape.h) && !ReachesOut(shape.w))) return;
  h = PartsOf(shape.h);
  w = PartsOf(shape.w);
  double cost = 0;
  for (const AxisPart& rows : h) {
    for (const AxisPart& columns : w) {
      cost += Cost(rows.count * columns.count, rows.taps * columns.taps);
    }
  }
  share = std::min(1.0, cost / Cost(shape.pixels(), shape.taps()));
}

// The axis of a part, which has no padding.
WindowAxis Cut(const WindowAxis& axis, const AxisPart& part) {
  const int64_t in = (part.count - 1) * axis.stride + (part.taps - 1) * axis.dilation + 1;
  return {in, part.taps, axis.stride, axis.dilation, 0, 0, part.count};
}

// The axis of a part with no tap inside: one tap, before an image of one pixel.
WindowAxis Outside(const WindowAxis& axis, const AxisPart& part) {
  return {1, 1, axis.stride, 1, part.count * axis.stride, 0, part.count};
}

template <class T>
ConvProblem<T> Cut(const ConvProblem<T>& problem, const AxisPart& rows, const AxisPart& columns) {
  ConvProblem<T> part = problem;
  const WindowAxis &h = problem.shape.h, &w = problem.shape.w;
  if (rows.taps > 0 && columns.taps > 0) {
    part.shape.h = Cut(h, rows);
    part.shape.w = Cut(w, columns);
    part.x = problem.x + (h.Input(rows.out, rows.tap) * problem.x_strides.h +
                          w.Input(columns.out, columns.tap) * problem.x_strides.w);
    part.filter = problem.filter +
                  (rows.tap * problem.filter_strides.r + columns.tap * problem.filter_strides.s);
  } else {
    part.shape.h = Outside(h, rows);
    part.shape.w = Outside(w, columns);
  }
  part.rows = Border(PadMode::kConstant, part.shape.h.in);
  part.columns = Border(PadMode::kConstant, part.shape.w.in);
  const ImageStrides& out = problem.out_strides;
  part.out = problem.out + (rows.out * out.h + columns.out * out.w);
  return part;
}

constexpr double kNsPerElement = 0.3;

template <class T>
int64_t FilterElements(const ConvProblem<T>& problem) {
  return problem.banks * problem.shape.filters() * problem.shape.terms();
}

// Whether all elements of all filters are finite.
template <class T>
bool AreFinite(const ConvProblem<T>& problem, const ConvKernels<T>& kernels) {
  const ConvShape& shape = problem.shape;
  const FilterStrides& strides = problem.filter_strides;
  const bool planes = FiltersArePlanes(problem);
  // Runs of memory, if possible.
  const int64_t n = planes ? shape.terms() : shape.group_k, step = planes ? 1 : strides.k;
  const int64_t per_group = planes ? shape.group_k : shape.terms();
  const int64_t groups = problem.banks * shape.groups;
  std::vector<uint8_t> finite(groups * per_group, 1);
  const Work work{groups * per_group, kNsPerElement * double(FilterElements(problem)), 0};
  ParallelFor(work, [&](int64_t index, Scratch) {
    const int64_t group = index / per_group, i = index % per_group;
    int64_t offset = i * strides.k;
    if (!planes) {
      const int64_t tap = i / shape.group_c, c = i % shape.group_c;
      offset = tap / shape.w.window * strides.r + tap % shape.w.window * strides.s + c * strides.c;
    }
    const Source<T> from = problem.filter + (group / shape.groups * strides.n +
                                             group % shape.groups * strides.g + offset);
    constexpr int64_t kChunk = 256;
    T chunk[kChunk];
    for (int64_t j = 0; j < n; j += kChunk) {
      const int64_t count = std::min(kChunk, n - j);
      (from + j * step).Read(step, count, chunk);
      if (!kernels.finite(chunk, count)) finite[index] = 0;
    }
  });
  return std::count(finite.begin(), finite.end(), 0) == 0;
}

// Filters in memory as [k][c][tap], as [c][tap][k]: the taps of a part, which lie apart in the
// former, would be packed element by element.
template <class T>
Buffer<T> Transposed(const ConvProblem<T>& problem, const ConvKernels<T>& kernels) {
  const ConvShape& shape = problem.shape;
  const FilterStrides& strides = problem.filter_strides;
  constexpr int64_t kRows = 32;  // filters at a time
  Buffer<T> transposed(FilterElements(problem));
  const Split filters(shape.group_k, kRows, kRows);
  const Work work{problem.banks * shape.groups * filters.count,
                  kNsPerElement * double(FilterElements(problem)), 0};
  ParallelFor(work, [&](int64_t index, Scratch) {
    const int64_t group = index / filters.count, k = filters.begin(index % filters.count);
    const Source<T> from = problem.filter + (group / shape.groups * strides.n +
                                             group % shape.groups * strides.g + k * strides.k);
    kernels.transpose(from.InPlace(), strides.k, filters.end(index % filters.count) - k,
                      shape.terms(), transposed.get() + group * shape.terms() * shape.group_k + k,
                      shape.group_k);
  });
  return transposed;
}

}  // namespace

double DirectShare(const ConvShape& shape) {
  const Parts parts(shape);
  return parts.pay() ? parts.share : 1;
}

template <class T>
InsideParts<T>::InsideParts(const ConvProblem<T>& problem, const ConvKernels<T>& kernels)
    : parts_{problem} {
  const Parts parts(problem.shape);
  if (!parts.pay() || !problem.rows.constant() || !AreFinite(problem, kernels)) return;
  ConvProblem<T> whole = problem;
  if (problem.forms == nullptr && problem.filter.native() && FiltersArePlanes(problem)) {
    const ConvShape& shape = problem.shape;
    const int64_t k = shape.group_k, bank = shape.groups * shape.terms() * k;
    transposed_ = Transposed(problem, kernels);
    whole.filter = Source<T>(transposed_.get());
    whole.filter_strides = {problem.banks == 1 ? 0 : bank,
                            shape.terms() * k,
                            shape.w.window * k,
                            k,
                            shape.taps() * k,
                            1};
  }
  parts_.clear();
  parts_.reserve(parts.h.size() * parts.w.size());
  for (const AxisPart& rows : parts.h) {
    for (const AxisPart& columns : parts.w) parts_.push_back(Cut(whole, rows, columns));
  }
}

#define LANEWISE_INSTANTIATE(T) template class InsideParts<T>;
LANEWISE_INSTANTIATE(float)
LANEWISE_INSTANTIATE(double)
#undef LANEWISE_INSTANTIATE

}  // namespace lanewise
