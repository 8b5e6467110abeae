// Output row o gets x[i]·w[r] from all i and r with i·stride + r·dilation = o + before. The rows of
// one phase, o = phase + q·stride, therefore see the taps r for which stride divides
// phase + before - r·dilation: an arithmetic progression with step stride/g, g = gcd(stride,
// dilation), whose inputs i are dilation/g apart. Each phase is a stride-1 convolution of x with
// these taps, written to every stride-th row.
#include "ops/conv/adjoint.h"

#include <algorithm>
#include <numeric>

#include "ops/conv/algorithm.h"
#include "ops/strided.h"

namespace lanewise {
namespace {

// The convolution along one axis that gives the outputs phase, phase + stride, … Its taps, in the
// order of increasing inputs, are w's `first`, first + step, …; a phase that no tap reaches has
// none, and window 0.
struct Phase {
  WindowAxis axis;
  int64_t first_tap, tap_step;

  Phase(const AdjointAxis& a, int64_t phase) {
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
};

}  // namespace

template <class T>
void RunAdjoint(const char* op, ConvProblem<T> problem, const AdjointAxis& h, const AdjointAxis& w,
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
    const Phase rows(h, i);
    for (int64_t j = 0; j < std::min(w.stride, w.out); ++j) {
      const Phase columns(w, j);
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

template void RunAdjoint(const char*, ConvProblem<float>, const AdjointAxis&, const AdjointAxis&,
                         DType, ConvAlgorithm);
template void RunAdjoint(const char*, ConvProblem<double>, const AdjointAxis&, const AdjointAxis&,
                         DType, ConvAlgorithm);
template void RunAdjoint(const char*, ConvProblem<int32_t>, const AdjointAxis&, const AdjointAxis&,
                         DType, ConvAlgorithm);
template void RunAdjoint(const char*, ConvProblem<int64_t>, const AdjointAxis&, const AdjointAxis&,
                         DType, ConvAlgorithm);

}  // namespace lanewise
