// Gradients by the filters of depthwise convolutions, and of those in groups of few channels.
#ifndef LANEWISE_OPS_CONV_BACKWARD_FILTER_STRIPS_H_
#define LANEWISE_OPS_CONV_BACKWARD_FILTER_STRIPS_H_

#include "ops/conv/problem.h"
#include "ops/conv_backward/gradients.h"

namespace lanewise {

// Whether that is the way: several groups of few channels in and out, or of one channel in.
bool StripsSuit(const ConvShape& shape);

// For every option, where StripsSuit.
template <class T>
void RunFilterStrips(const FilterGradient<T>& gradient);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_BACKWARD_FILTER_STRIPS_H_
