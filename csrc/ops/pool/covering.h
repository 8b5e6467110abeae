// Which windows cover a pixel, along one axis.
#ifndef LANEWISE_OPS_POOL_COVERING_H_
#define LANEWISE_OPS_POOL_COVERING_H_

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

#include "ops/pool/geometry.h"

namespace lanewise::pool {

// Pixels h whose places u = h + before in the padded image have begin <= u mod stride < end. They
// lie in the windows j + first + k·step, j = u / stride, k < terms, as far as these exist.
struct CoveredRun {
  int64_t begin, end;
  int64_t terms, first;
};

// Window o has its tap t at u = o·stride + t·dilation. So for u = j·stride + p the taps with
// t·dilation = p (mod stride) count: one in stride / gcd, which belong to windows that are
// dilation / gcd apart.
class Covering {
 public:
  explicit Covering(const WindowAxis& axis)
      : axis_(WithoutOverlapOfOne(axis)),
        gcd_(std::gcd(axis_.stride, axis_.dilation)),
        cycle_(axis_.stride / gcd_),
        inverse_(InverseModulo(axis_.dilation / gcd_, cycle_)),
        step(axis_.dilation / gcd_) {
    ForEachRun([&](const CoveredRun& run) {
      gaps = gaps || run.terms == 0;
      if (run.terms == 0) return;
      low = std::min(low, run.first);
      high = std::max(high, run.first + (run.terms - 1) * step);
      most = std::max(most, run.terms);
    });
  }

  const WindowAxis& axis() const { return axis_; }

  // u / stride of the first pixel, and one more than that of the last.
  int64_t begin() const { return axis_.before / axis_.stride; }
  int64_t end() const { return (axis_.before + axis_.in - 1) / axis_.stride + 1; }

  // Calls f for runs that together have each pixel once.
  template <class F>
  void ForEachRun(const F& f) const {
    const int64_t stride = axis_.stride, phases = std::min(stride, axis_.in);
    const int64_t first = phases == stride ? 0 : axis_.before % stride;
    for (int64_t done = 0; done < phases;) {
      CoveredRun run = RunFrom((first + done) % stride);
      run.end = std::min(run.end, run.begin + phases - done);
      f(run);
      done += run.end - run.begin;
    }
  }

 private:
  // A single window overlaps none, whatever the stride.
  static WindowAxis WithoutOverlapOfOne(WindowAxis axis) {
    if (axis.out == 1) axis.stride = axis.dilation * (axis.window - 1) + 1;
    return axis;
  }

  CoveredRun RunFrom(int64_t p) const {
    const int64_t stride = axis_.stride;
    const auto terms_from = [&](int64_t tap) {
      return tap < axis_.window ? (axis_.window - 1 - tap) / cycle_ + 1 : 0;
    };
    if (axis_.dilation == 1) {  // phases up to that of the last tap are in one window more
      const int64_t border = (axis_.window - 1) % stride + 1, terms = terms_from(p);
      return {p, p < border ? border : stride, terms, 1 - terms};
    }
    if (p % gcd_ != 0) return {p, std::min(stride, RoundUp(p, gcd_)), 0, 0};
    const int64_t tap = static_cast<int64_t>(static_cast<__int128>(p / gcd_) * inverse_ % cycle_);
    const int64_t terms = terms_from(tap);
    if (terms == 0) return {p, p + 1, 0, 0};
    return {p, p + 1, terms, (p - tap * axis_.dilation) / stride - (terms - 1) * step};
  }

  // The b < modulus with a·b = 1 (mod modulus), for coprime numbers; 0 for modulus 1.
  static int64_t InverseModulo(int64_t a, int64_t modulus) {
    int64_t r0 = modulus, r1 = a % modulus, t0 = 0, t1 = 1;
    while (r1 > 0) {
      const int64_t quotient = r0 / r1;
      r0 = std::exchange(r1, r0 - quotient * r1);
      t0 = std::exchange(t1, t0 - quotient * t1);
    }
    return t0 < 0 ? t0 + modulus : t0 % modulus;
  }

  WindowAxis axis_;
  int64_t gcd_, cycle_, inverse_;

 public:
  int64_t step;
  int64_t low = 0, high = 0;  // the windows of a pixel lie in [j + low, j + high]
  int64_t most = 0;           // terms of any pixel
  bool gaps = false;          // some pixels are in no window
};

}  // namespace lanewise::pool

#endif  // LANEWISE_OPS_POOL_COVERING_H_
