// Sums of what pairs of coordinates add to the gradient of their distance, in the difference form:
// c·(x - y) is summed as such, never as x·Σc - Σc·y, so nothing cancels that need not. Lanes are
// coordinates, rows those of x; the coefficients c are broadcast. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_DISTANCE_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_DISTANCE_BACKWARD_INL_H_
#undef LANEWISE_KERNELS_DISTANCE_BACKWARD_INL_H_
#else
#define LANEWISE_KERNELS_DISTANCE_BACKWARD_INL_H_
#endif

#include <cmath>
#include <cstring>
#include <limits>

#include "hwy/highway.h"
#include "kernels/kernels.h"
#include "kernels/math-inl.h"
#include "kernels/transpose-inl.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows and their sums stay in registers, which leaves a few for y, a coefficient and a difference;
// then a term is a subtraction, a multiply-add, and one load, of its coefficient.
constexpr size_t kSlopeMR = kVectorRegisters == 32 ? 12 : 6;

// The slopes of kernels.h. Each has Add(d, x, y, c, s, sum), and as many rows as leave its operands
// room beside the sums.
struct SlopeOf {
  static constexpr size_t kRows = kSlopeMR;
  static constexpr bool kSecond = false;  // whether it has a coefficient s
  explicit SlopeOf(double /*p*/) {}
};

struct DifferenceSlope : SlopeOf {
  using SlopeOf::SlopeOf;
  template <class D, class V>
  HWY_INLINE V Add(D, V x, V y, V c, V, V sum) const {
    return hn::MulAdd(c, hn::Sub(x, y), sum);
  }
};

struct ProductSlope : SlopeOf {
  using SlopeOf::SlopeOf;
  template <class D, class V>
  HWY_INLINE V Add(D, V, V y, V c, V, V sum) const {
    return hn::MulAdd(c, y, sum);
  }
};

// value·sign(t), 0 for t = 0.
template <class D, class V>
HWY_INLINE V WithSignOf(D d, V t, V value) {
  return hn::IfThenZeroElse(hn::Eq(t, hn::Zero(d)), hn::Xor(value, hn::And(t, hn::SignBit(d))));
}

struct SignSlope : SlopeOf {
  using SlopeOf::SlopeOf;
  template <class D, class V>
  HWY_INLINE V Add(D d, V x, V y, V c, V, V sum) const {
    return hn::Add(sum, WithSignOf(d, hn::Sub(x, y), c));
  }
};

struct LargestSlope : SlopeOf {
  using SlopeOf::SlopeOf;
  static constexpr bool kSecond = true;
  template <class D, class V>
  HWY_INLINE V Add(D d, V x, V y, V c, V s, V sum) const {
    const V t = hn::Sub(x, y), signed_c = hn::Xor(c, hn::And(t, hn::SignBit(d)));
    return hn::Add(sum, hn::IfThenElseZero(hn::Eq(hn::Abs(t), s), signed_c));
  }
};

struct TwoSignsSlope : SlopeOf {
  using SlopeOf::SlopeOf;
  static constexpr size_t kRows = kSlopeMR / 3;
  static constexpr bool kSecond = true;
  template <class D, class V>
  HWY_INLINE V Add(D d, V x, V y, V c, V s, V sum) const {
    const V difference = WithSignOf(d, hn::Sub(x, y), c), size = WithSignOf(d, hn::Add(x, y), s);
    return hn::Add(sum, hn::Sub(difference, size));
  }
};

// sign(x - y)·2|y| / (|x| + |y|)² where x and y have one sign, 0 where they do not, and half of it
// at x = 0 between the two. From halves, whose sum does not overflow.
struct ShareSlope : SlopeOf {
  using SlopeOf::SlopeOf;
  static constexpr size_t kRows = 2;
  template <class D, class V>
  HWY_INLINE V Add(D d, V x, V y, V c, V, V sum) const {
    const V zero = hn::Zero(d), half = hn::Set(d, hn::TFromD<D>(0.5));
    const V half_y = hn::Mul(hn::Abs(y), half), size = hn::MulAdd(hn::Abs(x), half, half_y);
    const V steep = hn::Div(hn::Div(half_y, size), size);
    const auto opposite = hn::Lt(hn::Xor(y, hn::And(x, hn::SignBit(d))), zero);
    const V slope = hn::IfThenZeroElse(hn::And(opposite, hn::Eq(x, x)), steep);  // keeps NaN
    const V size_of_slope = hn::IfThenElse(hn::Eq(x, zero), hn::Mul(steep, half), slope);
    return hn::MulAdd(c, WithSignOf(d, hn::Sub(x, y), size_of_slope), sum);
  }
};

// |x - y|·s to a power that is a multiple of 1/2, as a product (HalvesPowerTerm).
struct HalvesPowerSlope : SlopeOf {
  static constexpr size_t kRows = 2;
  static constexpr bool kSecond = true;
  const bool roots;
  const uint32_t factors;
  explicit HalvesPowerSlope(double p)
      : SlopeOf(p), roots(p != std::floor(p)), factors(static_cast<uint32_t>(roots ? 2 * p : p)) {}

  template <class D, class V>
  HWY_INLINE V Add(D d, V x, V y, V c, V s, V sum) const {
    const V t = hn::Sub(x, y), share = hn::Mul(hn::Abs(t), s);
    V power = roots ? hn::Sqrt(share) : share;
    V product = factors & 1 ? power : hn::Set(d, hn::TFromD<D>(1));
    for (uint32_t digits = factors >> 1; digits != 0; digits >>= 1) {
      power = hn::Mul(power, power);
      if (digits & 1) product = hn::Mul(product, power);
    }
    return hn::MulAdd(c, WithSignOf(d, t, product), sum);
  }
};

// Once for each type, as it is long.
template <class D, class V>
HWY_NOINLINE V PositivePower(D d, V share, double p) {
  return math::Pow(d, share, math::ExponentOf(d, p));
}

// Negative powers are 1 by the positive one; a share of 0, which has none, counts as no difference.
struct PowerSlope : SlopeOf {
  static constexpr size_t kRows = 1;
  static constexpr bool kSecond = true;
  const double p;
  explicit PowerSlope(double p_) : SlopeOf(p_), p(p_) {}
  template <class D, class V>
  HWY_INLINE V Add(D d, V x, V y, V c, V s, V sum) const {
    const V t = hn::Sub(x, y), share = hn::Mul(hn::Abs(t), s);
    V power = PositivePower(d, share, std::abs(p));
    if (p < 0) power = hn::Div(hn::Set(d, hn::TFromD<D>(1)), power);
    power = hn::IfThenZeroElse(hn::Eq(share, hn::Zero(d)), power);
    return hn::MulAdd(c, WithSignOf(d, t, power), sum);
  }
};

// kCount rows against one vector of all terms.
template <class T, class SlopeT, size_t kCount>
HWY_INLINE void AccumulateRows(const SlopeT& slope, const T* HWY_RESTRICT rows,
                               const T* HWY_RESTRICT panel, size_t terms, const T* HWY_RESTRICT c,
                               const T* HWY_RESTRICT s, T* HWY_RESTRICT totals, bool first) {
  const hn::ScalableTag<T> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  V x[kCount], sum[kCount];
  for (size_t i = 0; i < kCount; ++i) {
    x[i] = hn::Load(d, rows + i * lanes);
    sum[i] = hn::Zero(d);
  }
  for (size_t j = 0; j < terms; ++j, panel += lanes) {
    const V y = hn::Load(d, panel);
    for (size_t i = 0; i < kCount; ++i) {
      const V coefficient = hn::Set(d, c[i * kSumBlock + j]);
      V second = coefficient;
      if constexpr (SlopeT::kSecond) second = hn::Set(d, s[i * kSumBlock + j]);
      sum[i] = slope.Add(d, x[i], y, coefficient, second, sum[i]);
    }
  }
  for (size_t i = 0; i < kCount; ++i) {
    T* total = totals + i * lanes;
    hn::Store(first ? sum[i] : hn::Add(hn::Load(d, total), sum[i]), d, total);
  }
}

// A single row has a loop of its own, as rows of paired distances are single ones; else all rows
// that the tile has room for are computed.
template <class T, class SlopeT>
void AccumulateSlopes(const SlopeTile<T>& tile, double p, T* totals, bool first) {
  const SlopeT slope(p);
  const size_t lanes = hn::Lanes(hn::ScalableTag<T>());
  for (size_t v = 0; v < tile.vectors; ++v) {
    const T* rows = tile.rows + v * kSlopeMR * lanes;
    const T* panel = tile.panel + v * kSumBlock * lanes;
    T* to = totals + v * kSlopeMR * lanes;
    if (SlopeT::kRows > 1 && tile.count == 1) {
      AccumulateRows<T, SlopeT, 1>(slope, rows, panel, tile.terms, tile.c, tile.s, to, first);
      continue;
    }
    for (size_t i = 0; i < tile.count; i += SlopeT::kRows) {
      const T* s = SlopeT::kSecond ? tile.s + i * kSumBlock : nullptr;
      AccumulateRows<T, SlopeT, SlopeT::kRows>(slope, rows + i * lanes, panel, tile.terms,
                                               tile.c + i * kSumBlock, s, to + i * lanes, first);
    }
  }
}

// The sum of one term each.
template <class T, class SlopeT>
void SlopesOfPairs(const T* HWY_RESTRICT x, const T* HWY_RESTRICT y, const T* HWY_RESTRICT c,
                   const T* HWY_RESTRICT s, size_t n, double p, T* HWY_RESTRICT out) {
  const hn::ScalableTag<T> d;
  const SlopeT slope(p);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto coefficient = hn::LoadU(d, c + i);
    auto second = coefficient;
    if constexpr (SlopeT::kSecond) second = hn::LoadU(d, s + i);
    hn::StoreU(
        slope.Add(d, hn::LoadU(d, x + i), hn::LoadU(d, y + i), coefficient, second, hn::Zero(d)), d,
        out + i);
  }
}

// sums[i][j] = or, unless `first`, joined with the sum of f over all lanes of rows i and j.
template <class T, class F, class Join>
HWY_INLINE void ReducePairs(const SlopeTile<T>& tile, T* sums, bool first, const F& add,
                            const Join& join) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < tile.count; ++i) {
    for (size_t j = 0; j < tile.terms; ++j) {
      const T *x = tile.rows + i * lanes, *y = tile.panel + j * lanes;
      auto sum = hn::Zero(d);
      for (size_t v = 0; v < tile.vectors; ++v) {
        sum =
            add(sum, hn::Load(d, x + v * kSlopeMR * lanes), hn::Load(d, y + v * kSumBlock * lanes));
      }
      T& total = sums[i * kSumBlock + j];
      total = join(first ? T(0) : total, sum);
    }
  }
}

template <class T>
void SumsOfSizes(const SlopeTile<T>& tile, T* sums, bool first) {
  ReducePairs(
      tile, sums, first,
      [](auto sum, auto x, auto y) HWY_ATTR { return hn::Add(sum, hn::Abs(hn::Add(x, y))); },
      [](T total, auto sum)
          HWY_ATTR { return total + hn::GetLane(hn::SumOfLanes(hn::ScalableTag<T>(), sum)); });
}

template <class T>
void LargestDifferences(const SlopeTile<T>& tile, T* sums, bool first) {
  ReducePairs(
      tile, sums, first,
      [](auto sum, auto x, auto y) HWY_ATTR { return hn::Max(sum, hn::Abs(hn::Sub(x, y))); },
      [](T total, auto sum) HWY_ATTR {
        return HWY_MAX(total, hn::GetLane(hn::MaxOfLanes(hn::ScalableTag<T>(), sum)));
      });
}

// Whether a factor has lost digits to underflow, or overflowed, or is NaN.
template <class D, class V>
HWY_INLINE auto OutOfRange(D d, V factor) {
  using Limits = std::numeric_limits<hn::TFromD<D>>;
  const V size = hn::Abs(factor);
  return hn::Not(
      hn::And(hn::Ge(size, hn::Set(d, Limits::min())), hn::Le(size, hn::Set(d, Limits::max()))));
}

// c and s of one vector of pairs, and a mask of those that are not trusted.
template <class D, class V>
HWY_INLINE auto CoefficientsOf(D tag, Coefficient which, V g, V d, V sum, V& c, V& s) {
  const V zero = hn::Zero(tag);
  const auto same = hn::Eq(d, zero);
  switch (which) {
    case Coefficient::kLargest:
      c = hn::IfThenZeroElse(same, g);
      s = sum;
      return hn::Not(hn::Eq(d, d));
    case Coefficient::kQuotient:
      c = hn::IfThenZeroElse(same, hn::Div(g, d));
      return hn::AndNot(hn::Or(same, hn::Eq(g, zero)), OutOfRange(tag, c));
    case Coefficient::kInverse:
      c = hn::IfThenZeroElse(same, g);
      s = hn::IfThenZeroElse(same, hn::Div(hn::Set(tag, hn::TFromD<D>(1)), d));
      return hn::AndNot(same, OutOfRange(tag, s));
    case Coefficient::kShares: {
      const V largest = hn::Set(tag, std::numeric_limits<hn::TFromD<D>>::max());
      c = hn::Div(g, sum);
      s = hn::Mul(c, d);
      const auto finite = hn::And(hn::Le(d, largest), hn::Le(sum, largest));
      return hn::Or(hn::Not(finite), hn::AndNot(hn::Eq(g, zero), OutOfRange(tag, c)));
    }
    default:
      c = g;
      s = hn::Mul(g, d);
      return hn::FirstN(tag, 0);
  }
}

// One loop for all kinds: what it calculates is little beside reading g and d.
template <class T>
HWY_NOINLINE bool FindCoefficients(Coefficient which, const PairsOfRows<T>& pairs, size_t n,
                                   T* to_c, T* to_s) {
  const hn::ScalableTag<T> tag;
  const size_t lanes = hn::Lanes(tag);
  // What is not there is read all the same.
  const T* from_d = pairs.d == nullptr ? pairs.g : pairs.d;
  const T* from_sums = pairs.sums == nullptr ? from_d : pairs.sums;
  auto any = hn::FirstN(tag, 0);
  size_t j = 0;
  for (; j + lanes <= n; j += lanes) {
    auto c = hn::Zero(tag), s = hn::Zero(tag);
    const auto doubted =
        CoefficientsOf(tag, which, hn::LoadU(tag, pairs.g + j), hn::LoadU(tag, from_d + j),
                       hn::LoadU(tag, from_sums + j), c, s);
    any = hn::Or(any, doubted);
    hn::StoreU(hn::IfThenZeroElse(doubted, c), tag, to_c + j);
    if (to_s != nullptr) hn::StoreU(hn::IfThenZeroElse(doubted, s), tag, to_s + j);
  }
  bool trusted = hn::AllFalse(tag, any);
  if (j < n) {  // the rest, as a vector filled with 1
    HWY_ALIGN T in[3][hn::MaxLanes(tag)], out[2][hn::MaxLanes(tag)];
    const T* from[3] = {pairs.g, from_d, from_sums};
    for (size_t k = 0; k < 3; ++k) {
      hn::Store(hn::Set(tag, T(1)), tag, in[k]);
      std::memcpy(in[k], from[k] + j, (n - j) * sizeof(T));
    }
    trusted &= FindCoefficients<T>(which, {in[0], in[1], in[2]}, lanes, out[0], out[1]);
    std::memcpy(to_c + j, out[0], (n - j) * sizeof(T));
    if (to_s != nullptr) std::memcpy(to_s + j, out[1], (n - j) * sizeof(T));
  }
  return trusted;
}

template <class T, Coefficient kWhich>
bool Coefficients(const PairsOfRows<T>& pairs, size_t n, T* c, T* s) {
  return FindCoefficients(kWhich, pairs, n, c, s);
}

template <class T, class SlopeT>
constexpr void AddSlope(Slope which, DistanceBackwardKernels<T>& kernels) {
  kernels.accumulate[int(which)] = AccumulateSlopes<T, SlopeT>;
  kernels.slopes[int(which)] = SlopesOfPairs<T, SlopeT>;
}

template <class T>
constexpr DistanceBackwardKernels<T> MakeDistanceBackwardKernels() {
  DistanceBackwardKernels<T> kernels{};
  kernels.mr = kSlopeMR;
  kernels.lanes = HWY_MAX_BYTES / sizeof(T);
  AddSlope<T, DifferenceSlope>(Slope::kDifference, kernels);
  AddSlope<T, ProductSlope>(Slope::kProduct, kernels);
  AddSlope<T, SignSlope>(Slope::kSign, kernels);
  AddSlope<T, LargestSlope>(Slope::kLargest, kernels);
  AddSlope<T, TwoSignsSlope>(Slope::kTwoSigns, kernels);
  AddSlope<T, ShareSlope>(Slope::kShare, kernels);
  AddSlope<T, HalvesPowerSlope>(Slope::kHalvesPower, kernels);
  AddSlope<T, PowerSlope>(Slope::kPower, kernels);
  const auto coefficient = [&](Coefficient which) -> auto& {
    return kernels.coefficients[int(which)];
  };
  coefficient(Coefficient::kGiven) = Coefficients<T, Coefficient::kGiven>;
  coefficient(Coefficient::kLargest) = Coefficients<T, Coefficient::kLargest>;
  coefficient(Coefficient::kQuotient) = Coefficients<T, Coefficient::kQuotient>;
  coefficient(Coefficient::kInverse) = Coefficients<T, Coefficient::kInverse>;
  coefficient(Coefficient::kShares) = Coefficients<T, Coefficient::kShares>;
  kernels.sums_of_sizes = SumsOfSizes<T>;
  kernels.largest_differences = LargestDifferences<T>;
  kernels.transpose = TransposeBlock<T>;
  return kernels;
}

template <class T>
constexpr DistanceBackwardKernels<T> kDistanceBackward = MakeDistanceBackwardKernels<T>();

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_DISTANCE_BACKWARD_INL_H_
