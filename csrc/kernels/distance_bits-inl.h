// Coordinates as bits: packing, and counts of those that two rows have in common. Included once per
// SIMD target.
#if defined(LANEWISE_KERNELS_DISTANCE_BITS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_DISTANCE_BITS_INL_H_
#undef LANEWISE_KERNELS_DISTANCE_BITS_INL_H_
#else
#define LANEWISE_KERNELS_DISTANCE_BITS_INL_H_
#endif

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/unroll.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using WordTag = hn::CappedTag<uint64_t, 8>;
constexpr size_t kBitsNR = BitKernels::nr;
constexpr size_t kBitsNV = kBitsNR * 8 / HWY_MIN(64, HWY_MAX_BYTES);
constexpr size_t kBitsMR = 8 / kBitsNV;  // 8 vectors of sums

// A tile's sums of bits. Where there is an instruction for the population of 64 bits, which is no
// part of Highway's target (BitKernelsFor asks the CPU for it), they are sums in 64 bits at once.
#if HWY_TARGET == HWY_AVX3
constexpr size_t kBitsBlock = 1024;
template <class V>
HWY_INLINE V AddPopulation(V bits, V sum) {
  asm("vpopcntq %1, %0" : "=v"(bits.raw) : "v"(bits.raw));
  return hn::Add(sum, bits);
}
template <class V>
HWY_INLINE V AddSums(V sum, V total) {
  return hn::Add(total, sum);
}
#else
// Elsewhere in bytes, each of which has room for 31 populations of 8 bits.
constexpr size_t kBitsBlock = 31;
template <class V>
HWY_INLINE V AddPopulation(V bits, V sum) {
  const hn::Repartition<uint8_t, hn::DFromV<V>> bytes;
  const auto population = hn::PopulationCount(hn::BitCast(bytes, bits));
  return hn::BitCast(hn::DFromV<V>(), hn::Add(hn::BitCast(bytes, sum), population));
}
template <class V>
HWY_INLINE V AddSums(V sum, V total) {
  const hn::Repartition<uint8_t, hn::DFromV<V>> bytes;
  return hn::Add(total, hn::SumsOf8(hn::BitCast(bytes, sum)));
}
#endif

inline void CountCommon(const uint64_t* HWY_RESTRICT rows, const uint64_t* HWY_RESTRICT panel,
                        size_t words, uint64_t* HWY_RESTRICT totals, bool first) {
  const WordTag d;
  using V = hn::Vec<WordTag>;
  const size_t lanes = hn::Lanes(d);
  do {
    const size_t block = std::min(words, kBitsBlock);
    V sum[kBitsMR][kBitsNV];
    for (size_t i = 0; i < kBitsMR; ++i) {
      for (size_t v = 0; v < kBitsNV; ++v) sum[i][v] = hn::Zero(d);
    }
    for (const uint64_t* const end = panel + block * kBitsNR; panel != end;
         panel += kBitsNR, rows += kBitsMR) {
      for (size_t i = 0; i < kBitsMR; ++i) {
        const V x = hn::Set(d, rows[i]);
        LANEWISE_UNROLL
        for (size_t v = 0; v < kBitsNV; ++v) {
          sum[i][v] = AddPopulation(hn::And(x, hn::Load(d, panel + v * lanes)), sum[i][v]);
        }
      }
    }
    for (size_t i = 0; i < kBitsMR; ++i) {
      for (size_t v = 0; v < kBitsNV; ++v) {
        uint64_t* total = totals + i * kBitsNR + v * lanes;
        const V before = first ? hn::Zero(d) : hn::Load(d, total);
        hn::Store(AddSums(sum[i][v], before), d, total);
      }
    }
    words -= block;
    first = false;
  } while (words != 0);
}

// A count below 2^52 as the last digits of 2^52 + count.
template <class V>
HWY_INLINE auto CountToDouble(V count) {
  const hn::Rebind<double, hn::DFromV<V>> d;
  const auto offset = hn::Set(d, 0x1p52);
  return hn::Sub(hn::BitCast(d, hn::Or(count, hn::BitCast(hn::DFromV<V>(), offset))), offset);
}

// a / b as T, for counts a and b.
template <class T, class V>
HWY_INLINE auto QuotientOfCounts(V a, V b) {
  if constexpr (std::is_same_v<T, double>) {
    return hn::Div(a, b);
  } else {
    const hn::Rebind<float, hn::DFromV<V>> d;
    return hn::Div(hn::DemoteTo(d, a), hn::DemoteTo(d, b));
  }
}

template <class T, BitFinish kFinish>
void FinishBits(const BitTotals& tile, T* out, int64_t out_stride) {
  const WordTag words;
  const hn::Rebind<double, WordTag> counts;
  const hn::Rebind<T, WordTag> d;
  const size_t lanes = hn::Lanes(words);
  const auto least = hn::Set(counts, 1.0), divisor = hn::Set(counts, tile.divisor);
  // Highway's Stream writes 16 bytes at least.
  const bool pairs = tile.pairs, stream = tile.stream && lanes * sizeof(T) >= 16;
  const uint64_t* totals = tile.totals;
  for (size_t i = 0; i < tile.rows; ++i, totals += kBitsNR, out += out_stride) {
    for (size_t j = 0; j < tile.n; j += lanes) {
      const auto both = CountToDouble(hn::Load(words, totals + j));
      const auto x = CountToDouble(pairs ? hn::Load(words, tile.x_counts + j)
                                         : hn::Set(words, tile.x_counts[i]));
      const auto y = CountToDouble(hn::Load(words, tile.y_counts + j));
      const auto either = hn::Sub(hn::Add(x, y), both), differ = hn::Sub(either, both);
      // Where there are none in either, 0 / 1.
      const auto result = QuotientOfCounts<T>(
          differ, kFinish == BitFinish::kShare ? hn::Max(either, least) : divisor);
      if (j + lanes > tile.n) {
        StoreFirst(result, d, out + j, tile.n - j);
      } else if (stream) {
        hn::Stream(result, d, out + j);
      } else {
        hn::StoreU(result, d, out + j);
      }
    }
  }
}

// Bit i = whether from[i] has a significant bit, i < 64.
template <class U>
HWY_INLINE uint64_t TruthOf(const U* from, U significant) {
  const hn::CappedTag<U, 64> d;
  constexpr size_t kLanes = HWY_MIN(64, HWY_MAX_BYTES / sizeof(U));
  using Bits =
      std::conditional_t<kLanes == 64, uint64_t,
                         std::conditional_t<kLanes == 32, uint32_t,
                                            std::conditional_t<kLanes == 16, uint16_t, uint8_t>>>;
  const auto zero = hn::Zero(d), mask = hn::Set(d, significant);
  uint64_t word = 0;
  for (size_t j = 0; j < 64; j += kLanes) {
    const auto values = hn::And(hn::LoadU(d, from + j), mask);
    uint8_t bytes[sizeof(Bits)];
    hn::StoreMaskBits(d, hn::Ne(values, zero), bytes);
    Bits bits;
    std::memcpy(&bits, bytes, sizeof(bits));
    word |= uint64_t{bits} << j;
  }
  return word;
}

template <class U>
uint64_t PackBits(const void* memory, size_t n, uint64_t significant, uint64_t* to,
                  ptrdiff_t step) {
  const U* from = static_cast<const U*>(memory);
  uint64_t count = 0;
  const auto put = [&](const U* values) HWY_ATTR {
    const uint64_t word = TruthOf(values, static_cast<U>(significant));
    count += static_cast<uint64_t>(__builtin_popcountll(word));
    *to = word;
    to += step;
  };
  for (; n >= 64; n -= 64, from += 64) put(from);
  if (n > 0) {
    U rest[64] = {};
    std::memcpy(rest, from, n * sizeof(U));
    put(rest);
  }
  return count;
}

template <class T>
constexpr void SetFinishes(BitKernels::Finish<T> (&finish)[kBitFinishes]) {
  finish[static_cast<int>(BitFinish::kShare)] = FinishBits<T, BitFinish::kShare>;
  finish[static_cast<int>(BitFinish::kDiffer)] = FinishBits<T, BitFinish::kDiffer>;
}

constexpr BitKernels MakeBitKernels() {
  BitKernels kernels{};
  kernels.mr = kBitsMR;
  kernels.pack[0] = PackBits<uint8_t>;
  kernels.pack[1] = PackBits<uint16_t>;
  kernels.pack[2] = PackBits<uint32_t>;
  kernels.pack[3] = PackBits<uint64_t>;
  kernels.count = CountCommon;
  SetFinishes<float>(kernels.finish_float);
  SetFinishes<double>(kernels.finish_double);
  kernels.flush = [] { hwy::FlushStream(); };
  return kernels;
}

constexpr BitKernels kBits = MakeBitKernels();

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_DISTANCE_BITS_INL_H_
