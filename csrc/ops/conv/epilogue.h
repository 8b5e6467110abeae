// From sums to results in memory: bias, activation, and the result's element type.
#ifndef LANEWISE_OPS_CONV_EPILOGUE_H_
#define LANEWISE_OPS_CONV_EPILOGUE_H_

#include "kernels/kernels.h"
#include "ops/conv/problem.h"

namespace lanewise {

// Row i, lane j < n of the sums becomes element i·row_stride + j·lane_stride of `out`. The bias is
// one per lane, or one per row. Overwrites the sums.
template <class T>
struct Epilogue {
  const ConvKernels<T>& kernels;
  const ConvProblem<T>& problem;

  void PerLane(T* sums, int64_t sums_stride, int64_t rows, int64_t n, const T* bias,
               const Sink<T>& out, int64_t row_stride, int64_t lane_stride) const {
    Run(kernels.finish, sums, sums_stride, rows, n, bias, out, row_stride, lane_stride);
  }
  void PerRow(T* sums, int64_t sums_stride, int64_t rows, int64_t n, const T* bias,
              const Sink<T>& out, int64_t row_stride, int64_t lane_stride) const {
    Run(kernels.finish_per_row, sums, sums_stride, rows, n, bias, out, row_stride, lane_stride);
  }

 private:
  void Run(const typename ConvKernels<T>::Finish (&finish)[kActivations], T* sums,
           int64_t sums_stride, int64_t rows, int64_t n, const T* bias, const Sink<T>& out,
           int64_t row_stride, int64_t lane_stride) const {
    const bool direct = out.native() && lane_stride == 1;
    const bool across = !direct && out.native() && row_stride == 1 && lane_stride > 0;
    finish[static_cast<int>(problem.activation)](sums, sums_stride, rows, n, bias,
                                                 direct ? out.InPlace() : sums,
                                                 direct ? row_stride : sums_stride);
    if (across) kernels.transpose(sums, sums_stride, rows, n, out.InPlace(), lane_stride);
    const bool stored = direct || across;
    if (stored && problem.clamp == nullptr) return;
    for (int64_t i = 0; i < rows; ++i) {
      const Sink<T> row = out + i * row_stride;
      if (!stored) row.Write(sums + i * sums_stride, n, lane_stride);
      if (problem.clamp != nullptr) problem.clamp(row.bytes(), n, lane_stride);
    }
  }
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_EPILOGUE_H_
