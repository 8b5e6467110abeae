// What this machine can do at most: the numbers that benchmarks report shares of.
#ifndef LANEWISE_ROOFLINE_H_
#define LANEWISE_ROOFLINE_H_

#include "lanewise/error.h"
#include "lanewise/tensor.h"

namespace lanewise {

// Floating-point operations per second of independent multiply-adds in registers, two per lane,
// with the SIMD target and number of threads in force. Best of several runs of about 20 ms.
double MeasureFmaPeak(DType dtype);

// Bytes per second that are read and written together by out[i] = a[i] + b[i] over arrays of
// `bytes` each: past the last cache for the memory's bandwidth, within it for the cache's.
double MeasureBandwidth(int64_t bytes);

}  // namespace lanewise

#endif  // LANEWISE_ROOFLINE_H_
