// The gradient of a convolution by its image is the adjoint convolution of dy.
#include <algorithm>

#include "ops/conv/adjoint.h"
#include "ops/conv_backward/gradients.h"
#include "runtime/buffer.h"
#include "runtime/error.h"

namespace lanewise {
namespace {

AdjointAxis AdjointOf(const WindowAxis& axis) {
  return {axis.out, axis.window, axis.stride, axis.dilation, axis.before, axis.in};
}

}  // namespace

template <class T>
void RunImageGradient(const char* op, const ImageGradient<T>& gradient, DType result,
                      ConvAlgorithm asked) {
  if (!gradient.rows.constant()) Fail(op, ": pad_mode");
  const ConvShape& shape = gradient.shape;
  const Buffer<T> zeros(shape.channels());
  std::fill_n(zeros.get(), shape.channels(), T(0));
  const FilterStrides& f = gradient.filter_strides;
  const ConvProblem<T> problem{{shape.groups, shape.group_k, shape.group_c, {}, {}},
                               gradient.rows,
                               gradient.columns,
                               gradient.batch,
                               gradient.banks,
                               gradient.dy,
                               gradient.dy_strides,
                               gradient.filter,
                               {f.n, f.g, f.r, f.s, f.k, f.c},
                               zeros.get(),
                               0,
                               Activation::kNone,
                               nullptr,
                               gradient.dx,
                               gradient.dx_strides,
                               nullptr};
  RunAdjoint(op, problem, AdjointOf(shape.h), AdjointOf(shape.w), result, asked);
}

template void RunImageGradient(const char*, const ImageGradient<float>&, DType, ConvAlgorithm);
template void RunImageGradient(const char*, const ImageGradient<double>&, DType, ConvAlgorithm);
template void RunImageGradient(const char*, const ImageGradient<int32_t>&, DType, ConvAlgorithm);
template void RunImageGradient(const char*, const ImageGradient<int64_t>&, DType, ConvAlgorithm);

}  // namespace lanewise
