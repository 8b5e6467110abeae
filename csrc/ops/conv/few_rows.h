// Direct convolution of few outputs: a product of a matrix with a vector or a few.
#ifndef LANEWISE_OPS_CONV_FEW_ROWS_H_
#define LANEWISE_OPS_CONV_FEW_ROWS_H_

#include "kernels/kernels.h"
#include "ops/conv/problem.h"

namespace lanewise {

// Whether so few outputs share a bank of filters that packing these, which are not packed yet,
// would take longer than it saves, and whether they can be read where they are: [term][k], k
// contiguous. Floating-point types only.
template <class T>
bool HasFewRows(const ConvProblem<T>& problem, const ConvKernels<T>& kernels);

// For a problem that has; the same bits as RunDirect's other ways.
template <class T>
void RunFewRows(const ConvProblem<T>& problem, const ConvKernels<T>& kernels);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_FEW_ROWS_H_
