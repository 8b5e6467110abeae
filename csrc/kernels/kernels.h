// What the kernels offer to the ops: for each op and element type one table of function pointers
// per SIMD target, with the tile sizes beside them. A kernel works on one task in one thread; it
// allocates nothing, throws nothing, and reads no byte outside the ranges stated here.
//
// Vocabulary (csrc/README.md): a register tile has up to MR rows, whose operand is broadcast, times
// NR lanes, whose operand is a vector. A panel holds that vector operand as [term][NR].
#ifndef LANEWISE_KERNELS_KERNELS_H_
#define LANEWISE_KERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "runtime/target.h"

namespace lanewise {

// ---------------------------------------------------------------------------------------- distance

// What is summed over the coordinates of two rows.
enum class Term : uint8_t {
  kSquare,   // Σ (x - y)²
  kAbs,      // Σ |x - y|
  kMax,      // max |x - y|
  kProduct,  // Σ x·y
};
constexpr int kTerms = 4;

// Sums run in blocks of this many terms, which are then added up in order, so that the error of a
// sum of d terms grows with kSumBlock + d/kSumBlock and not with d.
constexpr size_t kSumBlock = 64;

template <class T>
struct DistanceKernels {
  size_t mr, nr;
  // totals[i][j] (row length nr) = or, unless `first`, += the sum over `terms` of rows[i][k] against
  // panel[k][j], for i < count <= mr and all j < nr. Totals and panel are 64-byte aligned. Except
  // in a call that is the last for its totals, `terms` is a multiple of kSumBlock.
  void (*accumulate[kTerms])(const T* const* rows, size_t count, const T* panel, size_t terms,
                             T* totals, bool first);
  // norms[j] = or, unless `first`, += Σ_k panel[k][j]², in the order in which accumulate sums.
  void (*square_norms)(const T* panel, size_t terms, T* norms, bool first);
  // out[j] = sqrt(totals[j]). False if some total is outside [smallest, largest finite number], so
  // that squares may have been lost to underflow or overflow; a NaN is not outside.
  bool (*sqrt)(const T* totals, size_t n, T smallest, T* out);
  // out[j] = 1 - totals[j] / sqrt(x_norm·y_norms[j]), clipped to [0, 2], the norms being squared.
  // False if a norm or the product under the root is outside the range said above.
  bool (*cosine)(const T* totals, size_t n, T smallest, T x_norm, const T* y_norms, T* out);
};

template <class T>
const DistanceKernels<T>& DistanceKernelsFor(SimdTarget target);

// ---------------------------------------------------------------------------------------- roofline

struct RooflineKernels {
  size_t f32_flops, f64_flops;  // floating-point operations per iteration
  // Independent multiply-adds in registers. The result is of no interest, but must be used.
  float (*fma_f32)(size_t iterations);
  double (*fma_f64)(size_t iterations);
};

const RooflineKernels& RooflineKernelsFor(SimdTarget target);

// ----------------------------------------------------------------------------------------- softmax

enum class SoftmaxOp : uint8_t { kSoftmax, kLogSoftmax, kSoftmaxBackward, kLogSoftmaxBackward };
constexpr int kSoftmaxOps = 4;

// One op, in phases that are called for one chunk of the axis after another; `first` starts anew.
// `a` is x or dy, `b` is y (only the gradients read it). They and `out` hold n elements of a row,
// or of a panel [n][nr], 64-byte aligned; `max`, `totals` and the inner length of `partials` are
// then 1 or nr. `stored` and `out` may be `a` itself.
template <class T>
struct SoftmaxPhases {
  // The maximum so far. Null in gradients, which have none.
  void (*max)(const T* a, size_t n, bool first, T* max);
  // Element i of the axis adds its terms to partials[sum][i mod B]; except in the last call, n is a
  // multiple of B. softmax stores exp(a - max), the others store nothing.
  void (*sum)(const T* a, const T* b, size_t n, const T* max, bool first, T* stored, T* partials);
  // What the sums over all n elements of the axis come to. Overwrites the partials.
  void (*total)(size_t n, T* partials, T* totals);
  // The results. For softmax, `a` is what `sum` stored.
  void (*apply)(const T* a, const T* b, size_t n, const T* max, const T* totals, T* out);
};

template <class T>
struct SoftmaxKernels {
  static constexpr size_t kMaxSums = 2;  // partials is [sum][B] or [sum][B][nr]
  size_t partials;                       // B
  size_t nr;
  // to[r][c] = from[r][c] and to[c][r] = from[r][c] for r < rows, c < columns; no overlap.
  void (*copy)(const T* from, size_t from_stride, size_t rows, size_t columns, T* to,
               size_t to_stride);
  void (*transpose)(const T* from, size_t from_stride, size_t rows, size_t columns, T* to,
                    size_t to_stride);
  SoftmaxPhases<T> row[kSoftmaxOps], panel[kSoftmaxOps];  // the same bits from either
};

template <class T>
const SoftmaxKernels<T>& SoftmaxKernelsFor(SimdTarget target);

}  // namespace lanewise

#endif  // LANEWISE_KERNELS_KERNELS_H_
