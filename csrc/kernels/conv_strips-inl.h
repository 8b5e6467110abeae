// Convolution over strips, the rows of an image laid out with their padding: depthwise, and in
// groups of few channels. Included once per SIMD target.
//
// Two output rows × NV vectors of accumulators. Both rows share the strips under them: a load of x
// serves two multiply-adds, and a load of a filter NV. Where the vectors under neighbouring taps
// are neighbours themselves, three taps share NV + 2 loads of x. 32 registers hold 2×8
// accumulators, 10 vectors of x and a filter; 16 registers 2×4, 6 and a filter.
#if defined(LANEWISE_KERNELS_CONV_STRIPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_CONV_STRIPS_INL_H_
#undef LANEWISE_KERNELS_CONV_STRIPS_INL_H_
#else
#define LANEWISE_KERNELS_CONV_STRIPS_INL_H_
#endif

#include <type_traits>
#include <utility>

#include "hwy/highway.h"
#include "kernels/activation-inl.h"
#include "kernels/conv_tile-inl.h"
#include "kernels/kernels.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kStripVectors = kVectorRegisters == 32 ? 8 : 4;
constexpr size_t kStripRows = 2;

// Where the vectors of x come from: strips, x itself, the lanes of strips that an index names, or
// one element of x for all lanes.
enum class StripKind { kChannels, kInPlace, kLookup, kBroadcast };

// f(i) for i < N, as integral constants: an array that is indexed so is in registers from the
// start.
template <class F, size_t... I>
HWY_INLINE void UnrollOver(const F& f, std::index_sequence<I...>) {
  (f(std::integral_constant<size_t, I>()), ...);
}
template <size_t N, class F>
HWY_INLINE void Unroll(const F& f) {
  UnrollOver(f, std::make_index_sequence<N>());
}
#define LANEWISE_UNROLLED HWY_ATTR __attribute__((always_inline))

template <class V, size_t NV>
struct Sums {
  V of[kStripRows][NV];

  HWY_INLINE Sums() {}  // as ConvSums
};

// Adds the products of one strip to the sums of the output rows kLow <= i < kHigh, whose filters
// are at f0 and f1.
template <size_t kLow, size_t kHigh, size_t NV, StripKind kKind, class T, class V>
HWY_INLINE void AddStrip(const T* HWY_RESTRICT row, const T* HWY_RESTRICT f0,
                         const T* HWY_RESTRICT f1, const Strips<T>& s, Sums<V, NV>& sum) {
  const hn::ScalableTag<T> d;
  const hn::ScalableTag<typename Strips<T>::Index> di;
  constexpr bool kStrided = kKind == StripKind::kInPlace || kKind == StripKind::kBroadcast;
  const size_t lanes = hn::Lanes(d), x_step = kStrided ? s.x_step : lanes;
  const size_t terms = s.terms, sliding = s.sliding, period = s.period;
  const size_t* HWY_RESTRICT offsets = s.offsets;
  const typename Strips<T>::Index* HWY_RESTRICT index = s.index;
  size_t t = 0, c = 0;
  if constexpr (kKind == StripKind::kChannels || kKind == StripKind::kInPlace) {
    for (; t < sliding; t += 3) {
      V x[NV + 2];
      Unroll<NV + 2>([&](auto v)
                         LANEWISE_UNROLLED { x[v] = hn::LoadU(d, row + (t + v) * x_step); });
      Unroll<3>([&](auto u) LANEWISE_UNROLLED {
        Unroll<kHigh - kLow>([&](auto row_index) LANEWISE_UNROLLED {
          constexpr size_t i = kLow + row_index;
          const V f = hn::Load(d, (i == 0 ? f0 : f1) + (t + u) * lanes);
          Unroll<NV>([&](auto v) LANEWISE_UNROLLED {
            sum.of[i][v] = MultiplyAdd(x[u + v], f, sum.of[i][v]);
          });
        });
      });
    }
  }
  for (; t < terms; ++t) {
    const T* const from = row + offsets[t];
    V x[NV];
    if constexpr (kKind == StripKind::kLookup) {
      const auto lookup = hn::IndicesFromVec(d, hn::Load(di, index + c * lanes));
      Unroll<NV>([&](auto v) LANEWISE_UNROLLED {
        x[v] = hn::TableLookupLanes(hn::Load(d, from + v * x_step), lookup);
      });
      c = c + 1 == period ? 0 : c + 1;
    } else if constexpr (kKind == StripKind::kBroadcast) {
      Unroll<NV>([&](auto v) LANEWISE_UNROLLED { x[v] = hn::Set(d, from[v * x_step]); });
    } else {
      Unroll<NV>([&](auto v) LANEWISE_UNROLLED { x[v] = hn::LoadU(d, from + v * x_step); });
    }
    Unroll<kHigh - kLow>([&](auto row_index) LANEWISE_UNROLLED {
      constexpr size_t i = kLow + row_index;
      const V f = hn::Load(d, (i == 0 ? f0 : f1) + t * lanes);
      Unroll<NV>([&](auto v)
                     LANEWISE_UNROLLED { sum.of[i][v] = MultiplyAdd(x[v], f, sum.of[i][v]); });
    });
  }
}

// No other activation than none, relu or relu6, and none for integers.
template <class D, class V>
HWY_INLINE V BiasAndActivate(D d, V sum, V bias, Activation activation) {
  V result = hn::Add(sum, bias);
  if constexpr (std::is_floating_point_v<hn::TFromD<D>>) {
    if (activation == Activation::kRelu) result = Activate<Activation::kRelu>(d, result);
    if (activation == Activation::kRelu6) result = Activate<Activation::kRelu6>(d, result);
  }
  return result;
}

// Vectors [first, first + NV) of the output rows of one unit.
template <class T, size_t NV, StripKind kKind>
HWY_NOINLINE void StripTile(const Strips<T>& s, size_t first, size_t unit) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d), offset = first * lanes;
  Sums<V, NV> sum;
  Unroll<kStripRows>([&](auto i) LANEWISE_UNROLLED {
    Unroll<NV>([&](auto v) LANEWISE_UNROLLED { sum.of[i][v] = hn::Zero(d); });
    if (!s.first && i < s.count) {
      const T* const from = s.sums + i * s.sums_stride + offset;
      Unroll<NV>([&](auto v) LANEWISE_UNROLLED { sum.of[i][v] = hn::Load(d, from + v * lanes); });
    }
  });
  // Strip q is under tap row q of output row 0 and tap row q - shift of output row 1.
  const size_t window = s.window, step = s.filter_step;
  const size_t shift = s.count == 1 ? window : s.shift, past = s.count == 1 ? 0 : window + shift;
  const T* const* rows = s.rows;
  const T* f0 = s.filter + unit * s.filter_unit;
  const T* f1 = f0;
  // Channels of the last unit may be some of the unit before as well, so that its vectors are full.
  const size_t channel = HWY_MIN(unit * lanes, s.n - HWY_MIN(s.n, lanes));
  const bool strided = kKind == StripKind::kInPlace || kKind == StripKind::kBroadcast;
  const ptrdiff_t x_offset =
      s.x_offset +
      static_cast<ptrdiff_t>((kKind == StripKind::kInPlace ? channel : unit * s.x_unit) +
                             first * (strided ? s.x_step : lanes));
  size_t q = 0;
  for (; q < HWY_MIN(shift, window); ++q, f0 += step) {
    if (rows[q] == nullptr) continue;
    AddStrip<0, 1, NV, kKind>(rows[q] + x_offset, f0, f0, s, sum);
  }
  for (; q < window; ++q, f0 += step, f1 += step) {
    if (rows[q] == nullptr) continue;
    AddStrip<0, 2, NV, kKind>(rows[q] + x_offset, f0, f1, s, sum);
  }
  for (q = HWY_MAX(q, shift); q < past; ++q, f1 += step) {
    if (rows[q] == nullptr) continue;
    AddStrip<1, 2, NV, kKind>(rows[q] + x_offset, f1, f1, s, sum);
  }
  if (s.out == nullptr) {
    Unroll<kStripRows>([&](auto i) LANEWISE_UNROLLED {
      if (i >= s.count) return;
      T* const to = s.sums + i * s.sums_stride + offset;
      Unroll<NV>([&](auto v) LANEWISE_UNROLLED { hn::Store(sum.of[i][v], d, to + v * lanes); });
    });
    return;
  }
  const V bias = s.n >= lanes ? hn::LoadU(d, s.bias + channel) : LoadFirst(d, s.bias, s.n);
  T* const out = s.out + channel + static_cast<ptrdiff_t>(first) * s.vector_stride;
  Unroll<kStripRows>([&](auto i) LANEWISE_UNROLLED {
    if (i >= s.count) return;
    T* to = out + static_cast<ptrdiff_t>(i) * s.row_stride;
    Unroll<NV>([&](auto v) LANEWISE_UNROLLED {
      const V result = BiasAndActivate(d, sum.of[i][v], bias, s.activation);
      if (s.n >= lanes) {
        hn::StoreU(result, d, to);
      } else {
        StoreFirst(result, d, to, s.n);
      }
      to += s.vector_stride;
    });
  });
}

template <class T, size_t NV, StripKind kKind>
HWY_INLINE void StripTiles(const Strips<T>& s, size_t first) {
  for (size_t unit = 0; unit < s.units; ++unit) StripTile<T, NV, kKind>(s, first, unit);
}

template <class T, StripKind kKind>
void ConvStrips(const Strips<T>& s) {
  size_t v = 0;
  if constexpr (kStripVectors == 8) {
    // 7, 14 and 28 columns are common; 7 of 1152 channels take 34 µs instead of 45 with 5×5 taps.
    const bool sevens = s.vectors % 7 == 0 && s.vectors % 8 != 0;
    for (; sevens && v < s.vectors; v += 7) StripTiles<T, 7, kKind>(s, v);
  }
  for (; v + kStripVectors <= s.vectors; v += kStripVectors) {
    StripTiles<T, kStripVectors, kKind>(s, v);
  }
  for (; v + 4 <= s.vectors; v += 4) StripTiles<T, 4, kKind>(s, v);
  for (; v + 2 <= s.vectors; v += 2) StripTiles<T, 2, kKind>(s, v);
  if (v < s.vectors) StripTiles<T, 1, kKind>(s, v);
}

// Vectors [first, first + NV) of a plane's outputs.
template <size_t NV, class T>
HWY_INLINE void PlaneTile(const PlaneConv<T>& p, size_t first) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d), terms = p.terms;
  const T* HWY_RESTRICT x = p.x + first * lanes;
  const T* HWY_RESTRICT filter = p.filter;
  V sum[NV];
  Unroll<NV>([&](auto v) LANEWISE_UNROLLED { sum[v] = hn::Zero(d); });
  for (size_t t = 0; t < terms; ++t) {
    const V f = hn::Set(d, filter[t * lanes]);
    const T* HWY_RESTRICT from = x + p.offsets[t];
    Unroll<NV>([&](auto v) LANEWISE_UNROLLED {
      sum[v] = MultiplyAdd(hn::LoadU(d, from + v * lanes), f, sum[v]);
    });
  }
  T* const out = p.out + first * lanes;
  const V bias = hn::Set(d, p.bias);
  Unroll<NV>([&](auto v) LANEWISE_UNROLLED {
    hn::Store(BiasAndActivate(d, sum[v], bias, p.activation), d, out + v * lanes);
  });
}

template <class T>
void ConvPlane(const PlaneConv<T>& p) {
  size_t v = 0;
  for (; v + 8 <= p.vectors; v += 8) PlaneTile<8>(p, v);
  for (; v + 4 <= p.vectors; v += 4) PlaneTile<4>(p, v);
  for (; v < p.vectors; ++v) PlaneTile<1>(p, v);
}

// to[p·lanes + j] = lane j of f(address of pixel p)
template <class T, class F>
HWY_INLINE void SpreadPixels(const T* from, int64_t step, size_t pixels, T* to, const F& f) {
  const hn::ScalableTag<T> d;
  for (size_t p = 0; p < pixels; ++p, from += step, to += hn::Lanes(d)) hn::Store(f(from), d, to);
}

constexpr size_t kSpreadPixels = 8;

template <class T>
void SpreadChannels(const T* from, int64_t step, size_t pixels, size_t n, T* to, size_t unit) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  if (n < lanes) {
    return SpreadPixels(from, step, pixels, to,
                        [&](const T* x) HWY_ATTR { return LoadFirst(d, x, n); });
  }
  // A few pixels at a time with all their channels, so that memory is read from front to back.
  for (size_t p = 0; p < pixels; p += kSpreadPixels) {
    const size_t count = HWY_MIN(kSpreadPixels, pixels - p);
    T* at = to + p * lanes;
    for (size_t c = 0; c < n; c += lanes, at += unit) {
      SpreadPixels(from + HWY_MIN(c, n - lanes), step, count, at,
                   [&](const T* x) HWY_ATTR { return hn::LoadU(d, x); });
    }
    from += static_cast<int64_t>(count) * step;
  }
}

template <class T>
void SpreadGroups(const T* from, int64_t step, size_t pixels, const LaneMap<T>& map, T* to,
                  size_t plane) {
  using Index = typename LaneMap<T>::Index;
  const hn::ScalableTag<T> d;
  const hn::ScalableTag<Index> di;
  const size_t lanes = hn::Lanes(d);
  for (size_t c = 0; c < map.channels; ++c, to += plane) {
    const auto index = hn::Load(di, map.index + c * lanes);
    if (map.span <= lanes) {
      const auto lookup = hn::IndicesFromVec(d, index);
      SpreadPixels(from, step, pixels, to, [&](const T* x) HWY_ATTR {
        return hn::TableLookupLanes(map.span == lanes ? hn::LoadU(d, x) : LoadFirst(d, x, map.span),
                                    lookup);
      });
    } else if (map.span <= 2 * lanes) {
      const auto size = hn::Set(di, static_cast<Index>(lanes));
      const auto in_low = hn::RebindMask(d, hn::Lt(index, size));
      const auto lookup =
          hn::IndicesFromVec(d, hn::And(index, hn::Sub(size, hn::Set(di, Index(1)))));
      const size_t rest = map.span - lanes;
      SpreadPixels(from, step, pixels, to, [&](const T* x) HWY_ATTR {
        const auto low = hn::TableLookupLanes(hn::LoadU(d, x), lookup);
        const auto high = hn::TableLookupLanes(
            rest == lanes ? hn::LoadU(d, x + lanes) : LoadFirst(d, x + lanes, rest), lookup);
        return hn::IfThenElse(in_low, low, high);
      });
    } else {
      SpreadPixels(from, step, pixels, to,
                   [&](const T* x) HWY_ATTR { return hn::GatherIndex(d, x, index); });
    }
  }
}

// A product with zero is zero just for numbers.
template <class T>
bool Finite([[maybe_unused]] const T* values, [[maybe_unused]] size_t n) {
  if constexpr (std::is_floating_point_v<T>) {
    const hn::ScalableTag<T> d;
    const size_t lanes = hn::Lanes(d);
    auto sum0 = hn::Zero(d), sum1 = sum0;
    size_t i = 0;
    for (; i + 2 * lanes <= n; i += 2 * lanes) {
      sum0 = hn::MulAdd(hn::LoadU(d, values + i), hn::Zero(d), sum0);
      sum1 = hn::MulAdd(hn::LoadU(d, values + i + lanes), hn::Zero(d), sum1);
    }
    for (; i < n; i += lanes) {
      sum0 = hn::MulAdd(LoadFirst(d, values + i, HWY_MIN(lanes, n - i)), hn::Zero(d), sum0);
    }
    return hn::AllTrue(d, hn::Eq(hn::Add(sum0, sum1), hn::Zero(d)));
  } else {
    return true;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_CONV_STRIPS_INL_H_
