// Winograd's algorithm: a tile of m×n outputs of an r×s convolution from (m + r - 1)×(n + s - 1)
// inputs, with one multiplication per input and channel. Included once per SIMD target.
//
//   Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A      (Lavin and Gray, Fast Algorithms for Convolutional Neural
//                                          Networks, 2016; the products are summed over channels)
//
// The matrices on either side belong to one axis each, and to an F(outputs, taps) along it. They
// follow from points p at which polynomials are multiplied: column p of Aᵀ is (1, p, p² …), row p
// of G the same divided by N = Π (p - q) over the other finite points q, row p of Bᵀ the
// coefficients of Π (x - q); infinity takes the highest coefficients. Points come in pairs ±p,
// whose rows are an even part plus and minus an odd part. F(4, 3), with a = √½ and b = √2:
//
//   Bᵀ = 1   0   -5/2  0    1  0     G = 1        0        0       Aᵀ = 1  1   1   1   1   0
//        0  -2a  -2    a    1  0         -2/3     -2a/3    -1/3         0  a  -a   b  -b   0
//        0   2a  -2   -a    1  0         -2/3      2a/3    -1/3         0  ½   ½   2   2   0
//        0  -b/2 -½    b    1  0         1/6       b/6      1/3         0  a/2 -a/2 2b -2b 1
//        0   b/2 -½   -b    1  0         1/6      -b/6      1/3
//        0   1    0   -5/2  0  1         0         0        1
#if defined(LANEWISE_KERNELS_WINOGRAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_WINOGRAD_INL_H_
#undef LANEWISE_KERNELS_WINOGRAD_INL_H_
#else
#define LANEWISE_KERNELS_WINOGRAD_INL_H_
#endif

#include <array>
#include <type_traits>
#include <utility>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/conv_tile-inl.h"
#include "kernels/kernels.h"
#include "kernels/transpose-inl.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D>
HWY_INLINE hn::Vec<D> Constant(D d, double value) {
  return hn::Set(d, static_cast<float>(value));
}

// y[0] = even + odd, y[1] = even - odd: the rows of a pair of points.
template <class V>
HWY_INLINE void PlusMinus(V even, V odd, V* HWY_RESTRICT y) {
  y[0] = hn::Add(even, odd);
  y[1] = hn::Sub(even, odd);
}

// F(outputs, taps) along one axis: Input is y = Bᵀ x, Filter u = G g, Output y = Aᵀ m.
template <size_t kOutputs, size_t kTaps>
struct AxisTransforms;

// No transform, for the other axis of a filter of one row or column.
template <>
struct AxisTransforms<1, 1> {
  template <class D, class V>
  static HWY_INLINE void Input(D, const V* x, V* HWY_RESTRICT y) {
    y[0] = x[0];
  }
  template <class D, class V>
  static HWY_INLINE void Filter(D, const V* g, V* HWY_RESTRICT u) {
    u[0] = g[0];
  }
  template <class D, class V>
  static HWY_INLINE void Output(D, const V* m, V* HWY_RESTRICT y) {
    y[0] = m[0];
  }
};

// Points 0, ±1 and infinity.
template <>
struct AxisTransforms<2, 3> {
  template <class D, class V>
  static HWY_INLINE void Input(D, const V* x, V* HWY_RESTRICT y) {
    y[0] = hn::Sub(x[0], x[2]);
    PlusMinus(x[2], x[1], y + 1);
    y[3] = hn::Sub(x[3], x[1]);
  }
  template <class D, class V>
  static HWY_INLINE void Filter(D d, const V* g, V* HWY_RESTRICT u) {
    const V half = Constant(d, 0.5);
    u[0] = g[0];
    PlusMinus(hn::Mul(half, hn::Add(g[0], g[2])), hn::Mul(half, g[1]), u + 1);
    u[3] = g[2];
  }
  template <class D, class V>
  static HWY_INLINE void Output(D, const V* m, V* HWY_RESTRICT y) {
    y[0] = hn::Add(m[0], hn::Add(m[1], m[2]));
    y[1] = hn::Add(hn::Sub(m[1], m[2]), m[3]);
  }
};

// Points 0, ±a, ±b and infinity, a = √½ and b = √2. Since a·b = 1 the transforms stay near 1 in
// size, and errors are a quarter of those with the usual points ±1, ±2.
struct SixPoints {
  static constexpr double kA = 0.70710678118654752440, kB = 1.41421356237309504880;

  template <class D, class V>
  static HWY_INLINE void Input(D d, const V* x, V* HWY_RESTRICT y) {
    const V two = Constant(d, 2), half = Constant(d, 0.5), five_halves = Constant(d, 2.5);
    y[0] = hn::Add(hn::NegMulAdd(five_halves, x[2], x[0]), x[4]);
    PlusMinus(hn::NegMulAdd(two, x[2], x[4]),
              hn::Mul(Constant(d, kA), hn::NegMulAdd(two, x[1], x[3])), y + 1);
    PlusMinus(hn::NegMulAdd(half, x[2], x[4]),
              hn::Mul(Constant(d, kB), hn::NegMulAdd(half, x[1], x[3])), y + 3);
    y[5] = hn::Add(hn::NegMulAdd(five_halves, x[3], x[1]), x[5]);
  }
};

template <>
struct AxisTransforms<4, 3> : SixPoints {
  template <class D, class V>
  static HWY_INLINE void Filter(D d, const V* g, V* HWY_RESTRICT u) {
    const auto even = [&](double of_g0, double of_g2) HWY_ATTR {
      return hn::MulAdd(Constant(d, of_g2), g[2], hn::Mul(Constant(d, of_g0), g[0]));
    };
    const V even_a = even(-2.0 / 3, -1.0 / 3), even_b = even(1.0 / 6, 1.0 / 3);
    u[0] = g[0];
    u[1] = hn::MulAdd(Constant(d, -2.0 / 3 * kA), g[1], even_a);
    u[2] = hn::MulAdd(Constant(d, 2.0 / 3 * kA), g[1], even_a);
    u[3] = hn::MulAdd(Constant(d, 1.0 / 6 * kB), g[1], even_b);
    u[4] = hn::MulAdd(Constant(d, -1.0 / 6 * kB), g[1], even_b);
    u[5] = g[2];
  }
  template <class D, class V>
  static HWY_INLINE void Output(D d, const V* m, V* HWY_RESTRICT y) {
    const V two = Constant(d, 2), half = Constant(d, 0.5);
    const V even_a = hn::Add(m[1], m[2]), odd_a = hn::Mul(Constant(d, kA), hn::Sub(m[1], m[2]));
    const V even_b = hn::Add(m[3], m[4]), odd_b = hn::Mul(Constant(d, kB), hn::Sub(m[3], m[4]));
    y[0] = hn::Add(m[0], hn::Add(even_a, even_b));
    y[1] = hn::Add(odd_a, odd_b);
    y[2] = hn::MulAdd(half, even_a, hn::Mul(two, even_b));
    y[3] = hn::Add(hn::MulAdd(half, odd_a, hn::Mul(two, odd_b)), m[5]);
  }
};

template <>
struct AxisTransforms<2, 5> : SixPoints {
  template <class D, class V>
  static HWY_INLINE void Filter(D d, const V* g, V* HWY_RESTRICT u) {
    // Factor 1/N, root p and square p² of a pair of points.
    const auto pair = [&](double factor, double root, double square, V* y) HWY_ATTR {
      const V s = Constant(d, square);
      const V even = hn::MulAdd(s, hn::MulAdd(s, g[4], g[2]), g[0]);
      const V odd = hn::MulAdd(s, g[3], g[1]);
      PlusMinus(hn::Mul(Constant(d, factor), even), hn::Mul(Constant(d, factor * root), odd), y);
    };
    u[0] = g[0];
    pair(-2.0 / 3, kA, 0.5, u + 1);
    pair(1.0 / 6, kB, 2, u + 3);
    u[5] = g[4];
  }
  template <class D, class V>
  static HWY_INLINE void Output(D d, const V* m, V* HWY_RESTRICT y) {
    const V odd_a = hn::Mul(Constant(d, kA), hn::Sub(m[1], m[2]));
    const V odd_b = hn::Mul(Constant(d, kB), hn::Sub(m[3], m[4]));
    y[0] = hn::Add(m[0], hn::Add(hn::Add(m[1], m[2]), hn::Add(m[3], m[4])));
    y[1] = hn::Add(hn::Add(odd_a, odd_b), m[5]);
  }
};

// Points 0, ±½, ±1, ±2 and infinity.
template <>
struct AxisTransforms<2, 7> {
  template <class D, class V>
  static HWY_INLINE void Input(D d, const V* x, V* HWY_RESTRICT y) {
    // x(x + p)(x² - q²)(x² - r²) with the sum q² + r² and the product q²·r² of the other points.
    const auto pair = [&](double root, double sum, double product, V* to) HWY_ATTR {
      const V s = Constant(d, sum), p = Constant(d, product);
      const V even = hn::MulAdd(p, x[2], hn::NegMulAdd(s, x[4], x[6]));
      const V odd = hn::MulAdd(p, x[1], hn::NegMulAdd(s, x[3], x[5]));
      PlusMinus(even, hn::Mul(Constant(d, root), odd), to);
    };
    const V c = Constant(d, 5.25);
    y[0] = hn::MulAdd(c, hn::Sub(x[4], x[2]), hn::Sub(x[0], x[6]));
    pair(0.5, 5, 4, y + 1);
    pair(1, 4.25, 1, y + 3);
    pair(2, 1.25, 0.25, y + 5);
    y[7] = hn::MulAdd(c, hn::Sub(x[3], x[5]), hn::Sub(x[7], x[1]));
  }
  template <class D, class V>
  static HWY_INLINE void Filter(D d, const V* g, V* HWY_RESTRICT u) {
    const auto pair = [&](double factor, double root, V* y) HWY_ATTR {
      const V s = Constant(d, root * root);
      const V even = hn::MulAdd(s, hn::MulAdd(s, hn::MulAdd(s, g[6], g[4]), g[2]), g[0]);
      const V odd = hn::MulAdd(s, hn::MulAdd(s, g[5], g[3]), g[1]);
      PlusMinus(hn::Mul(Constant(d, factor), even), hn::Mul(Constant(d, factor * root), odd), y);
    };
    u[0] = g[0];
    pair(1 / 1.40625, 0.5, u + 1);
    pair(-1 / 4.5, 1, u + 3);
    pair(1.0 / 90, 2, u + 5);
    u[7] = g[6];
  }
  template <class D, class V>
  static HWY_INLINE void Output(D d, const V* m, V* HWY_RESTRICT y) {
    const V even = hn::Add(hn::Add(m[1], m[2]), hn::Add(hn::Add(m[3], m[4]), hn::Add(m[5], m[6])));
    const V odd = hn::MulAdd(Constant(d, 2), hn::Sub(m[5], m[6]), hn::Sub(m[3], m[4]));
    y[0] = hn::Add(m[0], even);
    y[1] = hn::Add(hn::MulAdd(Constant(d, 0.5), hn::Sub(m[1], m[2]), odd), m[7]);
  }
};

// The stages for one tile of kWinogradTiles. Either side of a tile is transformed by the axis that
// runs along it: columns of a tile by the rows' transforms.
template <size_t kTile>
struct WinogradStages {
  static constexpr WinogradTile tile = kWinogradTiles[kTile];
  static constexpr size_t kHeight = tile.rows.inputs(), kWidth = tile.columns.inputs();
  using Rows = AxisTransforms<tile.rows.outputs, tile.rows.taps>;
  using Columns = AxisTransforms<tile.columns.outputs, tile.columns.taps>;
  // Filters of one row or column: one transform, without the memory between two.
  static constexpr bool kOneAxis = kHeight == 1 || kWidth == 1;
  using Axis = std::conditional_t<kHeight == 1, Columns, Rows>;

  static void Input(const float* const* pixels, size_t tiles, size_t first, size_t n, float* v,
                    size_t tile_step, size_t step) {
    const size_t lanes = hn::Lanes(hn::ScalableTag<float>());
    for (size_t t = 0; t < tiles; ++t, pixels += kHeight * kWidth, v += tile_step) {
      const float* const* next = t + 1 < tiles ? pixels + kHeight * kWidth : pixels;
      for (size_t c = 0; c < n; c += lanes) {
        InputVector(pixels, next, first + c, HWY_MIN(lanes, n - c), v + c, step);
      }
    }
  }

  // `next` are the pixels of the tile to come, which are asked for now: 3 % of 64 channels at 224².
  static HWY_INLINE void InputVector(const float* const* pixels, const float* const* next, size_t c,
                                     size_t n, float* HWY_RESTRICT v, size_t step) {
    const hn::ScalableTag<float> d;
    using V = hn::Vec<decltype(d)>;
    const size_t lanes = hn::Lanes(d);
    const auto load = [&](size_t i, size_t j) HWY_ATTR {
      const float* const p = pixels[i * kWidth + j] + c;
      // The first columns of the next tile are this tile's own.
      if (j + 1 >= tile.columns.taps) hwy::Prefetch(next[i * kWidth + j] + c);
      return n < lanes ? LoadFirst(d, p, n) : hn::LoadU(d, p);
    };
    if constexpr (kOneAxis) {
      V x[kHeight * kWidth], y[kHeight * kWidth];
      for (size_t e = 0; e < tile.elements(); ++e) x[e] = load(e / kWidth, e % kWidth);
      Axis::Input(d, x, y);
      for (size_t e = 0; e < tile.elements(); ++e) hn::Store(y[e], d, v + e * step);
      return;
    }
    HWY_ALIGN float columns[kHeight * kWidth * hn::MaxLanes(d)];
    for (size_t j = 0; j < kWidth; ++j) {
      V x[kHeight], y[kHeight];
      for (size_t i = 0; i < kHeight; ++i) x[i] = load(i, j);
      Rows::Input(d, x, y);
      for (size_t i = 0; i < kHeight; ++i) hn::Store(y[i], d, columns + (i * kWidth + j) * lanes);
    }
    for (size_t i = 0; i < kHeight; ++i) {
      V x[kWidth], y[kWidth];
      for (size_t j = 0; j < kWidth; ++j) x[j] = hn::Load(d, columns + (i * kWidth + j) * lanes);
      Columns::Input(d, x, y);
      for (size_t j = 0; j < kWidth; ++j) hn::Store(y[j], d, v + (i * kWidth + j) * step);
    }
  }

  static bool Output(const float* m, size_t step, size_t n, const float* bias,
                     Activation activation, float* out, int64_t row_stride, int64_t column_stride,
                     size_t rows, size_t columns) {
    const hn::ScalableTag<float> d;
    using V = hn::Vec<decltype(d)>;
    const size_t lanes = hn::Lanes(d);
    const V infinity = hn::Inf(d);
    auto finite = hn::Eq(infinity, infinity);
    for (size_t k = 0; k < n; k += lanes) {
      const size_t left = HWY_MIN(lanes, n - k);
      const V b = left < lanes ? LoadFirst(d, bias + k, left) : hn::LoadU(d, bias + k);
      const auto at = [&](size_t i, size_t j)
                          HWY_ATTR { return hn::Load(d, m + (i * kWidth + j) * step + k); };
      const auto store = [&](V y, size_t i, size_t j) HWY_ATTR {
        finite = hn::And(finite, hn::Lt(hn::Abs(y), infinity));
        if (i >= rows || j >= columns) return;
        const V value = ActivateAs(activation, d, hn::Add(y, b));
        float* const to = out + static_cast<int64_t>(i) * row_stride +
                          static_cast<int64_t>(j) * column_stride + static_cast<int64_t>(k);
        if (left < lanes) {
          StoreFirst(value, d, to, left);
        } else {
          hn::StoreU(value, d, to);
        }
      };
      if constexpr (kOneAxis) {
        V x[kHeight * kWidth], y[tile.rows.outputs * tile.columns.outputs];
        for (size_t e = 0; e < tile.elements(); ++e) x[e] = at(e / kWidth, e % kWidth);
        Axis::Output(d, x, y);
        for (size_t o = 0; o < tile.rows.outputs * tile.columns.outputs; ++o) {
          store(y[o], o / tile.columns.outputs, o % tile.columns.outputs);
        }
        continue;
      }
      HWY_ALIGN float half[tile.rows.outputs * kWidth * hn::MaxLanes(d)];
      for (size_t j = 0; j < kWidth; ++j) {
        V x[kHeight], y[tile.rows.outputs];
        for (size_t i = 0; i < kHeight; ++i) x[i] = at(i, j);
        Rows::Output(d, x, y);
        for (size_t i = 0; i < tile.rows.outputs; ++i) {
          hn::Store(y[i], d, half + (i * kWidth + j) * lanes);
        }
      }
      for (size_t i = 0; i < HWY_MIN(rows, tile.rows.outputs); ++i) {
        V x[kWidth], y[tile.columns.outputs];
        for (size_t j = 0; j < kWidth; ++j) x[j] = hn::Load(d, half + (i * kWidth + j) * lanes);
        Columns::Output(d, x, y);
        for (size_t j = 0; j < tile.columns.outputs; ++j) store(y[j], i, j);
      }
    }
    return hn::AllTrue(d, finite);
  }

  // In float32: what is rounded more than in float64 is little beside the sums' own errors. Each
  // tap is a line or two far from the others, which hardware does not foresee; so taps are asked
  // for some channels ahead: 512×512 channels at 28² take 8.0 instead of 9.0 ms.
  static void Filter(const float* taps, int64_t tap_step, size_t channel_step, size_t channels,
                     size_t n, float* u, size_t step) {
    constexpr size_t kRows = tile.rows.taps, kColumns = tile.columns.taps, kAhead = 4;
    const hn::ScalableTag<float> d;
    using V = hn::Vec<decltype(d)>;
    const size_t lanes = hn::Lanes(d);
    for (size_t c = 0; c < channels; ++c, taps += channel_step, u += n) {
      for (size_t k = 0; k < n; k += lanes) {
        V half[kHeight][kColumns];
        for (size_t s = 0; s < kColumns; ++s) {
          V g[kRows], y[kHeight];
          for (size_t r = 0; r < kRows; ++r) {
            const float* const p = taps + static_cast<int64_t>(r * kColumns + s) * tap_step + k;
            hwy::Prefetch(p + kAhead * channel_step);
            g[r] = hn::LoadU(d, p);
          }
          Rows::Filter(d, g, y);
          for (size_t i = 0; i < kHeight; ++i) half[i][s] = y[i];
        }
        for (size_t i = 0; i < kHeight; ++i) {
          V y[kWidth];
          Columns::Filter(d, half[i], y);
          for (size_t j = 0; j < kWidth; ++j) hn::StoreU(y[j], d, u + (i * kWidth + j) * step + k);
        }
      }
    }
  }
};

inline void WinogradMultiply(const float* const* rows, size_t count, size_t depth,
                             const float* panel, bool first, float* sums) {
  kConvTiles<float, 2, false>[count - 1](rows, 0, 1, depth, panel, first, sums, nullptr);
}

template <size_t kTile>
constexpr WinogradKernels MakeWinogradKernels() {
  using Stages = WinogradStages<kTile>;
  return {Stages::tile,   Stages::Input,  WinogradMultiply,
          Stages::Output, Stages::Filter, TransposeBlock<float>};
}

template <size_t... kTile>
constexpr std::array<WinogradKernels, sizeof...(kTile)> MakeWinogradKernels(
    std::index_sequence<kTile...>) {
  return {MakeWinogradKernels<kTile>()...};
}

constexpr auto kWinograd = MakeWinogradKernels(std::make_index_sequence<kWinogradTileCount>());

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_WINOGRAD_INL_H_
