#include "ops/conv/grouped_planes.h"

#include <algorithm>
#include <vector>

#include "ops/strided.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// Elements of results that wait in L1 until their rows are copied.
constexpr int64_t kResults = 2048;
// Channels at a time, if they are so small: a vector that is read soon after the rows that it
// spans were written would wait for them.
constexpr int64_t kMostChannels = 8;
// Each product loads its pixels anew, and vectors of 64 bytes mostly from two cache lines, which
// vectors of channels do not. Measured (one core, µs; vectors of channels, then planes): AVX-512,
// 3×3, 384 channels at 14² 55 and 40, 144 at 56² 290 and 230, 32 at 112² 203 and 215; 5×5, 672 at
// 14² 125 and 125, 1152 at 7² 67 and 96; 7×7, 384 at 14² 86 and 151. AVX2: 85 and 46, 437 and 254;
// 192 and 165, 114 and 110; 140 and 195.
constexpr int64_t kMostTapsOf64Bytes = 9, kMostTaps = 25;
constexpr int64_t kTasksPerThread = 4;

// A plane of x with its padding. The outputs are numbered along its rows, too, and those numbers
// that no output has, between the rows, are computed for nothing.
struct PaddedPlane {
  int64_t rows, pitch, count;  // count: elements, as the kernel reads whole vectors
  int64_t channels;            // at a time,
  int64_t band, results;       // output rows of each, and the elements of these

  PaddedPlane(const ConvShape& shape, int64_t lanes)
      : rows(Length(shape.h)),
        pitch(Length(shape.w)),
        count(RoundUp(rows * pitch + lanes, lanes)),
        channels(std::clamp<int64_t>(kResults / count, 1, kMostChannels)),
        band(std::clamp<int64_t>(kResults / pitch, 1, shape.h.out)),
        results(RoundUp(band * pitch, lanes)) {}

 private:
  static int64_t Length(const WindowAxis& axis) {
    return axis.out + (axis.window - 1) * axis.dilation;
  }
};

template <class T>
class PlaneTask {
 public:
  PlaneTask(const ConvProblem<T>& problem, const ConvKernels<T>& kernels,
            const ChannelUnits<T>& units, const FilterVectors<T>& filters,
            const std::vector<size_t>& offsets, const PaddedPlane& plane, Scratch scratch)
      : problem_(problem),
        kernels_(kernels),
        units_(units),
        filters_(filters),
        offsets_(offsets),
        plane_(plane),
        x_(scratch.Take<T>(plane.channels * plane.count)),
        results_(scratch.Take<T>(plane.channels * plane.results)) {}

  static size_t ScratchBytes(const PaddedPlane& plane) {
    return Scratch::Bytes<T>(plane.channels * plane.count) +
           Scratch::Bytes<T>(plane.channels * plane.results);
  }

  // Channels [begin, end) of an image.
  void Run(int64_t image, int64_t begin, int64_t end) {
    // All channels have their padding at the same places.
    std::fill_n(x_, plane_.channels * plane_.count, T(0));
    for (int64_t first = begin; first < end; first += plane_.channels) {
      const int64_t n = std::min(plane_.channels, end - first);
      for (int64_t i = 0; i < n; ++i) Load(image, first + i, x_ + i * plane_.count);
      for (int64_t oh = 0; oh < problem_.shape.h.out; oh += plane_.band) {
        const int64_t rows = std::min(plane_.band, problem_.shape.h.out - oh);
        for (int64_t i = 0; i < n; ++i) {
          const T* const x = x_ + i * plane_.count + oh * plane_.pitch;
          Compute(image, first + i, x, rows, results_ + i * plane_.results);
        }
        for (int64_t i = 0; i < n; ++i) {
          Store(results_ + i * plane_.results, rows, image, first + i, oh);
        }
      }
    }
  }

 private:
  void Load(int64_t image, int64_t channel, T* to) const {
    const WindowAxis &h = problem_.shape.h, &w = problem_.shape.w;
    const ImageStrides& strides = problem_.x_strides;
    const Source<T> x = problem_.x + (image * strides.n + channel * strides.c);
    const int64_t rows = std::clamp<int64_t>(plane_.rows - h.before, 0, h.in);
    const int64_t columns = std::clamp<int64_t>(plane_.pitch - w.before, 0, w.in);
    kernels_.copy(x.InPlace(), strides.h, rows, columns, to + h.before * plane_.pitch + w.before,
                  plane_.pitch);
  }

  void Compute(int64_t image, int64_t channel, const T* x, int64_t rows, T* results) const {
    const auto lanes = static_cast<int64_t>(kernels_.lanes);
    const int64_t unit = channel / lanes, lane = channel - units_.FirstOut(unit);
    const int64_t outputs = (rows - 1) * plane_.pitch + problem_.shape.w.out;
    PlaneConv<T> conv{};
    conv.x = x;
    conv.offsets = offsets_.data();
    conv.filter =
        filters_.data.get() + problem_.bank(image) * filters_.bank + unit * filters_.unit + lane;
    conv.terms = offsets_.size();
    conv.vectors = CeilDiv(outputs, lanes);
    conv.bias = problem_.bias[image * problem_.bias_stride + channel];
    conv.activation = problem_.activation;
    conv.out = results;
    kernels_.plane(conv);
  }

  void Store(const T* results, int64_t rows, int64_t image, int64_t channel, int64_t oh) const {
    const ImageStrides& strides = problem_.out_strides;
    const Sink<T> out = problem_.out + (image * strides.n + channel * strides.c + oh * strides.h);
    kernels_.copy(results, plane_.pitch, rows, problem_.shape.w.out, out.InPlace(), strides.h);
  }

  const ConvProblem<T>& problem_;
  const ConvKernels<T>& kernels_;
  const ChannelUnits<T>& units_;
  const FilterVectors<T>& filters_;
  const std::vector<size_t>& offsets_;
  const PaddedPlane& plane_;
  // Scratch.
  T* x_;        // [channel][row][column], padded
  T* results_;  // [channel][row][column]
};

}  // namespace

template <class T>
bool PlanesPay(const ConvProblem<T>& problem, int64_t lanes) {
  const ConvShape& shape = problem.shape;
  const WindowAxis &h = shape.h, &w = shape.w;
  const ImageStrides &from = problem.x_strides, &to = problem.out_strides;
  const bool rows_of_memory = problem.x.native() && problem.out.native() && from.w == 1 &&
                              to.w == 1 && from.h > 0 && to.h > 0;
  const bool zeros =
      problem.rows.constant() && problem.columns.constant() && h.before >= 0 && w.before >= 0;
  const bool kernel_finishes = problem.activation <= Activation::kRelu6 && problem.clamp == nullptr;
  const bool depthwise = shape.group_c == 1 && shape.group_k == 1 && shape.filters() >= lanes;
  if (!rows_of_memory || !zeros || !kernel_finishes || !depthwise) return false;
  if (problem.batch == 0 || shape.pixels() == 0) return false;
  const int64_t most_taps = lanes * sizeof(T) == 64 ? kMostTapsOf64Bytes : kMostTaps;
  const int64_t bytes = PaddedPlane(shape, lanes).count * int64_t{sizeof(T)};
  return h.stride == 1 && w.stride == 1 && shape.taps() <= most_taps &&
         bytes <= int64_t(Caches().l1);
}

template <class T>
void RunPlanes(const ConvProblem<T>& problem, const ConvKernels<T>& kernels,
               const ChannelUnits<T>& units, const FilterVectors<T>& filters) {
  const ConvShape& shape = problem.shape;
  const auto lanes = static_cast<int64_t>(kernels.lanes);
  const PaddedPlane plane(shape, lanes);
  std::vector<size_t> offsets;
  for (int64_t r = 0; r < shape.h.window; ++r) {
    for (int64_t s = 0; s < shape.w.window; ++s) {
      offsets.push_back(r * shape.h.dilation * plane.pitch + s * shape.w.dilation);
    }
  }
  const double total_ns = GroupedNs(problem);
  const Split channels(shape.filters(), 1, shape.filters(),
                       CeilDiv(kTasksPerThread * ThreadsFor(total_ns), problem.batch));
  const Work work{problem.batch * channels.count, total_ns, PlaneTask<T>::ScratchBytes(plane)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    PlaneTask<T> task(problem, kernels, units, filters, offsets, plane, scratch);
    const int64_t piece = index % channels.count;
    task.Run(index / channels.count, channels.begin(piece), channels.end(piece));
  });
}

#define LANEWISE_INSTANTIATE(T)                                                                 \
  template bool PlanesPay(const ConvProblem<T>&, int64_t);                                      \
  template void RunPlanes(const ConvProblem<T>&, const ConvKernels<T>&, const ChannelUnits<T>&, \
                          const FilterVectors<T>&);
LANEWISE_INSTANTIATE(float)
LANEWISE_INSTANTIATE(double)
#undef LANEWISE_INSTANTIATE

}  // namespace lanewise
