// The gradient of a convolution by its filters as sums of products, for every option.
#ifndef LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_H_
#define LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_H_

#include "ops/conv_backward/gradients.h"

namespace lanewise {

template <class T>
void RunFilterDirect(const FilterGradient<T>& gradient);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_H_
