// Direct convolution without the products of the padding: where windows reach far into it, the
// outputs are cut into rectangles for which the same taps lie inside the image.
#ifndef LANEWISE_OPS_CONV_INSIDE_H_
#define LANEWISE_OPS_CONV_INSIDE_H_

#include <vector>

#include "kernels/kernels.h"
#include "ops/conv/problem.h"
#include "runtime/buffer.h"

namespace lanewise {

// Of the time that all products of an image take, zeros of the padding included, what a direct
// convolution needs: 1 where cutting the outputs does not pay.
double DirectShare(const ConvShape& shape);

// Convolutions that together give the problem's results: itself, or its rectangles. An output's sum
// is the same without its zeros, unless a filter has an element whose product with zero is NaN.
// Floating-point types only.
template <class T>
class InsideParts {
 public:
  InsideParts(const ConvProblem<T>& problem, const ConvKernels<T>& kernels);

  auto begin() const { return parts_.begin(); }
  auto end() const { return parts_.end(); }

 private:
  Buffer<T> transposed_;  // filters of the rectangles
  std::vector<ConvProblem<T>> parts_;
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_INSIDE_H_
