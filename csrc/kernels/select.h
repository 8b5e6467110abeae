// Picks a per-target object: inside #if HWY_ONCE of a kernels/*.cc,
//   const X& XFor(SimdTarget target) { LANEWISE_SELECT(target, kX); }
// returns N_AVX2::kX and so on. Only targets that were compiled have a case.
#ifndef LANEWISE_KERNELS_SELECT_H_
#define LANEWISE_KERNELS_SELECT_H_

#include "hwy/highway.h"
#include "runtime/target.h"

#if HWY_TARGETS & HWY_AVX3
#define LANEWISE_CASE_AVX512(...) \
  case SimdTarget::kAvx512:       \
    return N_AVX3::__VA_ARGS__;
#else
#define LANEWISE_CASE_AVX512(...)
#endif
#if HWY_TARGETS & HWY_AVX2
#define LANEWISE_CASE_AVX2(...) \
  case SimdTarget::kAvx2:       \
    return N_AVX2::__VA_ARGS__;
#else
#define LANEWISE_CASE_AVX2(...)
#endif

// The last target compiled, whose namespace HWY_NAMESPACE is here, is the baseline.
#define LANEWISE_SELECT(target, ...)     \
  switch (target) {                      \
    LANEWISE_CASE_AVX512(__VA_ARGS__)    \
    LANEWISE_CASE_AVX2(__VA_ARGS__)      \
    default:                             \
      return HWY_NAMESPACE::__VA_ARGS__; \
  }

namespace lanewise {

// The target of kernels that multiply pairs of int16: AVX-512 without VNNI (2017 to 2019) computes
// with AVX2.
inline SimdTarget PairTarget(SimdTarget target) {
#if HWY_ARCH_X86
  if (target == SimdTarget::kAvx512 && !__builtin_cpu_supports("avx512vnni")) {
    return SimdTarget::kAvx2;
  }
#endif
  return target;
}

}  // namespace lanewise

#endif  // LANEWISE_KERNELS_SELECT_H_
