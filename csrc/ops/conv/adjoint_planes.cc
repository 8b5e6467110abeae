#include "ops/conv/adjoint_planes.h"

#include <algorithm>
#include <vector>

#include "kernels/kernels.h"
#include "ops/strided.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"
#include "runtime/target.h"

namespace lanewise {
namespace {

// Elements of all phases' results that wait in L1 until they are interleaved.
constexpr int64_t kResults = 4096;
constexpr int64_t kTasksPerThread = 4;
constexpr double kNsPerElement = 0.4;

// The phases of an axis, and which inputs they meet, with those outside x.
struct PhasesOfAxis {
  std::vector<AdjointPhase> phases;
  int64_t begin = 0, length = 0;

  explicit PhasesOfAxis(const AdjointAxis& a) {
    int64_t end = 0;
    bool any = false;
    for (int64_t i = 0; i < std::min(a.stride, a.out); ++i) {
      const WindowAxis& axis = phases.emplace_back(a, i).axis;
      if (axis.window == 0) continue;
      begin = any ? std::min(begin, axis.First(0)) : axis.First(0);
      end = std::max(any ? end : begin, axis.Input(axis.out - 1, axis.window - 1) + 1);
      any = true;
    }
    // The first phase has most outputs, which are numbered along the rows of the plane.
    length = std::max(end - begin, phases.empty() ? 0 : phases[0].axis.out);
  }
};

// What all tasks share.
struct PlanesPlan {
  PhasesOfAxis h, w;
  int64_t count;          // elements of the padded plane, as the kernel reads whole vectors
  int64_t band, results;  // rows of a phase at a time, and the elements of these

  PlanesPlan(const AdjointAxis& rows, const AdjointAxis& columns, int64_t lanes)
      : h(rows),
        w(columns),
        count(RoundUp(h.length * w.length + lanes, lanes)),
        band(std::max<int64_t>(1, kResults / std::max<int64_t>(1, w.length * columns.stride))),
        results(RoundUp(band * w.length, lanes)) {}
};

// to[i·stride + phase] = results[phase·step + i], n elements in all.
template <class T>
void Interleave(const T* results, int64_t step, int64_t stride, int64_t n, T* to) {
  if (stride == 2) {
    const T* const __restrict even = results;
    const T* const __restrict odd = results + step;
    T* const __restrict pairs = to;
    for (int64_t i = 0; i < n / 2; ++i) {
      pairs[2 * i] = even[i];
      pairs[2 * i + 1] = odd[i];
    }
    if (n % 2 == 1) pairs[n - 1] = even[n / 2];
    return;
  }
  for (int64_t phase = 0; phase < std::min(stride, n); ++phase) {
    const T* from = results + phase * step;
    for (int64_t i = phase; i < n; i += stride) to[i] = *from++;
  }
}

template <class T>
class PlaneTask {
 public:
  PlaneTask(const ConvProblem<T>& problem, const AdjointAxis& h, const AdjointAxis& w,
            const PlanesPlan& plan, Scratch scratch)
      : problem_(problem),
        h_(h),
        w_(w),
        plan_(plan),
        kernels_(ConvKernelsFor<T>(ActiveTarget())),
        x_(scratch.Take<T>(plan.count)),
        results_(scratch.Take<T>(Phases() * plan.results)),
        taps_(scratch.Take<T>(h.window * w.window * Lanes())),
        offsets_(scratch.Take<size_t>(h.window * w.window)) {}

  static size_t ScratchBytes(const AdjointAxis& h, const AdjointAxis& w, const PlanesPlan& plan,
                             int64_t lanes) {
    return Scratch::Bytes<T>(plan.count) +
           Scratch::Bytes<T>(int64_t(plan.w.phases.size()) * plan.results) +
           Scratch::Bytes<T>(h.window * w.window * lanes) +
           Scratch::Bytes<size_t>(h.window * w.window);
  }

  // Channels [begin, end) of an image.
  void Run(int64_t image, int64_t begin, int64_t end) {
    // All channels have their padding at the same places.
    std::fill_n(x_, plan_.count, T(0));
    for (int64_t channel = begin; channel < end; ++channel) {
      Load(image, channel);
      for (int64_t i = 0; i < int64_t(plan_.h.phases.size()); ++i) {
        for (int64_t q = 0; q < plan_.h.phases[i].axis.out; q += plan_.band) {
          const int64_t rows = std::min(plan_.band, plan_.h.phases[i].axis.out - q);
          for (int64_t j = 0; j < Phases(); ++j) Compute(image, channel, i, j, q, rows);
          Store(image, channel, i, q, rows);
        }
      }
    }
  }

 private:
  int64_t Lanes() const { return static_cast<int64_t>(kernels_.lanes); }
  int64_t Phases() const { return static_cast<int64_t>(plan_.w.phases.size()); }

  void Load(int64_t image, int64_t channel) const {
    const ImageStrides& strides = problem_.x_strides;
    const Source<T> x = problem_.x + (image * strides.n + channel * strides.c);
    const auto begin = [](const PhasesOfAxis& axis) { return std::max<int64_t>(0, axis.begin); };
    const auto count = [&](const PhasesOfAxis& axis, int64_t in) {
      return std::max<int64_t>(0, std::min(in, axis.begin + axis.length) - begin(axis));
    };
    const int64_t row = begin(plan_.h), column = begin(plan_.w);
    const int64_t rows = count(plan_.h, h_.in), columns = count(plan_.w, w_.in);
    if (rows == 0 || columns == 0) return;
    kernels_.copy(x.InPlace() + row * strides.h + column, strides.h, rows, columns,
                  x_ + (row - plan_.h.begin) * plan_.w.length + column - plan_.w.begin,
                  plan_.w.length);
  }

  // Rows [first, first + count) of phase (i, j).
  void Compute(int64_t image, int64_t channel, int64_t i, int64_t j, int64_t first,
               int64_t count) const {
    const AdjointPhase &rows = plan_.h.phases[i], &columns = plan_.w.phases[j];
    const FilterStrides& filters = problem_.filter_strides;
    const Source<T> filter =
        problem_.filter + (problem_.bank(image) * filters.n + channel * filters.g);
    size_t terms = 0;
    for (int64_t r = 0; r < rows.axis.window; ++r) {
      for (int64_t s = 0; s < columns.axis.window; ++s, ++terms) {
        const int64_t tap_r = rows.first_tap + r * rows.tap_step;
        const int64_t tap_s = columns.first_tap + s * columns.tap_step;
        (filter + (tap_r * filters.r + tap_s * filters.s)).Read(1, 1, taps_ + terms * Lanes());
        offsets_[terms] = (rows.axis.Input(first, r) - plan_.h.begin) * plan_.w.length +
                          (columns.axis.Input(0, s) - plan_.w.begin);
      }
    }
    PlaneConv<T> conv{};
    conv.x = x_;
    conv.offsets = offsets_;
    conv.filter = taps_;
    conv.terms = terms;
    conv.vectors = CeilDiv((count - 1) * plan_.w.length + columns.axis.out, Lanes());
    conv.bias = problem_.bias[image * problem_.bias_stride + channel];
    conv.activation = problem_.activation;
    conv.out = results_ + j * plan_.results;
    kernels_.plane(conv);
  }

  void Store(int64_t image, int64_t channel, int64_t i, int64_t first, int64_t count) const {
    const ImageStrides& strides = problem_.out_strides;
    const Sink<T> out = problem_.out + (image * strides.n + channel * strides.c);
    for (int64_t row = 0; row < count; ++row) {
      Interleave(results_ + row * plan_.w.length, plan_.results, w_.stride, w_.out,
                 out.InPlace() + (i + (first + row) * h_.stride) * strides.h);
    }
  }

  const ConvProblem<T>& problem_;
  const AdjointAxis &h_, &w_;
  const PlanesPlan& plan_;
  const ConvKernels<T>& kernels_;
  // Scratch.
  T* x_;             // [row][column], padded
  T* results_;       // [phase of the columns][row][column]
  T* taps_;          // of a phase, one a vector,
  size_t* offsets_;  // and where they meet x
};

}  // namespace

template <class T>
bool AdjointPlanesPay(const ConvProblem<T>& problem, const AdjointAxis& h, const AdjointAxis& w) {
  const ConvShape& shape = problem.shape;
  const ImageStrides &from = problem.x_strides, &to = problem.out_strides;
  const bool rows_of_memory = problem.x.native() && problem.out.native() && from.w == 1 &&
                              to.w == 1 && from.h > 0 && to.h > 0;
  const bool kernel_finishes = problem.activation <= Activation::kRelu6 && problem.clamp == nullptr;
  const bool depthwise = shape.group_c == 1 && shape.group_k == 1;
  if (!rows_of_memory || !kernel_finishes || !depthwise || w.stride == 1) return false;
  if (problem.batch == 0 || h.out == 0 || w.out == 0 || h.window == 0 || w.window == 0) {
    return false;
  }
  const auto lanes = static_cast<int64_t>(ConvKernelsFor<T>(ActiveTarget()).lanes);
  const PlanesPlan plan(h, w, lanes);
  const size_t bytes = PlaneTask<T>::ScratchBytes(h, w, plan, lanes);
  return w.stride <= kResults / 64 && bytes <= Caches().l2 / 4;
}

template <class T>
void RunAdjointPlanes(const ConvProblem<T>& problem, const AdjointAxis& h, const AdjointAxis& w) {
  const auto lanes = static_cast<int64_t>(ConvKernelsFor<T>(ActiveTarget()).lanes);
  const PlanesPlan plan(h, w, lanes);
  const int64_t all = problem.shape.filters();
  const double taps = double(h.window * w.window) / double(h.stride * w.stride);
  const double total_ns =
      double(problem.batch * all) * double(h.out * w.out) * kNsPerElement * (1 + taps / 8);
  const Split channels(all, 1, all, CeilDiv(kTasksPerThread * ThreadsFor(total_ns), problem.batch));
  const Work work{problem.batch * channels.count, total_ns,
                  PlaneTask<T>::ScratchBytes(h, w, plan, lanes)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    const int64_t piece = index % channels.count;
    PlaneTask<T>(problem, h, w, plan, scratch)
        .Run(index / channels.count, channels.begin(piece), channels.end(piece));
  });
}

#define LANEWISE_INSTANTIATE(T)                                                                  \
  template bool AdjointPlanesPay(const ConvProblem<T>&, const AdjointAxis&, const AdjointAxis&); \
  template void RunAdjointPlanes(const ConvProblem<T>&, const AdjointAxis&, const AdjointAxis&);
LANEWISE_INSTANTIATE(float)
LANEWISE_INSTANTIATE(double)
#undef LANEWISE_INSTANTIATE

}  // namespace lanewise
