// Winograd's F(4×4, 3×3): a tile of 4×4 outputs of a 3×3 convolution from 6×6 inputs by 36
// multiplications per channel instead of 144. Included once per SIMD target.
//
//   Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A      (Lavin and Gray, Fast Algorithms for Convolutional Neural
//                                          Networks, 2016; the products are summed over channels)
//
// with interpolation points 0, ±a, ±b and infinity, a = √½ and b = √2. Since a·b = 1 the transforms
// stay near 1 in size, and errors are a quarter of those with the usual points ±1, ±2:
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

constexpr double kWinogradA = 0.70710678118654752440, kWinogradB = 1.41421356237309504880;

// y = Bᵀ x, for a column or a row of six.
template <class D, class V>
HWY_INLINE void InputTransform(D d, V x0, V x1, V x2, V x3, V x4, V x5, V* HWY_RESTRICT y) {
  const auto set = [d](double value) HWY_ATTR { return hn::Set(d, static_cast<float>(value)); };
  const V two = set(2), half = set(0.5), five_halves = set(2.5);
  y[0] = hn::Add(hn::NegMulAdd(five_halves, x2, x0), x4);
  const V even_a = hn::NegMulAdd(two, x2, x4);
  const V odd_a = hn::Mul(set(kWinogradA), hn::NegMulAdd(two, x1, x3));
  y[1] = hn::Add(even_a, odd_a);
  y[2] = hn::Sub(even_a, odd_a);
  const V even_b = hn::NegMulAdd(half, x2, x4);
  const V odd_b = hn::Mul(set(kWinogradB), hn::NegMulAdd(half, x1, x3));
  y[3] = hn::Add(even_b, odd_b);
  y[4] = hn::Sub(even_b, odd_b);
  y[5] = hn::Add(hn::NegMulAdd(five_halves, x3, x1), x5);
}

// y = Aᵀ m.
template <class D, class V>
HWY_INLINE void OutputTransform(D d, V m0, V m1, V m2, V m3, V m4, V m5, V* HWY_RESTRICT y) {
  const auto set = [d](double value) HWY_ATTR { return hn::Set(d, static_cast<float>(value)); };
  const V two = set(2), half = set(0.5);
  const V even_a = hn::Add(m1, m2), odd_a = hn::Mul(set(kWinogradA), hn::Sub(m1, m2));
  const V even_b = hn::Add(m3, m4), odd_b = hn::Mul(set(kWinogradB), hn::Sub(m3, m4));
  y[0] = hn::Add(m0, hn::Add(even_a, even_b));
  y[1] = hn::Add(odd_a, odd_b);
  y[2] = hn::MulAdd(half, even_a, hn::Mul(two, even_b));
  y[3] = hn::Add(hn::MulAdd(half, odd_a, hn::Mul(two, odd_b)), m5);
}

// u = G g.
template <class D, class V>
HWY_INLINE void FilterTransform(D d, V g0, V g1, V g2, V* HWY_RESTRICT u) {
  const auto set = [d](double value) HWY_ATTR { return hn::Set(d, static_cast<float>(value)); };
  const V even_a = hn::MulAdd(set(-1.0 / 3), g2, hn::Mul(set(-2.0 / 3), g0));
  const V even_b = hn::MulAdd(set(1.0 / 3), g2, hn::Mul(set(1.0 / 6), g0));
  u[0] = g0;
  u[1] = hn::MulAdd(set(-2.0 / 3 * kWinogradA), g1, even_a);
  u[2] = hn::MulAdd(set(2.0 / 3 * kWinogradA), g1, even_a);
  u[3] = hn::MulAdd(set(1.0 / 6 * kWinogradB), g1, even_b);
  u[4] = hn::MulAdd(set(-1.0 / 6 * kWinogradB), g1, even_b);
  u[5] = g2;
}

// `next` are the pixels of the tile to come, which are asked for now: 3 % of 64 channels at 224².
HWY_INLINE void InputTile(const float* const* pixels, const float* const* next, size_t c, size_t n,
                          float* HWY_RESTRICT v, size_t step) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const auto load = [&](size_t i, size_t j) HWY_ATTR {
    const float* p = pixels[i * 6 + j] + c;
    if (j >= 2) hwy::Prefetch(next[i * 6 + j] + c);  // two columns are this tile's own
    return n < lanes ? LoadFirst(d, p, n) : hn::LoadU(d, p);
  };
  HWY_ALIGN float columns[36 * hn::MaxLanes(d)];
  for (size_t j = 0; j < 6; ++j) {
    V y[6];
    InputTransform(d, load(0, j), load(1, j), load(2, j), load(3, j), load(4, j), load(5, j), y);
    for (size_t i = 0; i < 6; ++i) hn::Store(y[i], d, columns + (i * 6 + j) * lanes);
  }
  for (size_t i = 0; i < 6; ++i) {
    const float* row = columns + i * 6 * lanes;
    const auto at = [&](size_t j) HWY_ATTR { return hn::Load(d, row + j * lanes); };
    V y[6];
    InputTransform(d, at(0), at(1), at(2), at(3), at(4), at(5), y);
    for (size_t j = 0; j < 6; ++j) hn::Store(y[j], d, v + (i * 6 + j) * step);
  }
}

inline void WinogradInput(const float* const* pixels, size_t tiles, size_t first, size_t n,
                          float* v, size_t tile_step, size_t step) {
  const size_t lanes = hn::Lanes(hn::ScalableTag<float>());
  for (size_t t = 0; t < tiles; ++t, pixels += 36, v += tile_step) {
    const float* const* next = t + 1 < tiles ? pixels + 36 : pixels;
    for (size_t c = 0; c < n; c += lanes) {
      InputTile(pixels, next, first + c, HWY_MIN(lanes, n - c), v + c, step);
    }
  }
}

template <Activation kActivation>
bool WinogradOutput(const float* m, size_t step, size_t n, const float* bias, float* out,
                    int64_t row_stride, int64_t column_stride, size_t rows, size_t columns) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const V infinity = hn::Inf(d);
  auto finite = hn::Eq(infinity, infinity);
  for (size_t k = 0; k < n; k += lanes) {
    const size_t left = HWY_MIN(lanes, n - k);
    const V b = left < lanes ? LoadFirst(d, bias + k, left) : hn::LoadU(d, bias + k);
    HWY_ALIGN float half[24 * hn::MaxLanes(d)];  // [output row][column of m]
    for (size_t j = 0; j < 6; ++j) {
      const auto at = [&](size_t i) HWY_ATTR { return hn::Load(d, m + (i * 6 + j) * step + k); };
      V y[4];
      OutputTransform(d, at(0), at(1), at(2), at(3), at(4), at(5), y);
      for (size_t i = 0; i < 4; ++i) hn::Store(y[i], d, half + (i * 6 + j) * lanes);
    }
    for (size_t i = 0; i < rows; ++i) {
      const auto at = [&](size_t j) HWY_ATTR { return hn::Load(d, half + (i * 6 + j) * lanes); };
      V y[4];
      OutputTransform(d, at(0), at(1), at(2), at(3), at(4), at(5), y);
      float* to = out + static_cast<int64_t>(i) * row_stride + static_cast<int64_t>(k);
      for (size_t j = 0; j < 4; ++j) {
        finite = hn::And(finite, hn::Lt(hn::Abs(y[j]), infinity));
        if (j >= columns) continue;
        const V value = Activate<kActivation>(d, hn::Add(y[j], b));
        float* pixel = to + static_cast<int64_t>(j) * column_stride;
        if (left < lanes) {
          StoreFirst(value, d, pixel, left);
        } else {
          hn::StoreU(value, d, pixel);
        }
      }
    }
  }
  return hn::AllTrue(d, finite);
}

// In float32 and with the prefetch, as filters lie far apart in memory, where the hardware does not
// look ahead: 512×512 channels at 7² take 1.7 ms on one core, where in float64 without it they took
// 2.1. What is rounded more is little beside the sums' own errors.
inline void WinogradFilter(const float* taps, size_t tap_step, size_t channel_step, size_t channels,
                           size_t n, float* u, size_t step) {
  constexpr size_t kAhead = 6;  // channels
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  for (size_t c = 0; c < channels; ++c, taps += channel_step, u += n) {
    for (size_t k = 0; k < n; k += lanes) {
      V half[6][3];
      for (size_t s = 0; s < 3; ++s) {
        V g[3], y[6];
        for (size_t r = 0; r < 3; ++r) {
          const float* const tap = taps + (r * 3 + s) * tap_step + k;
          if (c + kAhead < channels) hwy::Prefetch(tap + kAhead * channel_step);
          g[r] = hn::LoadU(d, tap);
        }
        FilterTransform(d, g[0], g[1], g[2], y);
        for (size_t i = 0; i < 6; ++i) half[i][s] = y[i];
      }
      for (size_t i = 0; i < 6; ++i) {
        V y[6];
        FilterTransform(d, half[i][0], half[i][1], half[i][2], y);
        for (size_t j = 0; j < 6; ++j) hn::StoreU(y[j], d, u + (i * 6 + j) * step + k);
      }
    }
  }
}

inline void WinogradMultiply(const float* const* rows, size_t count, size_t depth,
                             const float* panel, bool first, float* sums) {
  kConvTiles<float, 2, false>[count - 1](rows, 0, 1, depth, panel, first, sums, nullptr);
}

constexpr WinogradKernels MakeWinogradKernels() {
  WinogradKernels kernels{};
  kernels.input = WinogradInput;
  kernels.multiply = WinogradMultiply;
  SetByActivation(kernels.output,
                  [](auto activation) { return &WinogradOutput<decltype(activation)::value>; });
  kernels.filter = WinogradFilter;
  kernels.transpose = TransposeBlock<float>;
  return kernels;
}

constexpr WinogradKernels kWinograd = MakeWinogradKernels();

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_WINOGRAD_INL_H_
