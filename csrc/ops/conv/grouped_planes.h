// Depthwise convolution of planes (NCHW) of floating-point numbers as they are: lanes are pixels.
#ifndef LANEWISE_OPS_CONV_GROUPED_PLANES_H_
#define LANEWISE_OPS_CONV_GROUPED_PLANES_H_

#include <cstdint>

#include "kernels/kernels.h"
#include "ops/conv/grouped_filters.h"
#include "ops/conv/grouped_plan.h"
#include "ops/conv/problem.h"

namespace lanewise {

// Whether that is possible, and faster than to transpose planes to vectors of channels and back.
template <class T>
bool PlanesPay(const ConvProblem<T>& problem, int64_t lanes);

// The same chain of multiply-adds as with vectors of channels, and so the same bits.
template <class T>
void RunPlanes(const ConvProblem<T>& problem, const ConvKernels<T>& kernels,
               const ChannelUnits<T>& units, const FilterVectors<T>& filters);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_GROUPED_PLANES_H_
