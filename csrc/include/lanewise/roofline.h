/// @file
/// What this machine can do at most: the numbers that benchmarks report shares of.
#ifndef LANEWISE_ROOFLINE_H_
#define LANEWISE_ROOFLINE_H_

#include "lanewise/error.h"
#include "lanewise/tensor.h"

namespace lanewise {

/// Floating-point operations per second of independent multiply-adds in registers, two per lane,
/// with the SIMD target and number of threads in force. Best of several runs of about 20 ms.
/// Thread-safe, but two measurements at once share the machine.
///
/// @param dtype  DType::kFloat32 or DType::kFloat64
/// @throws DTypeError  for any other
double MeasureFmaPeak(DType dtype);

/// Bytes per second that are read and written together by out[i] = a[i] + b[i] over three arrays:
/// past the last cache for the memory's bandwidth, within it for the cache's. From 32 MB for all
/// three on, results are stored past the caches, as ops store theirs. Allocates the arrays for the
/// time of the call. Thread-safe, but two measurements at once share the machine.
///
/// @param bytes  the size of each array
/// @throws std::bad_alloc  if there is no memory for them
double MeasureBandwidth(int64_t bytes);

/// Bytes per second that are written to one array; from 32 MB on, the faster of stores through the
/// caches and past them. Otherwise as MeasureBandwidth.
///
/// @param bytes  the size of the array
/// @throws std::bad_alloc  if there is no memory for it
double MeasureStores(int64_t bytes);

}  // namespace lanewise

#endif  // LANEWISE_ROOFLINE_H_
