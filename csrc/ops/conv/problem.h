// A convolution with every option resolved, the same for both layouts.
#ifndef LANEWISE_OPS_CONV_PROBLEM_H_
#define LANEWISE_OPS_CONV_PROBLEM_H_

#include <cstdint>

#include "lanewise/conv.h"
#include "runtime/buffer.h"

namespace lanewise {

// Element strides of an image batch, by meaning instead of position.
struct ImageStrides {
  int64_t n, h, w, c;
};

// The part that decides about the algorithm: one image, whatever its batch and strides.
struct ConvShape {
  int64_t groups, group_c, group_k;  // channels per group, in and out
  WindowAxis h, w;

  int64_t taps() const { return h.window * w.window; }
  int64_t terms() const { return taps() * group_c; }
  int64_t pixels() const { return h.out * w.out; }
};

template <class T>
struct ConvProblem {
  ConvShape shape;
  int64_t batch;
  const T* x;
  ImageStrides x_strides;
  const T* filter;
  struct {
    int64_t r, s, c, k;
  } filter_strides;
  Buffer<T> bias;  // one per output channel, zeros where there is none
  Activation activation;
  T* out;
  ImageStrides out_strides;

  double flops() const {
    return 2.0 * double(batch) * double(shape.pixels()) * double(shape.terms()) *
           double(shape.groups * shape.group_k);
  }
};

// One file per algorithm. Both compute the same chain of multiply-adds for each output, in the
// order (r, s, c), and so the same bits.
template <class T>
void RunDirect(const ConvProblem<T>& problem);
template <class T>
void RunDepthwise(const ConvProblem<T>& problem);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_PROBLEM_H_
