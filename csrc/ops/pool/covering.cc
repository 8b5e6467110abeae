#include "ops/pool/covering.h"

#include <numeric>
#include <utility>

namespace lanewise::pool {
namespace {

// A single window overlaps none, whatever the stride.
WindowAxis WithoutOverlapOfOne(WindowAxis axis) {
  if (axis.out == 1) axis.stride = axis.dilation * (axis.window - 1) + 1;
  return axis;
}

// The b < modulus with a·b = 1 (mod modulus), for coprime numbers; 0 for modulus 1.
int64_t InverseModulo(int64_t a, int64_t modulus) {
  int64_t r0 = modulus, r1 = a % modulus, t0 = 0, t1 = 1;
  while (r1 > 0) {
    const int64_t quotient = r0 / r1;
    r0 = std::exchange(r1, r0 - quotient * r1);
    t0 = std::exchange(t1, t0 - quotient * t1);
  }
  return t0 < 0 ? t0 + modulus : t0 % modulus;
}

}  // namespace

Covering::Covering(const WindowAxis& axis)
    : axis_(WithoutOverlapOfOne(axis)),
      gcd_(std::gcd(axis_.stride, axis_.dilation)),
      cycle_(axis_.stride / gcd_),
      inverse_(InverseModulo(axis_.dilation / gcd_, cycle_)),
      step(axis_.dilation / gcd_) {
  ForEachRun([&](const CoveredRun& run) {
    if (run.terms == 0) return;
    low = std::min(low, run.first);
    high = std::max(high, run.first + (run.terms - 1) * step);
    most = std::max(most, run.terms);
  });
}

CoveredRun Covering::RunFrom(int64_t phase) const {
  const int64_t stride = axis_.stride;
  const auto terms_from = [&](int64_t tap) {
    return tap < axis_.window ? (axis_.window - 1 - tap) / cycle_ + 1 : 0;
  };
  if (axis_.dilation == 1) {  // phases up to that of the last tap are in one window more
    const int64_t border = (axis_.window - 1) % stride + 1, terms = terms_from(phase);
    return Clipped({phase, phase < border ? border : stride, terms, 1 - terms});
  }
  if (phase % gcd_ != 0) return {phase, std::min(stride, RoundUp(phase, gcd_)), 0, 0};
  const int64_t tap = static_cast<int64_t>(static_cast<__int128>(phase / gcd_) * inverse_ % cycle_);
  const int64_t terms = terms_from(tap);
  if (terms == 0) return {phase, phase + 1, 0, 0};
  const int64_t last = (phase - tap * axis_.dilation) / stride;
  return Clipped({phase, phase + 1, terms, last - (terms - 1) * step});
}

CoveredRun Covering::Clipped(CoveredRun run) const {
  const int64_t lowest = end() - 1 + run.first;  // of the first term
  const int64_t highest = begin() + run.first + (run.terms - 1) * step - (axis_.out - 1);
  const int64_t before = lowest < 0 ? CeilDiv(-lowest, step) : 0;
  const int64_t after = highest > 0 ? CeilDiv(highest, step) : 0;
  run.first += before * step;
  run.terms = std::max<int64_t>(0, run.terms - before - after);
  return run;
}

}  // namespace lanewise::pool
