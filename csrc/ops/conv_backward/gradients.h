// The gradients of a convolution with every option resolved, as ConvProblem is for the convolution
// itself: the same for both layouts, one or two spatial axes, and transposed convolutions.
#ifndef LANEWISE_OPS_CONV_BACKWARD_GRADIENTS_H_
#define LANEWISE_OPS_CONV_BACKWARD_GRADIENTS_H_

#include <cstdint>

#include "lanewise/conv.h"
#include "ops/conv/border.h"
#include "ops/conv/problem.h"
#include "ops/elements.h"

namespace lanewise {

// Both describe y = convolution of x with filters; T is the type that sums are computed in.
// `shape`, `rows` and `columns` (of x) are those of ConvProblem; banks are 1, or one per image.

// dx from dy and the filters.
template <class T>
struct ImageGradient {
  ConvShape shape;
  Border rows, columns;
  int64_t batch, banks;
  Source<T> dy;
  ImageStrides dy_strides;
  Source<T> filter;
  FilterStrides filter_strides;
  Sink<T> dx;
  ImageStrides dx_strides;

  // The same for images [begin, begin + count) only.
  ImageGradient Images(int64_t begin, int64_t count) const {
    ImageGradient part = *this;
    part.batch = count;
    part.banks = banks == 1 ? 1 : count;
    part.dy = dy + begin * dy_strides.n;
    part.filter = filter + (banks == 1 ? 0 : begin * filter_strides.n);
    part.dx = dx + begin * dx_strides.n;
    return part;
  }
};

// dw from x and dy: for each bank, tap, input channel c of a group and filter k of it, the sum over
// the bank's images and all outputs of x under the tap · dy. What stands in the padding counts, be
// it zero: 0 times an infinite dy is NaN.
template <class T>
struct FilterGradient {
  ConvShape shape;
  Border rows, columns;
  int64_t batch, banks;
  Source<T> x;
  ImageStrides x_strides;
  Source<T> dy;
  ImageStrides dy_strides;
  Sink<T> dw;
  FilterStrides dw_strides;

  // The terms of each sum.
  int64_t terms() const { return batch / banks * shape.pixels(); }
  double flops() const {
    return 2.0 * double(batch) * double(shape.pixels()) * double(shape.terms()) *
           double(shape.filters());
  }
};

// `result` is the type of the gradient; `asked` which algorithm may be used (kAuto: what is
// fastest). Neither batch, threads, strides nor the layout decide about the algorithm of dx; that
// of dw, a sum over the batch, may depend on the batch, too. `op` words errors.
template <class T>
void RunImageGradient(const char* op, const ImageGradient<T>& gradient, DType result,
                      ConvAlgorithm asked);
template <class T>
void RunFilterGradient(const char* op, const FilterGradient<T>& gradient, DType result,
                       ConvAlgorithm asked);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_BACKWARD_GRADIENTS_H_
