// The adjoint of a convolution with zero padding, which is a transposed convolution, and the
// gradient of a convolution by its image.
#ifndef LANEWISE_OPS_CONV_ADJOINT_H_
#define LANEWISE_OPS_CONV_ADJOINT_H_

#include <cstdint>

#include "lanewise/conv.h"
#include "ops/conv/problem.h"

namespace lanewise {

// One axis: input i under tap r meets output i·stride + r·dilation - before, if that is one of the
// `out` outputs; before may be negative.
struct AdjointAxis {
  int64_t in, window, stride, dilation, before, out;
};

// The convolution along one axis that gives the outputs phase, phase + stride, … Its taps, in the
// order of increasing inputs, are w's `first_tap`, first_tap + tap_step, …; a phase that no tap
// reaches has none, and window 0.
struct AdjointPhase {
  WindowAxis axis;
  int64_t first_tap, tap_step;

  AdjointPhase(const AdjointAxis& a, int64_t phase);
};

// The sums, for each of the outputs, of x[i]·filter[r] over all that meet it. Of `problem` the
// windows of `shape` are unused, since `h` and `w` stand for them, and so are the borders: there is
// nothing around x. Each phase of the outputs is a convolution of its own, by the algorithm asked
// for (kAuto: what is fastest).
template <class T>
void RunAdjoint(const char* op, ConvProblem<T> problem, const AdjointAxis& h, const AdjointAxis& w,
                DType result, ConvAlgorithm asked);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_ADJOINT_H_
