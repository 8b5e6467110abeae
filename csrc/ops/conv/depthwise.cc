// Depthwise convolution: one input and one output channel per group.
//
//   lanes = channels, where they are neighbours in x and out (NHWC): rows are output pixels, read
//   in
//           place through one pointer per tap, or widened tap by tap.
//   lanes = pixels of an output row, else (NCHW, any strides): rows are output rows; the input rows
//           are copied into strips with their padding, split by phase where the stride is above 1,
//           so that the pixels under one tap are neighbours.
// Both run the same chain of multiply-adds for an output, in the order (r, s).
#include <algorithm>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/epilogue.h"
#include "ops/conv/pack.h"
#include "ops/conv/packed_filter.h"
#include "ops/strided.h"
#include "runtime/buffer.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr double kFlopsPerNs = 10;

// filter[bank][tap][channel], or [bank][channel][tap].
template <class T>
Buffer<T> PackTaps(const ConvProblem<T>& problem, bool channels_last) {
  const ConvShape& shape = problem.shape;
  const FilterStrides& strides = problem.filter_strides;
  const int64_t taps = shape.taps(), groups = shape.groups, width = shape.w.window;
  Buffer<T> packed(problem.banks * taps * groups);
  T* to = packed.get();
  for (int64_t bank = 0; bank < problem.banks; ++bank) {
    const Source<T> from = problem.filter + bank * strides.n;
    for (int64_t i = 0; channels_last && i < taps; ++i, to += groups) {
      (from + (i / width * strides.r + i % width * strides.s)).Read(strides.g, groups, to);
    }
    for (int64_t i = 0; !channels_last && i < groups * shape.h.window; ++i, to += width) {
      const int64_t g = i / shape.h.window, r = i % shape.h.window;
      (from + (g * strides.g + r * strides.r)).Read(strides.s, width, to);
    }
  }
  return packed;
}

// ------------------------------------------------------------------------------- lanes = channels

// Pointers to the channels [c, c + n) of x under the taps of up to MR neighbouring output pixels.
template <class T>
class PixelPointers {
 public:
  // `zeros` are n at least; `copies` hold taps·mr·n elements where x is not native.
  PixelPointers(const ConvProblem<T>& problem, int64_t mr, const T* zeros, const T** pointers,
                T* copies)
      : problem_(problem),
        mr_(mr),
        // Tap s of output i + 1 reads the pixel of tap s + shift of output i.
        shift_(problem.shape.w.stride % problem.shape.w.dilation == 0
                   ? problem.shape.w.stride / problem.shape.w.dilation
                   : problem.shape.w.window),
        zeros_(zeros),
        pointers_(pointers),
        copies_(copies) {}

  // Sets [tap][i] for outputs (oh, ow + i), i < count.
  const T** Set(const Source<T>& x, int64_t n, int64_t oh, int64_t ow, int64_t count) {
    const WindowAxis &h = problem_.shape.h, &w = problem_.shape.w;
    const T** taps = pointers_;  // of one row of the window
    for (int64_t r = 0; r < h.window; ++r, taps += w.window * mr_) {
      const int64_t ih = problem_.rows(h.Input(oh, r));
      if (ih == Border::kNone) {
        std::fill_n(taps, w.window * mr_, zeros_);
      } else if (x.native()) {
        SetRow(taps, ow, count,
               [row = x.InPlace() + ih * problem_.x_strides.h, step = problem_.x_strides.w](
                   int64_t iw, int64_t, int64_t) { return row + iw * step; });
      } else {
        const Source<T> row = x + ih * problem_.x_strides.h;
        T* const copies = copies_ + r * w.window * mr_ * n;
        SetRow(taps, ow, count, [&](int64_t iw, int64_t s, int64_t i) -> const T* {
          if (s >= shift_ && i + 1 < count) return taps[(s - shift_) * mr_ + i + 1];
          T* const copy = copies + (s * mr_ + i) * n;
          (row + iw * problem_.x_strides.w).Read(1, n, copy);
          return copy;
        });
      }
    }
    return pointers_;
  }

 private:
  // taps[s][i] = pointer_to(column of x, s, i), or zeros.
  template <class F>
  void SetRow(const T** taps, int64_t ow, int64_t count, const F& pointer_to) {
    const WindowAxis& w = problem_.shape.w;
    for (int64_t s = 0; s < w.window; ++s, taps += mr_) {
      int64_t position = w.Input(ow, s);
      for (int64_t i = 0; i < count; ++i, position += w.stride) {
        const int64_t iw = problem_.columns(position);
        taps[i] = iw == Border::kNone ? zeros_ : pointer_to(iw, s, i);
      }
    }
  }

  const ConvProblem<T>& problem_;
  const int64_t mr_, shift_;
  const T* const zeros_;
  const T** const pointers_;
  T* const copies_;
};

template <class T>
void RunChannelLanes(const ConvProblem<T>& problem, const ConvKernels<T>& kernels) {
  const ConvShape& shape = problem.shape;
  const WindowAxis &h = shape.h, &w = shape.w;
  const int64_t mr = kernels.depthwise_mr, taps = shape.taps(), nr = kernels.nr;
  const PackedFilters<T> filter =
      GetFilters(problem, FilterForm::kTaps, kernels, 0, [&] { return PackTaps(problem, true); });
  const Buffer<T> zeros(shape.groups);
  std::fill_n(zeros.get(), shape.groups, T(0));

  // The rows of x under a tile and the taps of its channels fit in L1 together.
  const int64_t l1_elements = Caches().l1 / 2 / sizeof(T);
  const Split channels(shape.groups, nr, std::max<int64_t>(nr, l1_elements / (taps + mr)));
  const int64_t copies = problem.x.native() ? 0 : taps * mr * channels.longest();
  const int64_t per_image = h.out * channels.count;
  const Work work{problem.batch * per_image, problem.flops() / kFlopsPerNs,
                  Scratch::Bytes<const T*>(taps * mr) + Scratch::Bytes<T>(mr * channels.longest()) +
                      Scratch::Bytes<T>(copies)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    const T** pointers = scratch.Take<const T*>(taps * mr);
    T* sums = scratch.Take<T>(mr * channels.longest());
    PixelPointers<T> rows(problem, mr, zeros.get(), pointers, scratch.Take<T>(copies));
    const int64_t image = index / per_image, piece = index % per_image / h.out;
    const int64_t oh = index % h.out;
    const int64_t c = channels.begin(piece), n = channels.end(piece) - c;
    const Source<T> x = problem.x + (image * problem.x_strides.n + c);
    const Sink<T> out =
        problem.out + (image * problem.out_strides.n + oh * problem.out_strides.h + c);
    const T* taps_of_c = filter.get() + problem.bank(image) * taps * shape.groups + c;
    for (int64_t ow = 0; ow < w.out; ow += mr) {
      const int64_t count = std::min(mr, w.out - ow);
      kernels.depthwise(rows.Set(x, n, oh, ow, count), mr, count, taps, n, taps_of_c, shape.groups,
                        sums, channels.longest());
      Epilogue<T>{kernels, problem}.PerLane(
          sums, channels.longest(), count, n, problem.bias + image * problem.bias_stride + c,
          out + ow * problem.out_strides.w, problem.out_strides.w, 1);
    }
  });
}

// --------------------------------------------------------------------------------- lanes = pixels

// Taps s whose columns s·dilation leave the same rest by the stride read the same input columns,
// shifted: one phase of a strip serves them all.
struct Phases {
  std::vector<int64_t> rests;   // of each phase
  std::vector<int64_t> of_tap;  // the phase of tap s

  explicit Phases(const WindowAxis& w) {
    for (int64_t s = 0; s < w.window; ++s) {
      const int64_t rest = s * w.dilation % w.stride;
      const auto found = std::find(rests.begin(), rests.end(), rest);
      of_tap.push_back(found - rests.begin());
      if (found == rests.end()) rests.push_back(rest);
    }
  }
};

// to[phase·length + i] = pixel first + rest of phase + i·stride of a row of x.
template <class T>
void PackStrip(const ConvProblem<T>& problem, const Source<T>& row, const Phases& phases,
               int64_t first, int64_t length, T* to) {
  const WindowAxis& w = problem.shape.w;
  const int64_t step = problem.x_strides.w;
  const auto copy_border = [&](int64_t start, int64_t begin, int64_t end) {
    if (problem.columns.constant()) return std::fill(to + begin, to + end, T(0));
    for (int64_t i = begin; i < end; ++i) {
      (row + problem.columns(start + i * w.stride) * step).Read(1, 1, to + i);
    }
  };
  for (const int64_t rest : phases.rests) {
    const int64_t start = first + rest;
    const int64_t begin = start >= 0 ? 0 : std::min(length, CeilDiv(-start, w.stride));
    const int64_t end =
        start >= w.in ? begin : std::clamp(CeilDiv(w.in - start, w.stride), begin, length);
    copy_border(start, 0, begin);
    (row + (start + begin * w.stride) * step).Read(w.stride * step, end - begin, to + begin);
    copy_border(start, end, length);
    to += length;
  }
}

template <class T>
void RunPixelLanes(const ConvProblem<T>& problem, const ConvKernels<T>& kernels) {
  const ConvShape& shape = problem.shape;
  const WindowAxis &h = shape.h, &w = shape.w;
  const int64_t mr = kernels.depthwise_mr, taps = shape.taps();
  const PackedFilters<T> filter = GetFilters(problem, FilterForm::kTapRows, kernels, 0,
                                             [&] { return PackTaps(problem, false); });

  const Phases phases(w);
  const int64_t phase_count = phases.rests.size();
  // Strips of the input rows under one tile of `mr` output rows, a quarter of L2 in all.
  const int64_t strip_rows = mr * h.window;
  const int64_t reach = CeilDiv((w.window - 1) * w.dilation + 1, w.stride);
  const int64_t at_most = std::max<int64_t>(
      kernels.nr, Caches().l2 / 4 / sizeof(T) / (strip_rows * phase_count) - reach);
  const Split columns(w.out, kernels.nr, at_most);
  const int64_t phase_length = columns.longest() + reach;
  const int64_t strip = phase_length * phase_count;

  const int64_t tiles = CeilDiv(h.out, mr), per_plane = tiles * columns.count;
  const Work work{problem.batch * shape.groups * per_plane, problem.flops() / kFlopsPerNs,
                  Scratch::Bytes<T>(strip_rows * strip) + Scratch::Bytes<const T*>(taps * mr) +
                      Scratch::Bytes<T>(mr * columns.longest())};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    T* strips = scratch.Take<T>(strip_rows * strip);
    const T** pointers = scratch.Take<const T*>(taps * mr);
    T* sums = scratch.Take<T>(mr * columns.longest());
    const int64_t plane = index / per_plane, image = plane / shape.groups;
    const int64_t k = plane % shape.groups;
    const int64_t oh = index % per_plane / columns.count * mr, piece = index % columns.count;
    const int64_t ow = columns.begin(piece), n = columns.end(piece) - ow;
    const int64_t count = std::min(mr, h.out - oh);
    const Source<T> x = problem.x + (image * problem.x_strides.n + k * problem.x_strides.c);

    // strips[i·R + r] is the input row under output row oh + i and tap row r; rows that two outputs
    // share are copied once and pointed at twice.
    const auto strip_of = [&](int64_t i, int64_t r) {
      const int64_t ih = h.Input(oh + i, r);
      for (int64_t earlier = 0; earlier < i; ++earlier) {
        const int64_t offset = ih - h.First(oh + earlier);
        if (offset % h.dilation == 0 && offset / h.dilation < h.window) {
          return strips + (earlier * h.window + offset / h.dilation) * strip;
        }
      }
      return strips + (i * h.window + r) * strip;
    };
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t r = 0; r < h.window; ++r) {
        T* to = strip_of(i, r);
        if (to == strips + (i * h.window + r) * strip) {
          const int64_t ih = problem.rows(h.Input(oh + i, r));
          if (ih == Border::kNone) {
            std::fill_n(to, strip, T(0));
          } else {
            PackStrip(problem, x + ih * problem.x_strides.h, phases, w.First(ow), phase_length, to);
          }
        }
        for (int64_t s = 0; s < w.window; ++s) {
          pointers[(r * w.window + s) * mr + i] =
              to + phases.of_tap[s] * phase_length + s * w.dilation / w.stride;
        }
      }
    }
    kernels.depthwise_broadcast(pointers, mr, count, taps, n,
                                filter.get() + (problem.bank(image) * shape.groups + k) * taps, 0,
                                sums, columns.longest());
    const ImageStrides& strides = problem.out_strides;
    const T b = problem.bias[image * problem.bias_stride + k];
    const Sink<T> out =
        problem.out + (image * strides.n + k * strides.c + oh * strides.h + ow * strides.w);
    for (int64_t i = 0; i < count; ++i) {
      Epilogue<T>{kernels, problem}.PerRow(sums + i * columns.longest(), 0, 1, n, &b,
                                           out + i * strides.h, 0, strides.w);
    }
  });
}

}  // namespace

template <class T>
void RunDepthwise(const ConvProblem<T>& problem) {
  const auto& kernels = ConvKernelsFor<T>(ActiveTarget());
  if (problem.x_strides.c == 1 && problem.out_strides.c == 1) {
    RunChannelLanes(problem, kernels);
  } else {
    RunPixelLanes(problem, kernels);
  }
}

template void RunDepthwise(const ConvProblem<float>&);
template void RunDepthwise(const ConvProblem<double>&);
template void RunDepthwise(const ConvProblem<int32_t>&);
template void RunDepthwise(const ConvProblem<int64_t>&);

}  // namespace lanewise
