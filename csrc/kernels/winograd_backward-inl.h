// The gradient of Winograd's algorithm by its filters: the adjoints of the transforms of the
// filters and of the outputs that winograd-inl.h has. Included once per SIMD target.
//
//   dg = Gᵀ [ Σ (A dY Aᵀ) ⊙ (Bᵀ d B) ] G      summed over the tiles
//
// For a pair of points ±p, the rows of A are (1, ±p, p², …), and the columns of Gᵀ the same over N.
#if defined(LANEWISE_KERNELS_WINOGRAD_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_WINOGRAD_BACKWARD_INL_H_
#undef LANEWISE_KERNELS_WINOGRAD_BACKWARD_INL_H_
#else
#define LANEWISE_KERNELS_WINOGRAD_BACKWARD_INL_H_
#endif

#include <array>
#include <utility>

#include "hwy/highway.h"
#include "kernels/conv_tile-inl.h"
#include "kernels/kernels.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A point p > 0 of a pair, p² and 1/N.
struct PointPair {
  double root, square, factor;
};
// The pairs of a tile of kInputs inputs; 0 and infinity are the other two points.
template <size_t kInputs>
constexpr std::array<PointPair, 0> kPairs{};
template <>
constexpr std::array<PointPair, 1> kPairs<4>{{{1, 1, 0.5}}};
template <>
constexpr std::array<PointPair, 2> kPairs<6>{
    {{0.70710678118654752440, 0.5, -2.0 / 3}, {1.41421356237309504880, 2, 1.0 / 6}}};
template <>
constexpr std::array<PointPair, 3> kPairs<8>{
    {{0.5, 0.25, 1 / 1.40625}, {1, 1, -1 / 4.5}, {2, 4, 1.0 / 90}}};

// Along one axis: OutputAdjoint is y = A x, FilterAdjoint g = Gᵀ m.
template <size_t kOutputs, size_t kTaps>
struct AxisAdjoints {
  static constexpr size_t kInputs = kOutputs + kTaps - 1;

  template <class D>
  static HWY_INLINE hn::Vec<D> Of(D d, double value) {
    return hn::Set(d, static_cast<float>(value));
  }

  template <class D, class V>
  static HWY_INLINE void OutputAdjoint(D d, const V* x, V* HWY_RESTRICT y) {
    y[0] = x[0];
    if constexpr (kInputs > 1) {
      LANEWISE_UNROLL
      for (size_t i = 0; i < kPairs<kInputs>.size(); ++i) {
        const PointPair p = kPairs<kInputs>[i];
        V even = x[0], odd = x[1];
        if constexpr (kOutputs > 2) {
          even = hn::MulAdd(Of(d, p.square), x[2], even);
          odd = hn::MulAdd(Of(d, p.square), x[3], odd);
        }
        odd = hn::Mul(Of(d, p.root), odd);
        y[2 * i + 1] = hn::Add(even, odd);
        y[2 * i + 2] = hn::Sub(even, odd);
      }
      y[kInputs - 1] = x[kOutputs - 1];
    }
  }

  template <class D, class V>
  static HWY_INLINE void FilterAdjoint(D d, const V* m, V* HWY_RESTRICT g) {
    g[0] = m[0];
    if constexpr (kInputs > 1) {
      LANEWISE_UNROLL
      for (size_t t = 1; t < kTaps; ++t) g[t] = t + 1 < kTaps ? hn::Zero(d) : m[kInputs - 1];
      LANEWISE_UNROLL
      for (size_t i = 0; i < kPairs<kInputs>.size(); ++i) {
        const PointPair p = kPairs<kInputs>[i];
        const V even = hn::Add(m[2 * i + 1], m[2 * i + 2]);
        const V odd = hn::Sub(m[2 * i + 1], m[2 * i + 2]);
        double power = p.factor;
        LANEWISE_UNROLL
        for (size_t t = 0; t < kTaps; t += 2, power *= p.square) {
          g[t] = hn::MulAdd(Of(d, power), even, g[t]);
          if (t + 1 < kTaps) g[t + 1] = hn::MulAdd(Of(d, power * p.root), odd, g[t + 1]);
        }
      }
    }
  }
};

template <size_t kTile>
struct WinogradAdjoints {
  static constexpr WinogradTile tile = kWinogradTiles[kTile];
  static constexpr size_t kHeight = tile.rows.inputs(), kWidth = tile.columns.inputs();
  using Rows = AxisAdjoints<tile.rows.outputs, tile.rows.taps>;
  using Columns = AxisAdjoints<tile.columns.outputs, tile.columns.taps>;

  static void Output(const float* const* pixels, size_t tiles, size_t first, size_t n, float* d,
                     size_t tile_step, size_t step) {
    const size_t lanes = hn::Lanes(hn::ScalableTag<float>());
    for (size_t t = 0; t < tiles; ++t, d += tile_step) {
      for (size_t k = 0; k < n; k += lanes) {
        OutputVector(pixels, first + k, HWY_MIN(lanes, n - k), d + k, step);
      }
      pixels += tile.rows.outputs * tile.columns.outputs;
    }
  }

  static HWY_INLINE void OutputVector(const float* const* pixels, size_t k, size_t n,
                                      float* HWY_RESTRICT to, size_t step) {
    const hn::ScalableTag<float> d;
    using V = hn::Vec<decltype(d)>;
    const size_t lanes = hn::Lanes(d);
    constexpr size_t kRows = tile.rows.outputs, kColumns = tile.columns.outputs;
    HWY_ALIGN float half[kHeight * kColumns * hn::MaxLanes(d)];
    for (size_t j = 0; j < kColumns; ++j) {
      V x[kRows], y[kHeight];
      for (size_t i = 0; i < kRows; ++i) {
        const float* const p = pixels[i * kColumns + j] + k;
        x[i] = n < lanes ? LoadFirst(d, p, n) : hn::LoadU(d, p);
      }
      Rows::OutputAdjoint(d, x, y);
      for (size_t i = 0; i < kHeight; ++i) hn::Store(y[i], d, half + (i * kColumns + j) * lanes);
    }
    for (size_t i = 0; i < kHeight; ++i) {
      V x[kColumns], y[kWidth];
      for (size_t j = 0; j < kColumns; ++j) x[j] = hn::Load(d, half + (i * kColumns + j) * lanes);
      Columns::OutputAdjoint(d, x, y);
      for (size_t j = 0; j < kWidth; ++j) hn::Store(y[j], d, to + (i * kWidth + j) * step);
    }
  }

  static bool Filter(const float* m, size_t step, size_t rows, size_t n, bool first, float* taps) {
    const hn::ScalableTag<float> d;
    using V = hn::Vec<decltype(d)>;
    const size_t lanes = hn::Lanes(d), nr = kConvNV * lanes;
    const V infinity = hn::Inf(d);
    auto finite = hn::Eq(infinity, infinity);
    constexpr size_t kRows = tile.rows.taps, kColumns = tile.columns.taps;
    for (size_t c = 0; c < rows; ++c, m += nr, taps += kRows * kColumns * nr) {
      for (size_t k = 0; k < n; k += lanes) {
        HWY_ALIGN float half[kRows * kWidth * hn::MaxLanes(d)];
        for (size_t j = 0; j < kWidth; ++j) {
          V x[kHeight], y[kRows];
          for (size_t i = 0; i < kHeight; ++i) x[i] = hn::Load(d, m + (i * kWidth + j) * step + k);
          Rows::FilterAdjoint(d, x, y);
          for (size_t i = 0; i < kRows; ++i) hn::Store(y[i], d, half + (i * kWidth + j) * lanes);
        }
        for (size_t i = 0; i < kRows; ++i) {
          V x[kWidth], y[kColumns];
          for (size_t j = 0; j < kWidth; ++j) x[j] = hn::Load(d, half + (i * kWidth + j) * lanes);
          Columns::FilterAdjoint(d, x, y);
          for (size_t j = 0; j < kColumns; ++j) {
            float* const to = taps + (i * kColumns + j) * nr + k;
            const V sum = first ? y[j] : hn::Add(hn::Load(d, to), y[j]);
            finite = hn::And(finite, hn::Lt(hn::Abs(sum), infinity));
            hn::Store(sum, d, to);
          }
        }
      }
    }
    return hn::AllTrue(d, finite);
  }
};

template <size_t... kTile>
constexpr std::array<WinogradBackwardKernels, sizeof...(kTile)> MakeWinogradBackwardKernels(
    std::index_sequence<kTile...>) {
  return {
      WinogradBackwardKernels{WinogradAdjoints<kTile>::Output, WinogradAdjoints<kTile>::Filter}...};
}

constexpr auto kWinogradBackward =
    MakeWinogradBackwardKernels(std::make_index_sequence<kWinogradTileCount>());

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_WINOGRAD_BACKWARD_INL_H_
