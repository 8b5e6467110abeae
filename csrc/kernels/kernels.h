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
#include <type_traits>

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

// -------------------------------------------------------------------------------------------- pool

// Where the elements of one call lie: `count` runs of `len` neighbours, element j of run i at
// i·src_step + j of a source, at i·out_step + j of the result, and its number at i·number_step + j.
struct Runs {
  size_t count, len;
  ptrdiff_t src_step, out_step, number_step;
};

// The maximum is a NaN where there is one. Results overlap no source.
template <class T>
struct PoolKernels {
  using Number = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;  // one lane per lane of T
  size_t lanes;
  // out = max over t < taps (at least 1) of src[t].
  void (*max)(const T* const* src, size_t taps, const Runs& runs, T* out);
  // The same, and numbers = ids[t] of the first t that has the maximum.
  void (*arg_max)(const T* const* src, const Number* ids, size_t taps, const Runs& runs, T* out,
                  Number* numbers);
  // The same for elements that carry numbers of their own, laid out as they are themselves:
  // numbers = the smallest src_numbers[t] + ids[t] that has the maximum.
  void (*merge_arg_max)(const T* const* src, const Number* const* src_numbers, const Number* ids,
                        size_t taps, const Runs& runs, T* out, Number* numbers);
  // even[i] = row[2i], odd[i] = row[2i + 1], as far as row[n - 1].
  void (*split)(const T* row, size_t n, T* even, T* odd);
  void (*split_numbers)(const Number* row, size_t n, Number* even, Number* odd);
};

template <class T>
const PoolKernels<T>& PoolKernelsFor(SimdTarget target);

// ---------------------------------------------------------------------------------------- roofline

struct RooflineKernels {
  size_t f32_flops, f64_flops;  // floating-point operations per iteration
  // Independent multiply-adds in registers. The result is of no interest, but must be used.
  float (*fma_f32)(size_t iterations);
  double (*fma_f64)(size_t iterations);
};

const RooflineKernels& RooflineKernelsFor(SimdTarget target);

}  // namespace lanewise

#endif  // LANEWISE_KERNELS_KERNELS_H_
