// Conversions between element types. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_CONVERT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_CONVERT_INL_H_
#undef LANEWISE_KERNELS_CONVERT_INL_H_
#else
#define LANEWISE_KERNELS_CONVERT_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/vector-inl.h"
#include "lanewise/tensor.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class To, class From>
HWY_INLINE To BitsAs(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

// One element, exactly as it is or rounded to nearest even. The compiler makes vectors of loops
// over these.
template <class To, class From>
HWY_INLINE To ConvertOne(From from) {
  return static_cast<To>(from);
}

template <>
HWY_INLINE float ConvertOne(BFloat16 from) {
  return BitsAs<float>(static_cast<uint32_t>(from.bits) << 16);
}

template <>
HWY_INLINE double ConvertOne(BFloat16 from) {
  return ConvertOne<float>(from);
}

// Highway's own demotion truncates. Adding half a unit of the last place kept, less one bit where
// that place is even, carries just when the rest is above a half, or a half and the place odd.
template <>
HWY_INLINE BFloat16 ConvertOne(float from) {
  const uint32_t bits = BitsAs<uint32_t>(from);
  const uint32_t rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const uint32_t quiet_nan = (bits >> 16) | 0x40;
  return {static_cast<uint16_t>((bits & 0x7FFFFFFF) > 0x7F800000 ? quiet_nan : rounded)};
}

// binary16 has 5 bits of exponent with bias 15 and 10 of mantissa, binary32 8 with bias 127 and 23.
constexpr uint32_t kHalfBias = (127 - 15) << 23;  // added to a half's exponent and mantissa << 13

template <>
HWY_INLINE float ConvertOne(Float16 from) {
  const uint32_t shifted = static_cast<uint32_t>(from.bits & 0x7FFF) << 13;
  const uint32_t exponent = shifted & 0x0F800000;
  // A subnormal, m·2^-24, is (2^-14 + m·2^-24) - 2^-14, where the sum is a normal binary32.
  const uint32_t smallest_normal = kHalfBias + (1u << 23);
  const float subnormal = BitsAs<float>(shifted + smallest_normal) - BitsAs<float>(smallest_normal);
  const uint32_t normal = shifted + kHalfBias, special = normal + kHalfBias;  // inf and NaN
  const uint32_t magnitude = exponent == 0            ? BitsAs<uint32_t>(subnormal)
                             : exponent == 0x0F800000 ? special
                                                      : normal;
  return BitsAs<float>(magnitude | static_cast<uint32_t>(from.bits & 0x8000) << 16);
}

template <>
HWY_INLINE double ConvertOne(Float16 from) {
  return ConvertOne<float>(from);
}

template <>
HWY_INLINE Float16 ConvertOne(float from) {
  const uint32_t bits = BitsAs<uint32_t>(from), magnitude = bits & 0x7FFFFFFF;
  // Below 2^-14 the sum with 1/2 rounds to multiples of 2^-24, the units of a subnormal half.
  const uint32_t subnormal =
      BitsAs<uint32_t>(BitsAs<float>(magnitude) + 0.5f) - BitsAs<uint32_t>(0.5f);
  const uint32_t normal = (magnitude - kHalfBias + 0xFFF + ((magnitude >> 13) & 1)) >> 13;
  const uint32_t special = magnitude > 0x7F800000 ? 0x7E00 : 0x7C00;  // from 2^16 on: inf or NaN
  const uint32_t half = magnitude >= 0x47800000  ? special
                        : magnitude < 0x38800000 ? subnormal
                                                 : normal;
  return {static_cast<uint16_t>(half | (bits >> 16 & 0x8000))};
}

template <class From, class To>
void ConvertRun(const void* from_memory, size_t n, void* to_memory) {
  const From* HWY_RESTRICT from = static_cast<const From*>(from_memory);
  To* HWY_RESTRICT to = static_cast<To*>(to_memory);
  for (size_t i = 0; i < n; ++i) to[i] = ConvertOne<To>(from[i]);
}

// The instructions for binary16, where a target has them: the rest of a vector goes through them
// too, so that the bits of a NaN do not depend on its place.
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
template <class From, class To, class F>
HWY_INLINE void ConvertVectors(const void* from_memory, size_t n, void* to_memory, const F& f) {
  const size_t lanes = hn::Lanes(hn::ScalableTag<float>());
  const From* from = static_cast<const From*>(from_memory);
  To* to = static_cast<To*>(to_memory);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) f(from + i, to + i);
  if (i == n) return;
  From rest[HWY_MAX_BYTES / sizeof(float)] = {};
  To converted[HWY_MAX_BYTES / sizeof(float)];
  std::copy(from + i, from + n, rest);
  f(rest, converted);
  std::copy_n(converted, n - i, to + i);
}

template <>
void ConvertRun<Float16, float>(const void* from, size_t n, void* to) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  ConvertVectors<Float16, float>(from, n, to, [&](const Float16* p, float* q) HWY_ATTR {
    hn::StoreU(hn::PromoteTo(d, hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(p))), d, q);
  });
}

template <>
void ConvertRun<float, Float16>(const void* from, size_t n, void* to) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> dh;
  ConvertVectors<float, Float16>(from, n, to, [&](const float* p, Float16* q) HWY_ATTR {
    hn::StoreU(hn::DemoteTo(dh, hn::LoadU(d, p)), dh, reinterpret_cast<hwy::float16_t*>(q));
  });
}
#endif

template <class From, class C>
void ReadRun(const void* from, size_t n, C* to) {
  ConvertRun<From, C>(from, n, to);
}

template <class C, class To>
void WriteRun(const C* from, size_t n, void* to) {
  ConvertRun<C, To>(from, n, to);
}

// Entries for the types `Froms` that C reads, and `Tos` that it writes.
template <class C, class... Froms>
constexpr void SetReads(ConvertKernels<C>& kernels) {
  ((kernels.read[static_cast<int>(DTypeOf<Froms>::value)] = ReadRun<Froms, C>), ...);
}
template <class C, class... Tos>
constexpr void SetWrites(ConvertKernels<C>& kernels) {
  ((kernels.write[static_cast<int>(DTypeOf<Tos>::value)] = WriteRun<C, Tos>), ...);
}

template <class C>
constexpr ConvertKernels<C> MakeConvertKernels() {
  ConvertKernels<C> kernels{};
  SetReads<C, bool, int8_t, uint8_t, int16_t, uint16_t>(kernels);
  if constexpr (std::is_same_v<C, float>) {
    SetReads<C, Float16, BFloat16>(kernels);
    SetWrites<C, Float16, BFloat16>(kernels);
  } else {
    SetReads<C, int32_t, uint32_t>(kernels);
  }
  if constexpr (std::is_same_v<C, double>) {
    SetReads<C, int64_t, uint64_t, Float16, BFloat16, float>(kernels);
  } else if constexpr (std::is_same_v<C, int64_t>) {
    SetReads<C, uint64_t>(kernels);
    SetWrites<C, uint64_t>(kernels);
  } else if constexpr (std::is_same_v<C, int32_t>) {
    SetWrites<C, bool, int8_t, uint8_t, int16_t, uint16_t, uint32_t>(kernels);
  }
  return kernels;
}

template <class C>
constexpr ConvertKernels<C> kConvert = MakeConvertKernels<C>();

// In both the last vector may overlap the one before.
template <class From>
void ZipPairs(const void* low_memory, const void* high_memory, size_t runs, size_t n,
              ptrdiff_t step, int32_t* HWY_RESTRICT to) {
  const From* HWY_RESTRICT low = static_cast<const From*>(low_memory);
  const From* HWY_RESTRICT high = static_cast<const From*>(high_memory);
  const hn::ScalableTag<int32_t> d;
  const hn::Rebind<From, decltype(d)> narrow;
  const size_t lanes = hn::Lanes(d);
  const auto zip = [&](auto lower, auto upper) HWY_ATTR {
    return hn::Or(hn::And(hn::PromoteTo(d, lower), hn::Set(d, 0xFFFF)),
                  hn::ShiftLeft<16>(hn::PromoteTo(d, upper)));
  };
  const auto whole = [&](size_t i) HWY_ATTR {
    hn::StoreU(zip(hn::LoadU(narrow, low + i), hn::LoadU(narrow, high + i)), d, to + i);
  };
  for (size_t r = 0; r < runs; ++r, low += step, high += step, to += n) {
    if (n >= lanes) {
      for (size_t i = 0; i + lanes < n; i += lanes) whole(i);
      whole(n - lanes);
    } else if constexpr (kFaultFreeMasks<From>) {
      StoreFirst(zip(LoadFirst(narrow, low, n), LoadFirst(narrow, high, n)), d, to, n);
    } else {
      for (size_t i = 0; i < n; ++i) to[i] = (low[i] & 0xFFFF) | high[i] * 0x10000;
    }
  }
}

template <class From>
void PairNeighbours(const void* from_memory, size_t n, int32_t* HWY_RESTRICT to) {
  const From* HWY_RESTRICT from = static_cast<const From*>(from_memory);
  const hn::ScalableTag<int32_t> d;
  const hn::Repartition<int16_t, decltype(d)> halves;
  const hn::Rebind<From, decltype(halves)> narrow;
  const size_t lanes = hn::Lanes(d);
  const auto whole = [&](size_t i) HWY_ATTR {
    const auto wide = hn::PromoteTo(halves, hn::LoadU(narrow, from + 2 * i));
    hn::StoreU(hn::BitCast(d, wide), d, to + i);
  };
  if (n < lanes) {
    for (size_t i = 0; i < n; ++i) {
      to[i] = (from[2 * i] & 0xFFFF) | from[2 * i + 1] * 0x10000;
    }
    return;
  }
  for (size_t i = 0; i + lanes < n; i += lanes) whole(i);
  whole(n - lanes);
}

template <class From>
constexpr PairKernels::Read kReadPairs{ZipPairs<From>, PairNeighbours<From>};

constexpr PairKernels MakePairKernels() {
  PairKernels kernels{};
  kernels.read[static_cast<int>(DType::kBool)] = kReadPairs<uint8_t>;
  kernels.read[static_cast<int>(DType::kUInt8)] = kReadPairs<uint8_t>;
  kernels.read[static_cast<int>(DType::kInt8)] = kReadPairs<int8_t>;
  return kernels;
}
constexpr PairKernels kPairs = MakePairKernels();

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_CONVERT_INL_H_
