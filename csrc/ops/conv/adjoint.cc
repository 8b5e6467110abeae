// Output row o gets x[i]·w[r] from all i and r with i·stride + r·dilation = o + before. The rows of
// one phase, o = phase + q·stride, therefore see the taps r for which stride divides
// phase + before - r·dilation: an arithmetic progression with step stride/g, g = gcd(stride,
// dilation), whose inputs i are dilation/g apart. Each phase is a stride-1 convolution of x with
// these taps, written to every stride-th row.
#include "ops/conv/adjoint.h"

#include <algorithm>
#include <numeric>
#include <type_traits>
#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/adjoint_planes.h"
#include "ops/conv/algorithm.h"
#include "ops/strided.h"
#include "runtime/buffer.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"
#include "runtime/target.h"

namespace lanewise {
namespace {

// Outputs in blocks of `stride` along an axis, the first of which begins at `-cropped`. The outputs
// of a block are the channels of one convolution: position p of block q meets tap r at input
// q + (p - r)/stride, if that is whole.
struct BlockAxis {
  AdjointAxis adjoint;
  int64_t most;  // inputs in front of a block's own that meet it
  int64_t cropped;
  WindowAxis axis;

  explicit BlockAxis(const AdjointAxis& a)
      : adjoint(a),
        most((a.window - 1) / a.stride),
        cropped((a.before % a.stride + a.stride) % a.stride) {  // before may be negative
    const int64_t first = (a.before - cropped) / a.stride;
    axis = {a.in, most + 1, 1, 1, most - first, 0, CeilDiv(a.out + cropped, a.stride)};
  }

  // The tap under which position p of a block has the input at u of its window, or -1.
  int64_t Tap(int64_t p, int64_t u) const {
    const int64_t tap = p + (most - u) * adjoint.stride;
    return tap < adjoint.window ? tap : -1;
  }
};

// Few output channels leave most lanes idle, and each phase reads x anew. Here the channels of a
// block's outputs are lanes together, and are taken apart afterwards. A position's sums have the
// terms of its phase in their order, and products of the taps that it has not, which are zeros and
// change nothing; but where x is not finite they are NaN, and then the phases are computed. 7×7
// with stride 2 from 64 channels at 112² to 3 takes 13.8 ms instead of 24.2, 3×3 from 32 2.2
// instead of 3.1 (8 images, two cores with AVX-512).
template <class T>
class Blocks {
 public:
  Blocks(const ConvProblem<T>& problem, const AdjointAxis& h, const AdjointAxis& w,
         const ConvKernels<T>& kernels)
      : problem_(problem), kernels_(kernels), h_(h), w_(w) {}

  bool pay() const {
    const ConvShape& shape = problem_.shape;
    const AdjointAxis &h = h_.adjoint, &w = w_.adjoint;
    const int64_t positions = h.stride * w.stride;
    const bool apply = shape.groups == 1 && problem_.banks == 1 && problem_.bias_stride == 0 &&
                       h.dilation == 1 && w.dilation == 1 && positions > 1 && h.window > 0 &&
                       w.window > 0;
    return apply && shape.group_c >= kFewestInputs && Lanes() <= kMostLanes &&
           Cost(h_.axis.window * w_.axis.window, Lanes()) <
               kWorthwhile * Cost(h.window * w.window, shape.group_k);
  }

  // False for images of which some results are not finite.
  std::vector<bool> Run() const {
    const int64_t lanes = Lanes();
    const Buffer<T> filters = Filters(), bias = Bias();
    const int64_t row = w_.axis.out * lanes, room = 2 * int64_t(Caches().l2 / sizeof(T));
    const Split rows(h_.axis.out, 1, std::max<int64_t>(1, room / row));
    const Split images(problem_.batch, 1, std::max<int64_t>(1, room / (row * rows.longest())));
    const Buffer<T> results(row * rows.longest() * images.longest());
    std::vector<uint8_t> doubted(problem_.batch * h_.axis.out, 0);
    for (int64_t i = 0; i < images.count; ++i) {
      const int64_t first = images.begin(i), count = images.end(i) - first;
      for (int64_t j = 0; j < rows.count; ++j) {
        const int64_t begin = rows.begin(j), n = rows.end(j) - begin;
        ConvProblem<T> part = problem_.Images(first, count);
        part.shape = {1, problem_.shape.group_c, lanes, h_.axis, w_.axis};
        part.shape.h.out = n;
        part.shape.h.before -= begin;
        part.rows = Border(PadMode::kConstant, h_.axis.in);
        part.columns = Border(PadMode::kConstant, w_.axis.in);
        part.filter = Source<T>(filters.get());
        const int64_t depth = part.shape.group_c * lanes;
        part.filter_strides = {0, 0, w_.axis.window * depth, depth, lanes, 1};
        part.bias = bias.get();
        part.out = Sink<T>(ContiguousView(results.get(), DTypeOf<T>::value, {}));
        part.out_strides = {n * row, row, lanes, 1};
        part.forms = nullptr;
        RunDirect(part);
        Store(first, count, begin, n, results.get(), doubted.data());
      }
    }
    std::vector<bool> finite(problem_.batch, true);
    for (size_t i = 0; i < doubted.size(); ++i) {
      if (doubted[i] != 0) finite[i / h_.axis.out] = false;
    }
    return finite;
  }

 private:
  static constexpr int64_t kMostLanes = 64, kFewestInputs = 4;
  static constexpr double kWorthwhile = 0.8;

  // Of a block's products with each input channel: whole vectors, of which a single one does not
  // keep the multipliers busy.
  double Cost(int64_t taps, int64_t lanes) const {
    const int64_t vector = kernels_.nr / 2;
    return double(taps) * std::max(double(RoundUp(lanes, vector)), 1.5 * double(vector));
  }

  // Whole vectors, which the kernel stores itself.
  int64_t Lanes() const {
    return RoundUp(h_.adjoint.stride * w_.adjoint.stride * problem_.shape.group_k, kernels_.nr / 2);
  }

  // [u of rows][u of columns][c][position][k].
  Buffer<T> Filters() const {
    const int64_t lanes = Lanes(), k = problem_.shape.group_k, c = problem_.shape.group_c;
    const FilterStrides& strides = problem_.filter_strides;
    const int64_t count = h_.axis.window * w_.axis.window * c * lanes;
    Buffer<T> filters(count);
    T* to = filters.get();
    std::fill_n(to, count, T(0));
    for (int64_t u = 0; u < h_.axis.window; ++u) {
      for (int64_t v = 0; v < w_.axis.window; ++v, to += c * lanes) {
        for (int64_t position = 0; position < h_.adjoint.stride * w_.adjoint.stride; ++position) {
          const int64_t r = h_.Tap(position / w_.adjoint.stride, u);
          const int64_t s = w_.Tap(position % w_.adjoint.stride, v);
          if (r < 0 || s < 0) continue;
          const Source<T> from = problem_.filter + (r * strides.r + s * strides.s);
          for (int64_t i = 0; i < c; ++i) {
            (from + i * strides.c).Read(strides.k, k, to + i * lanes + position * k);
          }
        }
      }
    }
    return filters;
  }

  Buffer<T> Bias() const {
    const int64_t lanes = Lanes(), k = problem_.shape.group_k;
    Buffer<T> bias(lanes);
    for (int64_t i = 0; i < lanes; ++i) {
      bias.get()[i] = i < h_.adjoint.stride * w_.adjoint.stride * k ? problem_.bias[i % k] : T(0);
    }
    return bias;
  }

  // The outputs of rows of blocks [begin, begin + n) of some images.
  void Store(int64_t first, int64_t images, int64_t begin, int64_t n, const T* results,
             uint8_t* doubted) const {
    const int64_t lanes = Lanes(), row = w_.axis.out * lanes, width = w_.adjoint.out;
    const int64_t k = problem_.shape.group_k, run = w_.adjoint.stride * k;
    const size_t line_bytes = Scratch::Bytes<T>(w_.axis.out * run);
    const Work work{images * n, double(images * n * row), 2 * line_bytes};
    ParallelFor(work, [&](int64_t index, Scratch scratch) {
      T* const line = scratch.Take<T>(w_.axis.out * run);
      T* const planes = scratch.Take<T>(w_.axis.out * run);
      const int64_t image = first + index / n, block = begin + index % n;
      const T* const from = results + index * row;
      doubted[image * h_.axis.out + block] = !kernels_.finite(from, row);
      const int64_t oh = block * h_.adjoint.stride - h_.cropped;
      const int64_t past = std::min(h_.adjoint.stride, h_.adjoint.out - oh);
      for (int64_t i = std::max<int64_t>(0, -oh); i < past; ++i) {
        for (int64_t q = 0; q < w_.axis.out; ++q) {
          const T* const at = from + q * lanes + i * run;
          T* const to = line + q * run;
          for (int64_t e = 0; e < run; ++e) to[e] = at[e];
        }
        StoreLine(
            line + w_.cropped * k, planes,
            problem_.out + (image * problem_.out_strides.n + (oh + i) * problem_.out_strides.h),
            width);
      }
    });
  }

  // Pixels with their channels side by side; `planes` has room for as many.
  void StoreLine(const T* line, T* planes, const Sink<T>& to, int64_t width) const {
    const int64_t k = problem_.shape.group_k;
    const ImageStrides& outs = problem_.out_strides;
    if (outs.c == 1 && outs.w == k) {
      to.Write(line, width * k, 1);
    } else if (outs.w == 1) {
      kernels_.transpose(line, k, width, k, planes, width);
      for (int64_t c = 0; c < k; ++c) (to + c * outs.c).Write(planes + c * width, width, 1);
    } else {
      for (int64_t j = 0; j < width; ++j) (to + j * outs.w).Write(line + j * k, k, outs.c);
    }
  }

  const ConvProblem<T>& problem_;
  const ConvKernels<T>& kernels_;
  const BlockAxis h_, w_;
};

template <class T>
void RunPhases(const char* op, ConvProblem<T> problem, const AdjointAxis& h, const AdjointAxis& w,
               DType result, ConvAlgorithm asked) {
  const ConvShape channels = problem.shape;
  const Source<T> filter = problem.filter;
  const FilterStrides filters = problem.filter_strides;
  const Sink<T> out = problem.out;
  const ImageStrides outs = problem.out_strides;
  problem.rows = Border(PadMode::kConstant, h.in);
  problem.columns = Border(PadMode::kConstant, w.in);
  problem.out_strides.h = h.stride * outs.h;
  problem.out_strides.w = w.stride * outs.w;
  for (int64_t i = 0; i < std::min(h.stride, h.out); ++i) {
    const AdjointPhase rows(h, i);
    for (int64_t j = 0; j < std::min(w.stride, w.out); ++j) {
      const AdjointPhase columns(w, j);
      ConvShape& shape = problem.shape = channels;
      shape.h = rows.axis;
      shape.w = columns.axis;
      if (shape.taps() == 0) {  // the empty sum of no channels
        shape.group_c = 0;
        shape.h.window = shape.w.window = 1;
      }
      problem.filter = filter + (rows.first_tap * filters.r + columns.first_tap * filters.s);
      problem.filter_strides.r = rows.tap_step * filters.r;
      problem.filter_strides.s = columns.tap_step * filters.s;
      problem.out = out + (i * outs.h + j * outs.w);
      RunConv(problem, ChooseConvMethod(op, shape, result, asked).method);
    }
  }
}

}  // namespace

AdjointPhase::AdjointPhase(const AdjointAxis& a, int64_t phase) {
  const int64_t g = std::gcd(a.stride, a.dilation);
  const int64_t step = a.stride / g, target = phase + a.before;
  int64_t lowest = 0;
  while (lowest < std::min(step, a.window) && (target - lowest * a.dilation) % a.stride != 0) {
    ++lowest;
  }
  const bool reached = lowest < std::min(step, a.window);
  const int64_t taps = reached ? (a.window - 1 - lowest) / step + 1 : 0;
  first_tap = lowest + std::max<int64_t>(0, taps - 1) * step;
  tap_step = -step;
  // Output phase + q·stride meets first_tap at input q + (target - first_tap·dilation)/stride.
  const int64_t before = reached ? -((target - first_tap * a.dilation) / a.stride) : 0;
  const int64_t out = CeilDiv(a.out - phase, a.stride);
  axis = {a.in, taps, 1, a.dilation / g, before, 0, out};
}

template <class T>
void RunAdjoint(const char* op, ConvProblem<T> problem, const AdjointAxis& h, const AdjointAxis& w,
                DType result, ConvAlgorithm asked) {
  if constexpr (std::is_floating_point_v<T>) {
    if (asked != ConvAlgorithm::kWinograd) {
      const Blocks<T> blocks(problem, h, w, ConvKernelsFor<T>(ActiveTarget()));
      if (blocks.pay()) {
        const std::vector<bool> finite = blocks.Run();
        for (int64_t image = 0; image < problem.batch; ++image) {
          if (!finite[image]) RunPhases(op, problem.Images(image, 1), h, w, result, asked);
        }
        return;
      }
      if (AdjointPlanesPay(problem, h, w)) return RunAdjointPlanes(problem, h, w);
    }
  }
  RunPhases(op, problem, h, w, result, asked);
}

template void RunAdjoint(const char*, ConvProblem<float>, const AdjointAxis&, const AdjointAxis&,
                         DType, ConvAlgorithm);
template void RunAdjoint(const char*, ConvProblem<double>, const AdjointAxis&, const AdjointAxis&,
                         DType, ConvAlgorithm);
template void RunAdjoint(const char*, ConvProblem<int32_t>, const AdjointAxis&, const AdjointAxis&,
                         DType, ConvAlgorithm);
template void RunAdjoint(const char*, ConvProblem<int64_t>, const AdjointAxis&, const AdjointAxis&,
                         DType, ConvAlgorithm);

}  // namespace lanewise
