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

#include "lanewise/conv.h"
#include "lanewise/tensor.h"
#include "runtime/target.h"

namespace lanewise {

// ---------------------------------------------------------------------------------------- distance

// What is summed over the coordinates of two rows.
enum class Term : uint8_t {
  kSquare,       // Σ (x - y)²
  kAbs,          // Σ |x - y|
  kAbsSum,       // Σ |x + y|
  kMax,          // max |x - y|
  kProduct,      // Σ x·y
  kDiffers,      // Σ [x ≠ y], where a NaN differs from everything
  kShare,        // Σ |x - y| / (|x| + |y|), 0 where both are 0
  kHalvesPower,  // Σ |x - y|^p, p > 0 a multiple of 1/2
  kPower,        // Σ |x - y|^p, p > 0
};
constexpr int kTerms = 9;

// What becomes of a total t. `Trusted` says where the terms of t cannot have been lost to underflow
// or overflow: smallest <= t <= the largest finite number. NaN is trusted.
enum class Finish : uint8_t {
  kCopy,      // t
  kCopySafe,  // t, if its two norms are trusted not to have overflowed
  kMean,      // t / d
  kQuotient,  // t / s, s being the total of a second term, if both are trusted not to have
              // overflowed
  kSqrt,      // sqrt(t), if t is trusted
  kRoot,      // t^(1/p), if t is trusted
  kCosine,    // 1 - t / sqrt(x2·y2), clipped to [0, 2], if the norms and the product are trusted
  kJaccard,   // 1 - t / (x2 + y2 - t), 0 where both norms are 0
};
constexpr int kFinishes = 8;

// Sums run in blocks of this many terms, which are then added up in order, so that the error of a
// sum of d terms grows with kSumBlock + d/kSumBlock and not with d.
constexpr size_t kSumBlock = 64;

// The totals of a tile and what else its results come from.
template <class T>
struct DistanceTotals {
  size_t rows, n;              // the results are those of i < rows and j < n <= nr
  const T* totals;             // [rows][nr]
  const T* second;             // [rows][nr], for kQuotient
  const T *x_norms, *y_norms;  // x2[i] and y2[j], for kCopySafe, kCosine and kJaccard
  bool pairs;                  // x2[j] instead, as lane j is a pair of rows of its own
  T smallest;                  // for kSqrt, kRoot and kCosine
  double d, p;                 // for kMean and kRoot
  bool stream;                 // store past the caches: rows of `out` are on 64-byte borders
};

template <class T>
struct DistanceKernels {
  size_t mr, nr;
  // totals[i][j] (row length nr) = or, unless `first`, += the sum over k < terms of rows[k][i] (row
  // length mr) against panel[k][j], for i < count <= mr and all j < nr. Totals and panel are
  // 64-byte aligned. Except in a call that is the last for its totals, `terms` is a multiple of
  // kSumBlock. `p` is the exponent of a power.
  void (*accumulate[kTerms])(const T* rows, size_t count, const T* panel, size_t terms, double p,
                             T* totals, bool first);
  // totals[j] likewise of x[k][j] against y[k][j], two panels, with the same bits.
  void (*accumulate_pairs[kTerms])(const T* x, const T* y, size_t terms, double p, T* totals,
                                   bool first);
  // out[i][j] = the results, with out_stride elements between rows. False if some result does not
  // meet the condition that Finish states; what is stored for it is then of no use.
  bool (*finish[kFinishes])(const DistanceTotals<T>& tile, T* out, int64_t out_stride);
  // Makes streamed results visible to other threads, and to later stores of this one.
  void (*flush)();
  // to[c][r] = from[r][c] for r < rows, c < columns; no overlap.
  void (*transpose)(const T* from, size_t from_stride, size_t rows, size_t columns, T* to,
                    size_t to_stride);
};

template <class T>
const DistanceKernels<T>& DistanceKernelsFor(SimdTarget target);

// ------------------------------------------------------------------------------- distances of bits

// Coordinates that are true or false, 64 to a word. Of two rows that have t in common, x2 and y2
// being what each has alone, x2 + y2 - t are in either and x2 + y2 - 2t in only one of them.
enum class BitFinish : uint8_t {
  kShare,   // of those in either, the share in only one of them; 0 where there are none
  kDiffer,  // those in only one of them / divisor
};
constexpr int kBitFinishes = 2;

// The counts of a tile.
struct BitTotals {
  size_t rows, n;                       // the results are those of i < rows and j < n <= nr
  const uint64_t* totals;               // t: [rows][nr], below 2^52 as all counts
  const uint64_t *x_counts, *y_counts;  // x2[i] and y2[j]; of y2, nr can be read
  bool pairs;                           // x2[j] instead, as lane j is a pair of rows of its own
  double divisor;                       // for kDiffer
  bool stream;  // store past the caches: rows of `out` are on 64-byte borders
};

struct BitKernels {
  template <class T>
  using Finish = void (*)(const BitTotals& tile, T* out, int64_t out_stride);

  static constexpr size_t nr = 16;  // whole lines of results
  size_t mr;
  // Bit i mod 64 of to[i / 64 · step] = whether from[i] has one of the bits that are significant,
  // i < n; bits past n are 0. Returns how many are set. For elements of 1, 2, 4 and 8 bytes.
  uint64_t (*pack[4])(const void* from, size_t n, uint64_t significant, uint64_t* to,
                      ptrdiff_t step);
  // totals[i][j] (row length nr) = or, unless `first`, += the bits that are set both in rows[w][i]
  // (row length mr) and in panel[w][j], w < words, for all i < mr and j < nr. Totals and panel are
  // 64-byte aligned.
  void (*count)(const uint64_t* rows, const uint64_t* panel, size_t words, uint64_t* totals,
                bool first);
  // out[i][j] = the results, with out_stride elements between rows. All counts are 64-byte aligned.
  Finish<float> finish_float[kBitFinishes];
  Finish<double> finish_double[kBitFinishes];
  void (*flush)();  // as in DistanceKernels
};

const BitKernels& BitKernelsFor(SimdTarget target);

// -------------------------------------------------------------------------------- distance filter

// A row as int16: what its coordinates come to. Each sum is off by (n + 2)·eps/2 of itself at most.
template <class T>
struct QuantisedSums {
  T squares;     // Σ q[k]²
  T residuals;   // Σ (v[k] - q[k])²; not finite if some v[k] was not
  int32_t norm;  // Σ q[k]² modulo 2^32
};

// Products of rows that are quantised to int16, two neighbouring coordinates, a pair, in an
// int32_t. The tile has mr rows and nr <= 64 lanes.
struct DistanceFilterKernels {
  size_t mr, nr;
  // q[k] = v[k] = (row[k] - centre[k])·scale, rounded to the nearest integer and clipped to
  // ±32767, k < n. The difference is rounded once, and `scale` is a power of two.
  QuantisedSums<float> (*quantise_f32)(const float* row, const float* centre, size_t n, float scale,
                                       int16_t* q);
  QuantisedSums<double> (*quantise_f64)(const double* row, const double* centre, size_t n,
                                        double scale, int16_t* q);
  // Whether start[j] - least[i] + Σ_{k < pairs} rows[k][i]·panel[k][j] >= 0 for some i < mr and
  // j < nr. If so, bit j of lanes[i] says where. Row lengths are mr and nr. No sum on the way may
  // leave int32. Panel and start are 64-byte aligned.
  bool (*survivors)(const int32_t* rows, const int32_t* panel, size_t pairs, const int32_t* start,
                    const int32_t* least, uint64_t* lanes);
  // to[c][r] = from[r][c].
  void (*transpose)(const int32_t* from, size_t from_stride, size_t rows, size_t columns,
                    int32_t* to, size_t to_stride);
};

const DistanceFilterKernels& DistanceFilterKernelsFor(SimdTarget target);

// --------------------------------------------------------------------------------------- neighbors

// A distance as an integer of the same order, NaN above infinity: the bits of its absolute value,
// but for NaN, which are all one.
template <class T>
using DistanceKey = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
template <class T>
constexpr DistanceKey<T> kNanKey = sizeof(T) == 4 ? DistanceKey<T>(0x7FC00000)
                                                  : DistanceKey<T>(0x7FF8000000000000);

// A tile of distances and, for each of its rows, the key that those of interest are below.
template <class T>
struct DistanceTile {
  const T* distances;  // [rows][nr], 64-byte aligned; nr is that of the DistanceKernels, at most 64
  size_t rows, nr, n;  // columns j < n count
  const DistanceKey<T>* limits;  // [rows]
};

template <class T>
struct NeighborKernels {
  // below[i] = the columns j, as bits, where the key of distances[i][j] is below limits[i]. False
  // if there are none. For a signalling NaN a bit may be set that should not be.
  bool (*below)(const DistanceTile<T>& tile, uint64_t* below);
};

template <class T>
const NeighborKernels<T>& NeighborKernelsFor(SimdTarget target);

// ------------------------------------------------------------------------ gradients of distances

// What coordinates x and y add to the gradient by x, with c and s their rows' coefficients.
enum class Slope : uint8_t {
  kDifference,   // c·(x - y)
  kProduct,      // c·y
  kSign,         // c·sign(x - y), no NaN
  kLargest,      // c·sign(x - y) where |x - y| = s, no NaN
  kTwoSigns,     // c·sign(x - y) - s·sign(x + y), no NaN
  kShare,        // c·sign(x - y)·(1 + sign(x)·sign(y))·|y| / (|x| + |y|)², 0 for x = y
  kHalvesPower,  // c·sign(x - y)·(|x - y|·s)^p, p > 0 a multiple of 1/2
  kPower,        // the same for any p; 0 where |x - y|·s is 0
};
constexpr int kSlopes = 8;

// c and s of two rows, out of g, which is the gradient by their distance d. What is not trusted,
// as it left the exponent range or is NaN, becomes 0.
enum class Coefficient : uint8_t {
  kGiven,     // g, and g·d: always trusted
  kLargest,   // g, or 0 for d = 0, and the sum, or d without sums: trusted unless d is NaN
  kQuotient,  // g / d, or 0 for d = 0
  kInverse,   // g and 1 / d, or 0 for d = 0
  kShares,    // g / sum, and d·g / sum
};
constexpr int kCoefficients = 5;

// Up to MR rows, and a block of terms.
template <class T>
struct SlopeTile {
  size_t count, terms, vectors;  // count <= mr, terms <= kSumBlock
  const T* rows;                 // [vector][mr][lanes]
  const T* panel;                // [vector][kSumBlock][lanes]
  const T *c, *s;                // [mr][kSumBlock]; s may be null where a slope has none
};

template <class T>
struct PairsOfRows {
  const T *g, *d, *sums;  // d may be null for kGiven without s, and sums for all but kShares
};

template <class T>
struct DistanceBackwardKernels {
  size_t mr, lanes;
  // totals[v][i] (mr vectors for each v) = or, unless `first`, += the sum of a slope over the
  // tile's terms, for i < count; others may be written as well. All but c and s is 64-byte aligned.
  // `p` is the exponent of a power.
  void (*accumulate[kSlopes])(const SlopeTile<T>& tile, double p, T* totals, bool first);
  // out[i] = the slope of x[i] and y[i], whose rows have c[i] and s[i], i < n, which is a multiple
  // of `lanes`. Any alignment; s may be null where a slope has none.
  void (*slopes[kSlopes])(const T* x, const T* y, const T* c, const T* s, size_t n, double p,
                          T* out);
  // c[j] and, unless s is null, s[j] for j < n. False if some are not trusted.
  bool (*coefficients[kCoefficients])(const PairsOfRows<T>& pairs, size_t n, T* c, T* s);
  // sums[i][j] (row length kSumBlock) = or, unless `first`, joined with Σ |x + y| or max |x - y|
  // over the lanes of row i and term j. A maximum does not keep a NaN.
  void (*sums_of_sizes)(const SlopeTile<T>& tile, T* sums, bool first);
  void (*largest_differences)(const SlopeTile<T>& tile, T* sums, bool first);
  // to[c][r] = from[r][c].
  void (*transpose)(const T* from, size_t from_stride, size_t rows, size_t columns, T* to,
                    size_t to_stride);
};

template <class T>
const DistanceBackwardKernels<T>& DistanceBackwardKernelsFor(SimdTarget target);

// ----------------------------------------------------------------------------------------- conv2d

// Where a finished tile goes: out[i·stride + j] = sums[i][j] + its bias, relu of it where that is
// asked for. The bias is bias[j] in accumulate and bias[i] in accumulate_packed. Floating-point
// types only.
template <class T>
struct ConvResults {
  T* out;
  int64_t stride;
  const T* bias;
  bool relu;
};

// One or two rows of outputs over strips, which are rows of x, or of copies of x that have the
// padding as well. Vector v < vectors of output row i < count of unit u < units is
//   Σ_{r < window, t < terms} X(r, t) · filter[u·filter_unit + r·filter_step + t·lanes + lane]
// as one chain of multiply-adds in the order (r, t), leaving out rows that are null, where X is,
// from p = rows[i·shift + r] + x_offset + offsets[t] on,
//
//   channel_strips     p[u·x_unit + v·lanes + lane], aligned
//   channels_in_place  p[c(u) + v·x_step + lane]
//   lookup_strips      p[u·x_unit + v·lanes + index[t mod period·lanes + lane]], aligned; one unit
//   broadcast          p[u·x_unit + v·x_step]
//
// In the first two, the first `sliding` terms, a multiple of 3, have offsets[t] = t·(distance of
// v).
//
// Units are the vectors of n channels, from c(u) = u·lanes on, but no further than the last vector
// that is full, if there is one.
template <class T>
struct Strips {
  using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  const T* const* rows;
  size_t count, shift, window;
  const size_t* offsets;
  size_t terms, sliding;
  const Index* index;
  size_t period;
  ptrdiff_t x_offset;
  size_t x_step, x_unit;
  const T* filter;
  size_t filter_step, filter_unit;
  size_t vectors, units, n;
  // Unless `first`, chains begin with sums[i·sums_stride + v·lanes]; that is also where they end if
  // out is null. Aligned, and for one unit only.
  bool first;
  T* sums;
  size_t sums_stride;
  // Else activation(sum + bias[c(u) + lane]), which is none, relu or relu6, is stored at
  // out[c(u) + i·row_stride + v·vector_stride + lane].
  Activation activation;
  const T* bias;
  T* out;
  ptrdiff_t row_stride, vector_stride;
};

// Outputs of one channel over a plane of x that has the padding around it, so that the input of
// output i under term t is x[offsets[t] + i]: for i < vectors·lanes,
//   out[i] = activation(bias + Σ_t x[offsets[t] + i] · filter[t·lanes])
// as one chain of multiply-adds in the order of t, and none, relu or relu6. `out` is aligned.
template <class T>
struct PlaneConv {
  const T* x;
  const size_t* offsets;
  const T* filter;
  size_t terms, vectors;
  T bias;
  Activation activation;
  T* out;
};

// From which of `span` neighbouring channels lane j takes input channel c < channels of its group:
// index[c·lanes + j], 64-byte aligned.
template <class T>
struct LaneMap {
  using Index = typename Strips<T>::Index;
  size_t channels, span;
  const Index* index;
};

template <class T>
struct ConvKernels {
  size_t mr, nr;

  // The register tile of the implicit GEMM, for i < count <= mr and all j < nr:
  //   sums[i][j] = or, unless `first`, += Σ_{s < segments} Σ_{k < depth} a(s, k, i) · b(s, k, j)
  // as one chain of multiply-adds in the order (s, k). With `half` only j < nr/2 is computed, and
  // no more of b is read. Sums (row length nr) are 64-byte aligned. Unless `results` is null, the
  // sums are finished and stored there instead.
  //
  // accumulate:  a = rows[s·row_stride + i][k], b = panel[s·depth + k][j] (row length nr). `fetch`
  // says that what follows the last row of a segment in memory, as much as all rows are, is needed
  // next.
  void (*accumulate)(const T* const* rows, size_t row_stride, size_t count, size_t segments,
                     size_t depth, const T* panel, bool half, bool first, bool fetch, T* sums,
                     const ConvResults<T>* results);
  // accumulate_packed:  a = rows[s·depth + k][i] (row length mr), b = panels[s][k·panel_step + j].
  // `fetch` says that the nr lanes that follow those of a term in memory are needed next.
  void (*accumulate_packed)(const T* rows, size_t count, const T* const* panels, size_t panel_step,
                            size_t segments, size_t depth, bool half, bool first, bool fetch,
                            T* sums, const ConvResults<T>* results);

  // to[r][c] = from[r][c] and to[c][r] = from[r][c] for r < rows, c < columns; no overlap.
  void (*copy)(const T* from, size_t from_stride, size_t rows, size_t columns, T* to,
               size_t to_stride);
  void (*transpose)(const T* from, size_t from_stride, size_t rows, size_t columns, T* to,
                    size_t to_stride);

  // to[p·to_step + i] = from[i·stride + p] for i < n and p < phases <= stride; reads n·stride
  // elements, no overlap.
  void (*split)(const T* from, size_t stride, size_t phases, size_t n, T* to, size_t to_step);

  // Convolution over strips: lanes are channels, or pixels. Up to `strip_rows` output rows at a
  // time.
  size_t lanes, strip_rows;
  void (*channel_strips)(const Strips<T>& strips);
  void (*channels_in_place)(const Strips<T>& strips);
  void (*lookup_strips)(const Strips<T>& strips);
  void (*broadcast)(const Strips<T>& strips);
  // Lanes are pixels. Floating-point types only, else null.
  void (*plane)(const PlaneConv<T>& plane);
  // to[u·unit + p·lanes + j] = from[p·step + c(u) + j] for p < pixels and each unit u of n channels
  // in all (c(u) as in Strips), zeros past these. `to` is 64-byte aligned.
  void (*spread_channels)(const T* from, int64_t step, size_t pixels, size_t n, T* to, size_t unit);
  // to[c·plane + p·lanes + j] = from[p·step + index[c·lanes + j]] for p < pixels. `to` is 64-byte
  // aligned.
  void (*spread_groups)(const T* from, int64_t step, size_t pixels, const LaneMap<T>& map, T* to,
                        size_t plane);
  // Whether none of n values is infinite or NaN.
  bool (*finite)(const T* values, size_t n);
  // to[r][c] = from[c·lanes + r] for r < rows <= lanes, c < columns; no overlap.
  void (*vectors_to_rows)(const T* from, size_t rows, size_t columns, T* to, size_t to_stride);

  // out[i][j] = activation(sums[i][j] + b), b = bias[j], or bias[i] in finish_per_row. Row lengths
  // are given as strides; j < n. `out` may be `sums`, with the same stride. Integers have no other
  // activation than kNone.
  using Finish = void (*)(const T* sums, size_t sums_stride, size_t rows, size_t n, const T* bias,
                          T* out, int64_t out_stride);
  Finish finish[kActivations];
  Finish finish_per_row[kActivations];
};

template <class T>
const ConvKernels<T>& ConvKernelsFor(SimdTarget target);

// The same, but that `accumulate` and `accumulate_packed` take each element of their operands for a
// pair of int16, and the product of two for the sum of their lower and their upper halves'
// products.
const ConvKernels<int32_t>& ConvPairKernelsFor(SimdTarget target);

// F(outputs, taps) of Winograd's algorithm along one axis.
struct WinogradAxis {
  size_t outputs, taps;
  constexpr size_t inputs() const { return outputs + taps - 1; }
};

// A tile of outputs for filters of rows.taps × columns.taps.
struct WinogradTile {
  WinogradAxis rows, columns;
  constexpr size_t elements() const { return rows.inputs() * columns.inputs(); }
};

// The tiles that there are kernels for. Larger ones would save more products, but round too much:
// of the outputs' size on random data, F(2×2, 7×7) errs by 2e-5 and F(4, 7) by 1.1e-5 with their
// best points, where those below stay under 1e-5. There is none for stride 2: F(5×5, 2×2) for odd
// and even pixels apart saves half of the products of a 3×3 filter, but each output needs 5.8
// transformed inputs; 64 channels at 112² took 1.52 ms, and the ordered sum takes 1.28.
constexpr WinogradTile kWinogradTiles[] = {{{4, 3}, {4, 3}}, {{2, 3}, {2, 3}}, {{2, 5}, {2, 5}},
                                           {{1, 1}, {4, 3}}, {{4, 3}, {1, 1}}, {{1, 1}, {2, 5}},
                                           {{2, 5}, {1, 1}}, {{1, 1}, {2, 7}}, {{2, 7}, {1, 1}}};
constexpr size_t kWinogradTileCount = sizeof(kWinogradTiles) / sizeof(WinogradTile);

// Winograd's algorithm for one tile, float32 only; mr and nr are ConvKernels<float>'s. The elements
// (i, j) of a transformed tile, i < height = rows.inputs() and j < width = columns.inputs(), are
// `step` elements apart.
struct WinogradKernels {
  WinogradTile tile;
  // v[t·tile_step + (i·width + j)·step + c] = element (i, j) of Bᵀ·d·B of tile t < tiles,
  // d[i][j] = pixels[(t·height + i)·width + j][first + c], for c < n. v is 64-byte aligned, and
  // written to the end of the last vector.
  void (*input)(const float* const* pixels, size_t tiles, size_t first, size_t n, float* v,
                size_t tile_step, size_t step);
  // sums[i][j] = or, unless `first`, += Σ_{k < depth} rows[i][k] · panel[k][j], summed before it is
  // added, for i < count <= mr and j < nr. Sums and panel are 64-byte aligned. As many rows behind
  // the last are fetched into caches.
  void (*multiply)(const float* const* rows, size_t count, size_t depth, const float* panel,
                   bool first, float* sums);
  // out[i·row_stride + j·column_stride + k] = activation(element (i, j) of Aᵀ·m·A + bias[k]), for
  // i < rows <= rows.outputs, j < columns <= columns.outputs and k < n; m[(i·width + j)·step + k]
  // is 64-byte aligned and readable to the end of the last vector. False if some sum was not
  // finite.
  bool (*output)(const float* m, size_t step, size_t n, const float* bias, Activation activation,
                 float* out, int64_t row_stride, int64_t column_stride, size_t rows,
                 size_t columns);
  // u[(i·width + j)·step + c·n + k] = element (i, j) of G·g·Gᵀ,
  // g[r][s] = taps[(r·columns.taps + s)·tap_step + c·channel_step + k], for c < channels and k < n,
  // a whole number of vectors.
  void (*filter)(const float* taps, int64_t tap_step, size_t channel_step, size_t channels,
                 size_t n, float* u, size_t step);
  // to[c][r] = from[r][c] for r < rows, c < columns; no overlap.
  void (*transpose)(const float* from, size_t from_stride, size_t rows, size_t columns, float* to,
                    size_t to_stride);
};

// For kWinogradTiles[tile].
const WinogradKernels& WinogradKernelsFor(SimdTarget target, size_t tile);

// ---------------------------------------------------------------------------------- conv backward

// What a block of outputs adds to the gradients of one vector of filters by some taps:
//   sums[t·lanes + l] += Σ_{i < rows} Σ_{j < columns} dy[i·dy_row + j·dy_step + l]
//                                                     · x[i·x_row + j·lanes + offsets[t] + l]
// for t < taps and l < lanes, summed as one chain of multiply-adds in the order (i, j) before it is
// added. Offsets are runs of `run`, in which each is `lanes` above the one before. All of x that is
// read, and sums, are 64-byte aligned.
template <class T>
struct TapSums {
  const T* x;
  const T* dy;
  int64_t x_row, dy_row, dy_step;
  size_t rows, columns;
  const size_t* offsets;
  size_t taps, run;  // taps a multiple of run
  T* sums;
};

template <class T>
struct ConvBackwardKernels {
  size_t mr, nr;

  // The register tile of filters' gradients, for i < count <= mr and all j < nr:
  //   sums[i][j] = or, unless `first`, += Σ_{s < segments} Σ_{t < depth} rows[s][t·row_step + i]
  //                                                                     · lanes[s][t·lane_step + j]
  // summed as one chain of multiply-adds in the order (s, t) before it is added. With `half` only
  // j < nr/2 is computed, and no more of the lanes is read. Rows are computed, and so read and
  // stored, up to the next third of mr. Sums (row length nr) are 64-byte aligned.
  void (*outer)(const T* const* rows, size_t row_step, size_t count, const T* const* lanes,
                size_t lane_step, bool half, size_t segments, size_t depth, bool first, T* sums);
  // The same for a whole tile. Meanwhile as many lines of 64 bytes as there are terms are brought
  // to L2, from `fetch` on; it need not be memory of anyone.
  void (*outer_fetching)(const T* const* rows, size_t row_step, const T* const* lanes,
                         size_t lane_step, size_t segments, size_t depth, bool first, T* sums,
                         const void* fetch);
  void (*add_taps)(const TapSums<T>& sums);
};

template <class T>
const ConvBackwardKernels<T>& ConvBackwardKernelsFor(SimdTarget target);

// What the filters' gradient by a tile of Winograd's algorithm needs beyond WinogradKernels::input
// and the tile of outer products.
struct WinogradBackwardKernels {
  // As WinogradKernels::input, for A·dY·Aᵀ: dY[i][j] = pixels[(t·rows.outputs + i)·columns.outputs
  // + j][first + c].
  void (*output)(const float* const* pixels, size_t tiles, size_t first, size_t n, float* d,
                 size_t tile_step, size_t step);
  // taps[(c·rows.taps·columns.taps + r·columns.taps + s)·nr + k] = or, unless `first`, += element
  // (r, s) of Gᵀ·m·G, m[i][j] = m[(i·width + j)·step + c·nr + k], for c < rows and k < n, to the
  // end of the last vector; nr is ConvBackwardKernels<float>'s. Both are 64-byte aligned. False if
  // some result is not finite.
  bool (*filter)(const float* m, size_t step, size_t rows, size_t n, bool first, float* taps);
};

// For kWinogradTiles[tile].
const WinogradBackwardKernels& WinogradBackwardKernelsFor(SimdTarget target, size_t tile);

// ----------------------------------------------------------------------------------------- convert

// Conversions of neighbours in memory between an element type and the type C that ops compute in
// (runtime/dtype.h), indexed by DType; null where that is not exact or C is another's.
template <class C>
struct ConvertKernels {
  // to[i] = from[i], i < n.
  using Read = void (*)(const void* from, size_t n, C* to);
  Read read[kDTypes];
  // to[i] = from[i], rounded to nearest even, or an integer's low bits.
  using Write = void (*)(const C* from, size_t n, void* to);
  Write write[kDTypes];
};

template <class C>
const ConvertKernels<C>& ConvertKernelsFor(SimdTarget target);

// Conversions of elements to pairs of int16, the first in the lower half of 32 bits.
struct PairKernels {
  struct Read {
    // to[r·n + i] = (low[r·step + i], high[r·step + i]), r < runs, i < n.
    void (*zip)(const void* low, const void* high, size_t runs, size_t n, ptrdiff_t step,
                int32_t* to);
    // to[i] = (from[2i], from[2i + 1]), i < n.
    void (*neighbours)(const void* from, size_t n, int32_t* to);
  };
  // Indexed by DType; null but for the types of 8 bits.
  Read read[kDTypes];
};

const PairKernels& PairKernelsFor(SimdTarget target);

// -------------------------------------------------------------------------------------------- pool

// Where the elements of one call lie: `count` runs of `len` neighbours, element j of run i at
// i·src_step + j of a source, at i·out_step + j of the result, and its number at i·number_step + j.
struct Runs {
  size_t count, len;
  ptrdiff_t src_step, out_step, number_step;
};

// Which element of a window wins: the largest or the smallest, and whether a NaN beats every number
// ("propagate") or loses to it ("omit"). Integers have no NaN.
enum class Pick : uint8_t { kMax, kMin, kMaxOmitNaN, kMinOmitNaN };
constexpr int kPicks = 4;

// The winner of several elements. Results overlap no source; `taps` is at least 1.
template <class T>
struct PickKernels {
  // Numbers of elements: as wide as these, so that one vector has the numbers of another.
  using Number = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  // out = the winner of src[t], t < taps. Where that is a NaN, its sign and payload are lost. Null,
  // as pick_pairs, where NaN lose: such numbers are compared as keys.
  void (*pick)(const T* const* src, size_t taps, const Runs& runs, T* out);
  // out[j] = the winner of row[2j + t], t < taps, at least 2. Null for elements of 64 bits.
  void (*pick_pairs)(const T* row, size_t taps, const Runs& runs, T* out);
  // Windows that slide: out[o·out_step + j] = the winner of x[(o·stride + t)·src_step + j],
  // t < window, for o < runs.count, j < runs.len, at least a vector; stride <= window. An element
  // costs two passes whatever the window: van Herk, "A fast algorithm for local minimum and maximum
  // filters", 1992, cuts them into blocks of `window`, and a window is the end of one and the
  // beginning of the next. `spare` has room for `window` vectors. Null but for integers.
  void (*pick_slides)(const T* x, size_t window, size_t stride, const Runs& runs, T* spare, T* out);
  // The same, and numbers = ids[t] of the first t that wins. Null for elements below 32 bits.
  void (*arg)(const T* const* src, const Number* ids, size_t taps, const Runs& runs, T* out,
              Number* numbers);
  // The same for elements that carry numbers of their own, laid out as they are themselves:
  // numbers = the smallest src_numbers[t] + ids[t] that wins.
  void (*merge_arg)(const T* const* src, const Number* const* src_numbers, const Number* ids,
                    size_t taps, const Runs& runs, T* out, Number* numbers);
};

// Floating-point numbers as integers of as many bits that are in the same order, -0 before +0, and
// NaN where `nan` is: so they are compared in one step, NaN included. T is signed.
template <class T>
struct FloatKeys {
  T infinity, nan;  // keys
  T nan_bits;       // of the NaN that is written
};

template <class T>
struct PoolKernels {
  using Number = typename PickKernels<T>::Number;
  size_t lanes;
  PickKernels<T> picks[kPicks];
  // even[i] = row[2i], odd[i] = row[2i + 1], as far as row[n - 1].
  void (*split)(const T* row, size_t n, T* even, T* odd);
  void (*split_numbers)(const Number* row, size_t n, Number* even, Number* odd);
  // to = the keys of numbers in memory; `to` may be `from` if there is one run. And values[i] = its
  // number, i < n. Null but for signed integers of 16 bits and more.
  void (*to_keys)(const T* from, const Runs& runs, const FloatKeys<T>& keys, T* to);
  void (*from_keys)(T* values, size_t n, const FloatKeys<T>& keys);
  // out = 0 + b_0 + b_1 + ..., added in this order, where b_k = 0 + the sum of one block of src[t]
  // in the order of t: of the first `first` taps, then of `block` taps each, and of what is left.
  // Overlaps no source. Null, as are `divide` and `divide_each`, for integers.
  void (*sum)(const T* const* src, size_t taps, size_t first, size_t block, const Runs& runs,
              T* out);
  // values[i] = values[i] / divisor, or divisors[i], i < n.
  void (*divide)(T* values, size_t n, T divisor);
  void (*divide_each)(T* values, size_t n, const T* divisors);
};

template <class T>
const PoolKernels<T>& PoolKernelsFor(SimdTarget target);

// ----------------------------------------------------------------------------------- pool backward

// The functions for averages are null for integers. No result overlaps an operand unless said.
template <class T>
struct PoolBackwardKernels {
  // *least and *largest take in all of `runs` runs of `len` values.
  void (*range)(const int64_t* values, size_t runs, ptrdiff_t step, size_t len, int64_t* least,
                int64_t* largest);
  // to[r·step + i] = 0 for r < runs, i < len.
  void (*clear)(T* to, size_t runs, ptrdiff_t step, size_t len);

  // to[p·depth + c] = from[p·step + c] / divisors[p] for p < pixels, c < depth.
  void (*quotients)(const T* from, ptrdiff_t step, size_t pixels, size_t depth, const T* divisors,
                    T* to);
  // out[i] = Σ x[i + k·distance], k < terms, for i < n; terms >= 2. The terms are taken in runs of
  // powers of two, the shortest first, which are added up in order; each run is the sum of its
  // halves. x has n + (terms - 1)·distance elements and `spare` room for as many.
  void (*window_sums)(const T* x, size_t n, size_t distance, size_t terms, T* spare, T* out);
  // out[i] = a[i] + b[i], i < n; `out` may be `a`.
  void (*add)(const T* a, const T* b, size_t n, T* out);
  // to[p·step + k·pixel_step + c] = from[p·depth + c] for p < n, k < times, c < depth. Where
  // pixel_step is 1, what it finds at the places between the first and the last may be written
  // again.
  void (*repeat)(const T* from, size_t n, size_t depth, size_t times, T* to, ptrdiff_t pixel_step,
                 ptrdiff_t step);
};

template <class T>
const PoolBackwardKernels<T>& PoolBackwardKernelsFor(SimdTarget target);

// ---------------------------------------------------------------------------------- cross_entropy

template <class T>
struct SoftmaxRows;

// What is summed over the classes of a row, and stored of them.
enum class CrossEntropySum : uint8_t {
  kLabel,             // of logits: s, where Σ exp(x - max) = 1 + s
  kLabelAndGradient,  // the same; stores exp(x - max)
  kTargets,           // the same, then Σ q·(max - x) and Σ q; stores exp(x - max)
  kTerms,             // of anything: Σ a
};
constexpr int kCrossEntropySums = 4;

// In phases, as a SoftmaxPhases is, with the same `first`, n, panels and alignment. `a` is x and
// `b` the targets q.
template <class T>
struct CrossEntropyPhases {
  void (*max)(const T* a, size_t n, bool first, T* max);
  // Of the sums in partials[sum][i mod B], s takes two: Σ exp(x - max) of what is below the
  // maximum, and how often that occurs, which is 1 more than there is to add. `stored` may be
  // `a`; kLabel stores nothing.
  void (*sum[kCrossEntropySums])(const T* a, const T* b, size_t n, const T* max, bool first,
                                 T* stored, T* partials);
  // One sum over all n classes. Overwrites its partials. `unused` may be null.
  void (*total)(size_t n, T* partials, const T* unused, T* totals);
  // a·k, and a·k - b·scale. `out` may be `a`. What is unused is read where it is not `b`.
  void (*scale)(const T* a, const T* unused_b, size_t n, const T* unused, const T* k, T* out);
  void (*subtract)(const T* a, const T* b, size_t n, const T* scale, const T* k, T* out);
};

// What is known of some rows, and what becomes of it; one element per row in each array. With
// s = below + maxima - 1:
template <class T>
struct LossRows {
  const T *below, *maxima;  // the two sums that s is
  const T *max, *picked;    // the largest logit and the label's
  const T* weight;          // w, or Σ q
  T scale;
  T* loss;      // w·(max - picked + log(1 + s)), or Σ q·(max - x), of which it becomes the loss
  T* factor;    // w·scale/(1 + s): the gradient is so much of exp(x - max), less q·scale,
  T* at_label;  // and for a label alone w·scale·(softmax - 1), with all its digits
};

template <class T>
struct CrossEntropyKernels {
  static constexpr size_t kMaxSums = 4;  // partials is [sum][B] or [sum][B][nr]
  size_t partials;                       // B
  CrossEntropyPhases<T> row, panel;      // the same bits from either
  // Short rows of logits that have a label each, negative if they are ignored: their losses, and
  // unless rows.out is null the gradient. `scratch` is 64-byte aligned and has (2·n + 2·B + 6)·NR
  // elements.
  void (*short_rows)(const SoftmaxRows<T>& rows, const int64_t* labels, const T* weight, T scale,
                     T* loss, T* scratch);
  // terms[i] = -q[i]·log p[i] and gradient[i] = -q[i]·scale/p[i], i < n, 0 where q[i] is unless
  // p[i] is NaN. `gradient` may be null, and either may be `p`.
  void (*probabilities)(const T* p, const T* q, size_t n, T scale, T* terms, T* gradient);
  // Of n rows, for a label each and for any targets. Without `gradient` only the loss.
  void (*finish_labels)(const LossRows<T>& rows, size_t n, bool gradient);
  void (*finish_targets)(const LossRows<T>& rows, size_t n, bool gradient);
};

template <class T>
const CrossEntropyKernels<T>& CrossEntropyKernelsFor(SimdTarget target);

// ---------------------------------------------------------------------------------------- roofline

struct RooflineKernels {
  size_t f32_flops, f64_flops;  // floating-point operations per iteration
  // Independent multiply-adds in registers. The result is of no interest, but must be used.
  float (*fma_f32)(size_t iterations);
  double (*fma_f64)(size_t iterations);
  // out[i] = a[i] + b[i], past the caches if `stream`; 64-byte aligned, n a multiple of 16.
  void (*add)(const float* a, const float* b, size_t n, bool stream, float* out);
  // out[i] = 0 likewise.
  void (*fill)(size_t n, bool stream, float* out);
};

const RooflineKernels& RooflineKernelsFor(SimdTarget target);

// ----------------------------------------------------------------------------------------- softmax

enum class SoftmaxOp : uint8_t {
  kSoftmax,
  kLogSoftmax,
  kSoftmaxBackward,
  kLogSoftmaxBackward,
  kLogSumExp,
};
constexpr int kSoftmaxOps = 5;

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
  void (*total)(size_t n, T* partials, const T* max, T* totals);
  // The results. For softmax, `a` is what `sum` stored. Null in log-sum-exp, whose results are the
  // totals.
  void (*apply)(const T* a, const T* b, size_t n, const T* max, const T* totals, T* out);
};

// Rows of n elements, `count` of them at a distance of steps; row r of log-sum-exp has its one
// result at out[r·out_step].
template <class T>
struct SoftmaxRows {
  const T *a, *b;
  T* out;
  ptrdiff_t a_step, b_step, out_step;
  size_t count, n;
};

// `width` columns of n elements as panels that are `size` elements apart.
struct SoftmaxColumns {
  size_t n, width, size;
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
  // to[i] = mask[i] ? from[i] : fill, i < n; `to` may be `from`.
  void (*select)(const uint8_t* mask, const T* from, size_t n, T fill, T* to);
  SoftmaxPhases<T> row[kSoftmaxOps], panel[kSoftmaxOps];  // the same bits from either
  // All phases for short rows, NR of them at a time as a panel: the same bits again. `out` may be
  // `a`. `scratch` is 64-byte aligned and has (2·n + kMaxSums·B + 2)·NR elements.
  void (*short_rows[kSoftmaxOps])(const SoftmaxRows<T>& rows, T* scratch);
  // Row's `sum` of all n elements, and meanwhile the maximum of another row. Null but for softmax.
  void (*sum_ahead[kSoftmaxOps])(const T* a, size_t n, const T* max, T* stored, T* partials,
                                 const T* next, T* next_max);
  // Panels from columns that are neighbours in memory, with their elements at a distance of steps:
  // panel[p][i][j] = from[i·step + p·NR + j], or 0 past the width. Unless `max` is null, the maxima
  // as well. Panels and maxima are 64-byte aligned.
  void (*pack_columns)(const T* from, ptrdiff_t step, const SoftmaxColumns& columns, T* panels,
                       T* max);
  // The panels' `apply`, with its results in memory again. With `past_caches`, they are stored as
  // by `stream` if whole vectors of them are aligned.
  void (*apply_columns[kSoftmaxOps])(const T* a, const T* b, const SoftmaxColumns& columns,
                                     const T* max, const T* totals, T* out, ptrdiff_t step,
                                     bool past_caches);
  // Row's `apply`, for results that nobody reads soon: they go past the caches, and nobody else may
  // read them before `flush`. `out` overlaps neither `a` nor `b`.
  void (*stream[kSoftmaxOps])(const T* a, const T* b, size_t n, const T* max, const T* totals,
                              T* out);
  void (*flush)();
  // A block of a softmax's Jacobian: out[r][c] = rows[r]·(δ - columns[c]) for r < count, c < n,
  // where δ is 1 if c = r + diagonal, and else 0. `out` has out_stride elements between its rows
  // and does not overlap the others.
  void (*jacobian)(const T* rows, size_t count, const T* columns, size_t n, ptrdiff_t diagonal,
                   T* out, ptrdiff_t out_stride);
};

template <class T>
const SoftmaxKernels<T>& SoftmaxKernelsFor(SimdTarget target);

}  // namespace lanewise

#endif  // LANEWISE_KERNELS_KERNELS_H_
