// Distances of rows that are rounded to int16, by their products x·y, for ops/distance/filter.h.
// Included once per SIMD target.
#if defined(LANEWISE_KERNELS_DISTANCE_FILTER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_DISTANCE_FILTER_INL_H_
#undef LANEWISE_KERNELS_DISTANCE_FILTER_INL_H_
#else
#define LANEWISE_KERNELS_DISTANCE_FILTER_INL_H_
#endif

#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/pairs-inl.h"
#include "kernels/transpose-inl.h"
#include "kernels/unroll.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// As the direct convolution's tile. At d = 128 it runs at 83 % of the multiply-adds' peak (AVX-512
// with VNNI); 6x4 and 14x2 do no better.
constexpr size_t kFilterMR = kVectorRegisters == 32 ? 12 : 6;
constexpr size_t kFilterNV = 2;

template <class T>
QuantisedSums<T> Quantise(const T* row, const T* centre, size_t n, T scale, int16_t* to) {
  const hn::ScalableTag<T> d;
  const hn::Rebind<int32_t, decltype(d)> d32;
  const hn::Rebind<int16_t, decltype(d)> d16;
  const size_t lanes = hn::Lanes(d);
  const auto factor = hn::Set(d, scale), limit = hn::Set(d, T(32767));
  // A sum with 1.5·2^(digits - 1) has no digits after the point, and as bits counts in ones.
  const auto shift = hn::Set(d, std::is_same_v<T, float> ? T(12582912) : T(6755399441055744));
  auto squares = hn::Zero(d), residuals = hn::Zero(d);
  auto norm = hn::Zero(d32);
  const auto step = [&](auto x, auto c) HWY_ATTR {
    const auto v = hn::Mul(hn::Sub(x, c), factor);
    const auto clipped = hn::Max(hn::Min(v, limit), hn::Neg(limit));
    const auto shifted = hn::Add(clipped, shift);
    const auto q = hn::Sub(shifted, shift);
    const auto residual = hn::Sub(v, q);
    squares = hn::MulAdd(q, q, squares);
    residuals = hn::MulAdd(residual, residual, residuals);
    const auto integer = [&]() HWY_ATTR {
      if constexpr (std::is_same_v<T, float>) {
        return hn::Sub(hn::BitCast(d32, shifted), hn::BitCast(d32, shift));
      } else {
        return hn::DemoteTo(d32, q);
      }
    }();
    norm = hn::Add(norm, hn::Mul(integer, integer));
    return hn::DemoteTo(d16, integer);
  };
  size_t k = 0;
  for (; k + lanes <= n; k += lanes) {
    hn::StoreU(step(hn::LoadU(d, row + k), hn::LoadU(d, centre + k)), d16, to + k);
  }
  if (k < n) {
    const auto q = step(LoadFirst(d, row + k, n - k), LoadFirst(d, centre + k, n - k));
    StoreFirst(q, d16, to + k, n - k);
  }
  return {hn::GetLane(hn::SumOfLanes(d, squares)), hn::GetLane(hn::SumOfLanes(d, residuals)),
          hn::GetLane(hn::SumOfLanes(d32, norm))};
}

inline bool Survivors(const int32_t* HWY_RESTRICT rows, const int32_t* HWY_RESTRICT panel,
                      size_t pairs, const int32_t* start, const int32_t* least, uint64_t* to) {
  const hn::ScalableTag<int32_t> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d), nr = kFilterNV * lanes;
  V sum[kFilterMR][kFilterNV];
  LANEWISE_UNROLL
  for (size_t i = 0; i < kFilterMR; ++i) {
    const V from = hn::Set(d, least[i]);
    LANEWISE_UNROLL
    for (size_t v = 0; v < kFilterNV; ++v) {
      sum[i][v] = hn::Sub(hn::Load(d, start + v * lanes), from);
    }
  }
  for (size_t k = 0; k < pairs; ++k, panel += nr, rows += kFilterMR) {
    V y[kFilterNV];
    LANEWISE_UNROLL
    for (size_t v = 0; v < kFilterNV; ++v) y[v] = hn::Load(d, panel + v * lanes);
    LANEWISE_UNROLL
    for (size_t i = 0; i < kFilterMR; ++i) {
      const V x = hn::Set(d, rows[i]);
      LANEWISE_UNROLL
      for (size_t v = 0; v < kFilterNV; ++v) sum[i][v] = MultiplyAddPairs(x, y[v], sum[i][v]);
    }
  }
  // Negative sums all have the highest bit.
  V all = sum[0][0];
  LANEWISE_UNROLL
  for (size_t i = 0; i < kFilterMR; ++i) {
    LANEWISE_UNROLL
    for (size_t v = 0; v < kFilterNV; ++v) all = hn::And(all, sum[i][v]);
  }
  if (hn::AllTrue(d, hn::Lt(all, hn::Zero(d)))) return false;
  const V minus_one = hn::Set(d, -1);
  LANEWISE_UNROLL
  for (size_t i = 0; i < kFilterMR; ++i) {
    uint64_t bits = 0;
    LANEWISE_UNROLL
    for (size_t v = 0; v < kFilterNV; ++v) {
      uint8_t bytes[8] = {};
      hn::StoreMaskBits(d, hn::Gt(sum[i][v], minus_one), bytes);
      uint64_t mask;
      std::memcpy(&mask, bytes, sizeof(mask));
      bits |= mask << (v * lanes);
    }
    to[i] = bits;
  }
  return true;
}

constexpr DistanceFilterKernels MakeDistanceFilterKernels() {
  DistanceFilterKernels kernels{};
  kernels.mr = kFilterMR;
  kernels.nr = kFilterNV * HWY_MAX_BYTES / sizeof(int32_t);
  kernels.quantise_f32 = Quantise<float>;
  kernels.quantise_f64 = Quantise<double>;
  kernels.survivors = Survivors;
  kernels.transpose = TransposeBlock<int32_t>;
  return kernels;
}
constexpr DistanceFilterKernels kDistanceFilter = MakeDistanceFilterKernels();

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_DISTANCE_FILTER_INL_H_
