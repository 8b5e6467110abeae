// The shape of a transposed convolution.
#ifndef LANEWISE_OPS_CONV_TRANSPOSE_H_
#define LANEWISE_OPS_CONV_TRANSPOSE_H_

#include "lanewise/conv.h"
#include "ops/conv/adjoint.h"
#include "ops/conv/form.h"

namespace lanewise {

struct TransposeShape {
  ConvShape shape;  // without windows
  AdjointAxis h, w;
};

TransposeShape ResolveTranspose(const ConvForm& form, const Shape& x, const Shape& w,
                                const ConvTranspose2dOptions& options);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_TRANSPOSE_H_
