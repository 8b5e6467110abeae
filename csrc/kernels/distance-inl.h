// Pairwise sums over coordinates, in the difference form: (x - y)² is formed and summed as such,
// never as x² - 2xy + y², so nothing cancels. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_DISTANCE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_DISTANCE_INL_H_
#undef LANEWISE_KERNELS_DISTANCE_INL_H_
#else
#define LANEWISE_KERNELS_DISTANCE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "hwy/cache_control.h"
#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/math-inl.h"
#include "kernels/transpose-inl.h"
#include "kernels/unroll.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 12×2 or 6×2 sums leave room for two vectors of y, a row's element and a difference in 32 or 16
// registers. Where subtractions and multiply-adds share two ports, as on an Intel server with
// AVX-512, differences can reach half the FMA peak at most: the 12×2 tile of 64-byte vectors runs
// at that bound, 6×2 of 32-byte vectors at 30 % of the peak.
template <class T>
using DistanceTag = hn::ScalableTag<T>;
constexpr size_t kDistanceMR = kVectorRegisters == 32 ? 12 : 6;
constexpr size_t kDistanceNV = 2;  // vectors per row of the tile

// The terms of kernels.h. Each has Add(d, x, y, sum), which adds one more, Join, by which two
// partial sums become one, and as many rows as leave its operands room beside the sums in
// registers.
struct SumOf {
  static constexpr size_t kRows = kDistanceMR;
  explicit SumOf(double /*p*/) {}
  template <class D, class V>
  static HWY_INLINE V Join(D, V a, V b) {
    return hn::Add(a, b);
  }
};

struct SquareTerm : SumOf {
  using SumOf::SumOf;
  template <class D, class V>
  HWY_INLINE V Add(D, V x, V y, V sum) const {
    const V difference = hn::Sub(x, y);
    return hn::MulAdd(difference, difference, sum);
  }
};

struct AbsTerm : SumOf {
  using SumOf::SumOf;
  template <class D, class V>
  HWY_INLINE V Add(D, V x, V y, V sum) const {
    return hn::Add(sum, hn::Abs(hn::Sub(x, y)));
  }
};

struct AbsSumTerm : SumOf {
  using SumOf::SumOf;
  template <class D, class V>
  HWY_INLINE V Add(D, V x, V y, V sum) const {
    return hn::Add(sum, hn::Abs(hn::Add(x, y)));
  }
};

struct ProductTerm : SumOf {
  using SumOf::SumOf;
  template <class D, class V>
  HWY_INLINE V Add(D, V x, V y, V sum) const {
    return hn::MulAdd(x, y, sum);
  }
};

// Non-negative floats order as their bits do, and so do NaNs, above infinity: the maximum of the
// bits is the maximum that keeps a NaN.
struct MaxTerm : SumOf {
  using SumOf::SumOf;
  template <class D, class V>
  HWY_INLINE V Add(D d, V x, V y, V largest) const {
    return Join(d, hn::Abs(hn::Sub(x, y)), largest);
  }
  template <class D, class V>
  static HWY_INLINE V Join(D d, V a, V b) {
    const hn::RebindToSigned<D> bits;
    return hn::BitCast(d, hn::Max(hn::BitCast(bits, a), hn::BitCast(bits, b)));
  }
};

// Not Ne, which is false for a NaN on some targets.
struct DiffersTerm : SumOf {
  using SumOf::SumOf;
  template <class D, class V>
  HWY_INLINE V Add(D d, V x, V y, V sum) const {
    return hn::Add(sum, hn::IfThenZeroElse(hn::Eq(x, y), hn::Set(d, hn::TFromD<D>(1))));
  }
};

struct ShareTerm : SumOf {
  using SumOf::SumOf;
  static constexpr size_t kRows = 2;
  template <class D, class V>
  HWY_INLINE V Add(D d, V x, V y, V sum) const {
    const V size = hn::Add(hn::Abs(x), hn::Abs(y));
    const V share = hn::Div(hn::Abs(hn::Sub(x, y)), size);
    return hn::Add(sum, hn::IfThenZeroElse(hn::Eq(size, hn::Zero(d)), share));
  }
};

// |x - y|^p as a product of 2p factors sqrt|x - y|, or p factors |x - y|: the binary digits of
// their number, from the lowest, say which of f, f², f⁴, … it has. Off by p·eps/2 for the
// difference and by at most 4p·eps/2 for roots and products.
struct HalvesPowerTerm : SumOf {
  static constexpr size_t kRows = 2;
  const bool roots;
  const uint32_t factors;
  explicit HalvesPowerTerm(double p)
      : SumOf(p), roots(p != std::floor(p)), factors(static_cast<uint32_t>(roots ? 2 * p : p)) {}

  template <class D, class V>
  HWY_INLINE V Add(D d, V x, V y, V sum) const {
    V difference[1][1] = {{hn::Sub(x, y)}}, total[1][1] = {{sum}};
    AddPowers(d, difference, total);
    return total[0][0];
  }
  // The same for all of a tile, with one loop over the digits.
  template <class D, class V, size_t kCount, size_t kNV>
  HWY_INLINE void AddPowers(D d, V (&power)[kCount][kNV], V (&sum)[kCount][kNV]) const {
    const auto for_each = [](const auto& f) HWY_ATTR {
      for (size_t i = 0; i < kCount; ++i) {
        for (size_t v = 0; v < kNV; ++v) f(i, v);
      }
    };
    V product[kCount][kNV];
    for_each([&](size_t i, size_t v) HWY_ATTR {
      const V difference = hn::Abs(power[i][v]);
      power[i][v] = roots ? hn::Sqrt(difference) : difference;
      product[i][v] = factors & 1 ? power[i][v] : hn::Set(d, hn::TFromD<D>(1));
    });
    for (uint32_t digits = factors >> 1; digits != 0; digits >>= 1) {
      for_each([&](size_t i, size_t v)
                   HWY_ATTR { power[i][v] = hn::Mul(power[i][v], power[i][v]); });
      if (digits & 1) {
        for_each([&](size_t i, size_t v)
                     HWY_ATTR { product[i][v] = hn::Mul(product[i][v], power[i][v]); });
      }
    }
    for_each([&](size_t i, size_t v) HWY_ATTR { sum[i][v] = hn::Add(sum[i][v], product[i][v]); });
  }
};

struct PowerTerm : SumOf {
  static constexpr size_t kRows = 2;
  const double p;
  explicit PowerTerm(double p_) : SumOf(p_), p(p_) {}
  template <class D, class V>
  HWY_INLINE V Add(D d, V x, V y, V sum) const {
    return hn::Add(sum, math::Pow(d, hn::Abs(hn::Sub(x, y)), math::ExponentOf(d, p)));
  }
};

// One more term for each of a tile's sums: sum[i][v] of row element x[i] and panel vector y[v].
template <size_t kCount, class TermT, class D, class T, class V>
HWY_INLINE void AddTile(const TermT& term, D d, const T* HWY_RESTRICT x, const V (&y)[kDistanceNV],
                        V (&sum)[kCount][kDistanceNV]) {
  if constexpr (std::is_same_v<TermT, HalvesPowerTerm>) {
    V differences[kCount][kDistanceNV];
    LANEWISE_UNROLL
    for (size_t i = 0; i < kCount; ++i) {
      LANEWISE_UNROLL
      for (size_t v = 0; v < kDistanceNV; ++v) {
        differences[i][v] = hn::Sub(hn::Set(d, x[i]), y[v]);
      }
    }
    term.AddPowers(d, differences, sum);
  } else {
    LANEWISE_UNROLL
    for (size_t i = 0; i < kCount; ++i) {
      const V value = hn::Set(d, x[i]);
      LANEWISE_UNROLL
      for (size_t v = 0; v < kDistanceNV; ++v) sum[i][v] = term.Add(d, value, y[v], sum[i][v]);
    }
  }
}

// kCount rows times kDistanceNV vectors of accumulators, kept in registers over a block of terms.
template <class T, class TermT, size_t kCount>
HWY_INLINE void AccumulateTile(const TermT& term, const T* HWY_RESTRICT x,
                               const T* HWY_RESTRICT panel, size_t terms, T* HWY_RESTRICT totals,
                               bool first) {
  const DistanceTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d), nr = kDistanceNV * lanes;
  while (true) {
    const size_t block = std::min(terms, kSumBlock);
    V sum[kCount][kDistanceNV];
    LANEWISE_UNROLL
    for (size_t i = 0; i < kCount; ++i) {
      LANEWISE_UNROLL
      for (size_t v = 0; v < kDistanceNV; ++v) sum[i][v] = hn::Zero(d);
    }
    for (const T* const end = panel + block * nr; panel != end; panel += nr, x += kDistanceMR) {
      const V y[kDistanceNV] = {hn::Load(d, panel), hn::Load(d, panel + lanes)};
      AddTile(term, d, x, y, sum);
    }
    LANEWISE_UNROLL
    for (size_t i = 0; i < kCount; ++i) {
      LANEWISE_UNROLL
      for (size_t v = 0; v < kDistanceNV; ++v) {
        T* total = totals + i * nr + v * lanes;
        if (!first) sum[i][v] = TermT::Join(d, hn::Load(d, total), sum[i][v]);
        hn::Store(sum[i][v], d, total);
      }
    }
    terms -= block;
    if (terms == 0) return;
    first = false;
  }
}

// `count` rows, kRows at a time, then half as many, and so on.
template <class T, class TermT, size_t kRows = TermT::kRows>
void Accumulate(const T* x, size_t count, const T* panel, size_t terms, double p, T* totals,
                bool first) {
  const size_t nr = kDistanceNV * hn::Lanes(DistanceTag<T>());
  for (; count >= kRows; count -= kRows, x += kRows, totals += kRows * nr) {
    AccumulateTile<T, TermT, kRows>(TermT(p), x, panel, terms, totals, first);
  }
  if constexpr (kRows > 1) {
    if (count > 0) Accumulate<T, TermT, kRows / 2>(x, count, panel, terms, p, totals, first);
  }
}

template <class T, class TermT>
void AccumulatePairs(const T* x, const T* y, size_t terms, double p, T* totals, bool first) {
  const TermT term(p);
  const DistanceTag<T> d;
  const size_t lanes = hn::Lanes(d), nr = kDistanceNV * lanes;
  for (size_t begin = 0; begin < terms; begin += kSumBlock, first = false) {
    const size_t end = std::min(terms, begin + kSumBlock);
    for (size_t j = 0; j < nr; j += lanes) {
      auto sum = hn::Zero(d);
      for (size_t k = begin; k < end; ++k) {
        sum = term.Add(d, hn::Load(d, x + k * nr + j), hn::Load(d, y + k * nr + j), sum);
      }
      if (!first) sum = TermT::Join(d, hn::Load(d, totals + j), sum);
      hn::Store(sum, d, totals + j);
    }
  }
}

// out[i][j] = f(totals[i][j], i, j, doubted) for all results of a tile; true if f doubted none.
// Vectors are loaded whole, and what their lanes past n hold is neither stored nor counted.
template <class T, class F>
HWY_INLINE bool MapTotals(const DistanceTotals<T>& tile, T* out, int64_t out_stride, const F& f) {
  const DistanceTag<T> d;
  const size_t lanes = hn::Lanes(d), nr = kDistanceNV * lanes;
  const T* totals = tile.totals;
  const bool stream = tile.stream;
  auto doubted = hn::FirstN(d, 0);
  for (size_t i = 0; i < tile.rows; ++i, totals += nr, out += out_stride) {
    size_t j = 0;
    for (; j + lanes <= tile.n; j += lanes) {
      const auto result = f(hn::Load(d, totals + j), i, j, doubted);
      if (stream) {
        hn::Stream(result, d, out + j);
      } else {
        hn::StoreU(result, d, out + j);
      }
    }
    if (j < tile.n) {
      auto doubted_here = hn::FirstN(d, 0);
      StoreFirst(f(hn::Load(d, totals + j), i, j, doubted_here), d, out + j, tile.n - j);
      doubted = hn::Or(doubted, hn::And(doubted_here, hn::FirstN(d, tile.n - j)));
    }
  }
  return hn::AllFalse(d, doubted);
}

// What finishing reads beside the totals, in locals that no store to memory can be thought to
// change.
template <class T>
class FinishOperands {
 public:
  using V = hn::Vec<DistanceTag<T>>;

  HWY_INLINE explicit FinishOperands(const DistanceTotals<T>& tile)
      : second_(tile.second),
        x_norms_(tile.x_norms),
        y_norms_(tile.y_norms),
        pairs_(tile.pairs),
        low_(hn::Set(DistanceTag<T>(), tile.smallest)),
        high_(hn::Set(DistanceTag<T>(), std::numeric_limits<T>::max())) {}

  HWY_INLINE V Second(size_t i, size_t j) const {
    const DistanceTag<T> d;
    return hn::Load(d, second_ + i * kDistanceNV * hn::Lanes(d) + j);
  }
  HWY_INLINE V XNorm(size_t i, size_t j) const {
    const DistanceTag<T> d;
    return pairs_ ? hn::Load(d, x_norms_ + j) : hn::Set(d, x_norms_[i]);
  }
  HWY_INLINE V YNorm(size_t j) const { return hn::Load(DistanceTag<T>(), y_norms_ + j); }
  // As masks, where a number is not to be trusted.
  HWY_INLINE auto TooSmall(V number) const { return hn::Lt(number, low_); }
  HWY_INLINE auto TooLarge(V number) const { return hn::Gt(number, high_); }
  HWY_INLINE auto OutOfRange(V number) const { return hn::Or(TooSmall(number), TooLarge(number)); }

 private:
  const T* const second_;
  const T *const x_norms_, *const y_norms_;
  const bool pairs_;
  const V low_, high_;
};

template <class T>
bool FinishCopy(const DistanceTotals<T>& tile, T* out, int64_t out_stride) {
  return MapTotals(tile, out, out_stride,
                   [](auto total, size_t, size_t, auto&) HWY_ATTR { return total; });
}

template <class T>
bool FinishCopySafe(const DistanceTotals<T>& tile, T* out, int64_t out_stride) {
  const FinishOperands<T> operands(tile);
  return MapTotals(
      tile, out, out_stride, [&](auto total, size_t i, size_t j, auto& doubted) HWY_ATTR {
        const auto norms =
            hn::Or(operands.TooLarge(operands.XNorm(i, j)), operands.TooLarge(operands.YNorm(j)));
        doubted = hn::Or(doubted, norms);
        return total;
      });
}

template <class T>
bool FinishMean(const DistanceTotals<T>& tile, T* out, int64_t out_stride) {
  const auto count = hn::Set(DistanceTag<T>(), static_cast<T>(tile.d));
  return MapTotals(tile, out, out_stride, [&](auto total, size_t, size_t, auto&) HWY_ATTR {
    return hn::Div(total, count);
  });
}

template <class T>
bool FinishQuotient(const DistanceTotals<T>& tile, T* out, int64_t out_stride) {
  const FinishOperands<T> operands(tile);
  return MapTotals(
      tile, out, out_stride, [&](auto total, size_t i, size_t j, auto& doubted) HWY_ATTR {
        const auto second = operands.Second(i, j);
        doubted = hn::Or(doubted, hn::Or(operands.TooLarge(total), operands.TooLarge(second)));
        return hn::Div(total, second);
      });
}

// The roots of numbers in [2^-100, max], rounded correctly. On AVX-512 vsqrtps takes 12 cycles of a
// port that sums need, this takes 5: an approximation y of 1/sqrt(x), off by 2^-14 at most; a step
// that brings x·y and y/2 within 2 ulp of root and half its inverse; and one by the residual, which
// is exact from 2^-100 on. All float32 in [1, 4) get the bits of vsqrtps, also with y off by any
// other share of 2^-14.
template <class V>
HWY_INLINE V Root(V x) {
#if HWY_TARGET == HWY_AVX3
  if constexpr (std::is_same_v<hn::TFromV<V>, float>) {
    const V half = hn::Set(hn::DFromV<V>(), 0.5f), y = hn::ApproximateReciprocalSqrt(x);
    const V root = hn::Mul(x, y), half_y = hn::Mul(half, y);
    const V error = hn::NegMulAdd(root, half_y, half);
    const V better = hn::MulAdd(root, error, root);
    const V residual = hn::NegMulAdd(better, better, x);
    return hn::MulAdd(residual, hn::MulAdd(half_y, error, half_y), better);
  }
#endif
  return hn::Sqrt(x);
}

template <class T>
bool FinishSqrt(const DistanceTotals<T>& tile, T* out, int64_t out_stride) {
  const FinishOperands<T> operands(tile);
  const DistanceTag<T> d;
  const auto least = hn::Set(d, std::max(tile.smallest, T(0x1p-100)));
  const auto largest = hn::Set(d, std::numeric_limits<T>::max());
  return MapTotals(tile, out, out_stride, [&](auto total, size_t, size_t, auto& doubted) HWY_ATTR {
    const auto usual = hn::And(hn::Ge(total, least), hn::Le(total, largest));
    if (HWY_LIKELY(hn::AllTrue(d, usual))) return Root(total);
    doubted = hn::Or(doubted, operands.OutOfRange(total));
    return hn::Sqrt(total);
  });
}

template <class T>
bool FinishRoot(const DistanceTotals<T>& tile, T* out, int64_t out_stride) {
  const FinishOperands<T> operands(tile);
  const DistanceTag<T> d;
  // 1/p and what its rounding lost; 1 - p·(1/p) is formed exactly.
  const double inverse = 1 / tile.p, rest = std::fma(-tile.p, inverse, 1.0) / tile.p;
  const auto exponent = math::ExponentOf(d, inverse, rest);
  return MapTotals(tile, out, out_stride, [&](auto total, size_t, size_t, auto& doubted) HWY_ATTR {
    doubted = hn::Or(doubted, operands.OutOfRange(total));
    return math::Pow(d, total, exponent);
  });
}

// sqrt(|x|²·|y|²), not |x|·|y|: with the same bits for |x|², |y|² and x·y the cosine of a row with
// itself is exactly 1.
template <class T>
bool FinishCosine(const DistanceTotals<T>& tile, T* out, int64_t out_stride) {
  const FinishOperands<T> operands(tile);
  const DistanceTag<T> d;
  const auto zero = hn::Zero(d), one = hn::Set(d, T(1)), two = hn::Set(d, T(2));
  return MapTotals(
      tile, out, out_stride, [&](auto total, size_t i, size_t j, auto& doubted) HWY_ATTR {
        const auto x2 = operands.XNorm(i, j), y2 = operands.YNorm(j), product = hn::Mul(x2, y2);
        const auto smallest_factor = hn::Min(product, hn::Min(x2, y2));
        doubted =
            hn::Or(doubted, hn::Or(operands.TooSmall(smallest_factor), operands.TooLarge(product)));
        const auto distance = hn::Sub(one, hn::Div(total, hn::Sqrt(product)));
        // Written so that a NaN distance fails both tests and stays.
        const auto clipped = hn::IfThenElse(hn::Lt(distance, zero), zero, distance);
        return hn::IfThenElse(hn::Gt(clipped, two), two, clipped);
      });
}

// Of coordinates that are 0 or 1: t are set in both, x2 + y2 - t in either. Counts are exact.
template <class T>
bool FinishJaccard(const DistanceTotals<T>& tile, T* out, int64_t out_stride) {
  const FinishOperands<T> operands(tile);
  const auto zero = hn::Zero(DistanceTag<T>());
  return MapTotals(tile, out, out_stride, [&](auto total, size_t i, size_t j, auto&) HWY_ATTR {
    const auto either = hn::Sub(hn::Add(operands.XNorm(i, j), operands.YNorm(j)), total);
    const auto share = hn::Div(hn::Sub(either, total), either);
    return hn::IfThenZeroElse(hn::Eq(either, zero), share);
  });
}

template <class T, class TermT>
constexpr void SetTerm(DistanceKernels<T>& kernels, Term term) {
  kernels.accumulate[static_cast<int>(term)] = Accumulate<T, TermT>;
  kernels.accumulate_pairs[static_cast<int>(term)] = AccumulatePairs<T, TermT>;
}

template <class T>
constexpr DistanceKernels<T> MakeDistanceKernels() {
  DistanceKernels<T> kernels{};
  kernels.mr = kDistanceMR;
  kernels.nr = kDistanceNV * HWY_MAX_BYTES / sizeof(T);
  SetTerm<T, SquareTerm>(kernels, Term::kSquare);
  SetTerm<T, AbsTerm>(kernels, Term::kAbs);
  SetTerm<T, AbsSumTerm>(kernels, Term::kAbsSum);
  SetTerm<T, MaxTerm>(kernels, Term::kMax);
  SetTerm<T, ProductTerm>(kernels, Term::kProduct);
  SetTerm<T, DiffersTerm>(kernels, Term::kDiffers);
  SetTerm<T, ShareTerm>(kernels, Term::kShare);
  SetTerm<T, HalvesPowerTerm>(kernels, Term::kHalvesPower);
  SetTerm<T, PowerTerm>(kernels, Term::kPower);
  const auto finish = [&](Finish how) -> auto& { return kernels.finish[static_cast<int>(how)]; };
  finish(Finish::kCopy) = FinishCopy<T>;
  finish(Finish::kCopySafe) = FinishCopySafe<T>;
  finish(Finish::kMean) = FinishMean<T>;
  finish(Finish::kQuotient) = FinishQuotient<T>;
  finish(Finish::kSqrt) = FinishSqrt<T>;
  finish(Finish::kCosine) = FinishCosine<T>;
  finish(Finish::kJaccard) = FinishJaccard<T>;
  finish(Finish::kRoot) = FinishRoot<T>;
  kernels.flush = [] { hwy::FlushStream(); };
  kernels.transpose = TransposeBlock<T>;
  return kernels;
}

template <class T>
constexpr DistanceKernels<T> kDistance = MakeDistanceKernels<T>();

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_DISTANCE_INL_H_
