// Depthwise convolution: one input and one output channel per group.
//
//   lanes = channels, where they are contiguous in x and out (NHWC): rows are output pixels, read
//   in
//           place through one pointer per tap.
//   lanes = pixels of an output row, else (NCHW, any strides): rows are output rows; the input rows
//           are copied into strips with their padding, split by phase where the stride is above 1,
//           so that the pixels under one tap are neighbours.
// Both run the same chain of multiply-adds for an output, in the order (r, s).
#include <algorithm>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/pack.h"
#include "ops/strided.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr double kFlopsPerNs = 10;

// filter[tap][channel]
template <class T>
Buffer<T> PackTaps(const ConvProblem<T>& problem) {
  const ConvShape& shape = problem.shape;
  Buffer<T> packed(shape.taps() * shape.groups);
  T* to = packed.get();
  for (int64_t r = 0; r < shape.h.window; ++r) {
    for (int64_t s = 0; s < shape.w.window; ++s, to += shape.groups) {
      Gather(problem.filter + r * problem.filter_strides.r + s * problem.filter_strides.s,
             problem.filter_strides.k, shape.groups, to);
    }
  }
  return packed;
}

// ------------------------------------------------------------------------------- lanes = channels

template <class T>
void RunChannelLanes(const ConvProblem<T>& problem, const ConvKernels<T>& kernels) {
  const ConvShape& shape = problem.shape;
  const WindowAxis &h = shape.h, &w = shape.w;
  const int64_t mr = kernels.depthwise_mr, taps = shape.taps(), nr = kernels.nr;
  const Buffer<T> filter = PackTaps(problem);
  const Buffer<T> zeros(shape.groups);
  std::fill_n(zeros.get(), shape.groups, T(0));

  // The rows of x under a tile and the taps of its channels fit in L1 together.
  const int64_t l1_elements = Caches().l1 / 2 / sizeof(T);
  const Split channels(shape.groups, nr, std::max<int64_t>(nr, l1_elements / (taps + mr)));
  const double total_ns = problem.flops() / kFlopsPerNs;
  const Split columns(w.out, mr, w.out);
  const int64_t per_image = h.out * channels.count;
  const Work work{problem.batch * per_image, total_ns,
                  Scratch::Bytes<const T*>(taps * mr) + Scratch::Bytes<T>(mr * channels.longest())};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    const T** pointers = scratch.Take<const T*>(taps * mr);
    T* sums = scratch.Take<T>(mr * channels.longest());
    const int64_t image = index / per_image, piece = index % per_image / h.out;
    const int64_t oh = index % h.out;
    const int64_t c = channels.begin(piece), n = channels.end(piece) - c;
    const T* x = problem.x + image * problem.x_strides.n + c;
    T* out = problem.out + image * problem.out_strides.n + oh * problem.out_strides.h + c;
    for (int64_t ow = 0; ow < w.out; ow += mr) {
      const int64_t count = std::min(mr, w.out - ow);
      const T** pointer = pointers;
      for (int64_t tap = 0; tap < taps; ++tap, pointer += mr) {
        const int64_t ih = h.Input(oh, tap / w.window);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t iw = w.Input(ow + i, tap % w.window);
          const bool inside = Inside(ih, h.in) && Inside(iw, w.in);
          pointer[i] =
              inside ? x + ih * problem.x_strides.h + iw * problem.x_strides.w : zeros.get();
        }
      }
      kernels.depthwise(pointers, mr, count, taps, n, filter.get() + c, shape.groups, sums,
                        channels.longest());
      kernels.finish[static_cast<int>(problem.activation)](
          sums, channels.longest(), count, n, problem.bias.get() + c,
          out + ow * problem.out_strides.w, problem.out_strides.w);
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

// to[phase·length + i] = row[first + rest of phase + i·stride], zeros outside the image.
template <class T>
void PackStrip(const T* row, int64_t step, const WindowAxis& w, const Phases& phases, int64_t first,
               int64_t length, T* to) {
  for (const int64_t rest : phases.rests) {
    const int64_t start = first + rest;
    const int64_t begin = start >= 0 ? 0 : std::min(length, CeilDiv(-start, w.stride));
    const int64_t end =
        start >= w.in ? begin : std::clamp(CeilDiv(w.in - start, w.stride), begin, length);
    std::fill(to, to + begin, T(0));
    Gather(row + (start + begin * w.stride) * step, w.stride * step, end - begin, to + begin);
    std::fill(to + end, to + length, T(0));
    to += length;
  }
}

template <class T>
void RunPixelLanes(const ConvProblem<T>& problem, const ConvKernels<T>& kernels) {
  const ConvShape& shape = problem.shape;
  const WindowAxis &h = shape.h, &w = shape.w;
  const int64_t mr = kernels.depthwise_mr, taps = shape.taps();
  const Buffer<T> filter(shape.groups * taps);  // [channel][tap]
  for (int64_t k = 0; k < shape.groups; ++k) {
    for (int64_t r = 0; r < h.window; ++r) {
      Gather(problem.filter + k * problem.filter_strides.k + r * problem.filter_strides.r,
             problem.filter_strides.s, w.window, filter.get() + k * taps + r * w.window);
    }
  }

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
    const T* x = problem.x + image * problem.x_strides.n + k * problem.x_strides.c;

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
          const int64_t ih = h.Input(oh + i, r);
          if (Inside(ih, h.in)) {
            PackStrip(x + ih * problem.x_strides.h, problem.x_strides.w, w, phases, w.First(ow),
                      phase_length, to);
          } else {
            std::fill_n(to, strip, T(0));
          }
        }
        for (int64_t s = 0; s < w.window; ++s) {
          pointers[(r * w.window + s) * mr + i] =
              to + phases.of_tap[s] * phase_length + s * w.dilation / w.stride;
        }
      }
    }
    kernels.depthwise_broadcast(pointers, mr, count, taps, n, filter.get() + k * taps, 0, sums,
                                columns.longest());

    const auto finish = kernels.finish_per_row[static_cast<int>(problem.activation)];
    const T b = problem.bias.get()[k];
    T* out = problem.out + image * problem.out_strides.n + k * problem.out_strides.c +
             ow * problem.out_strides.w;
    for (int64_t i = 0; i < count; ++i) {
      T* from = sums + i * columns.longest();
      T* to = out + (oh + i) * problem.out_strides.h;
      const bool contiguous = problem.out_strides.w == 1;
      finish(from, 0, 1, n, &b, contiguous ? to : from, 0);
      if (!contiguous) Scatter(from, n, to, problem.out_strides.w);
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

}  // namespace lanewise
