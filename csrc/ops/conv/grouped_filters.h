// Filters of a convolution in groups of few channels, in the form that its kernels read.
#ifndef LANEWISE_OPS_CONV_GROUPED_FILTERS_H_
#define LANEWISE_OPS_CONV_GROUPED_FILTERS_H_

#include <cstdint>

#include "kernels/kernels.h"
#include "ops/conv/grouped_plan.h"
#include "ops/conv/packed_filter.h"
#include "ops/conv/problem.h"

namespace lanewise {

// The filters as vectors: [bank][unit][term][lane], zeros past the last channel, and after them
// whether all of them are finite.
template <class T>
struct FilterVectors {
  FilterVectors(const ConvProblem<T>& problem, const ConvKernels<T>& kernels,
                const ChannelUnits<T>& units);

  int64_t unit, bank;  // distances
  PackedFilters<T> data;
  bool finite;  // all taps are
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_GROUPED_FILTERS_H_
