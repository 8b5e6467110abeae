// Compiles distance_bits-inl.h once per SIMD target.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/distance_bits.cc"
#include "hwy/foreach_target.h"
//
#include "kernels/distance_bits-inl.h"

#if HWY_ONCE
#include "kernels/select.h"

namespace lanewise {

// AVX-512 without VPOPCNTDQ (2017 to 2019) computes with AVX2.
const BitKernels& BitKernelsFor(SimdTarget target) {
#if HWY_ARCH_X86
  if (target == SimdTarget::kAvx512 && !__builtin_cpu_supports("avx512vpopcntdq")) {
    target = SimdTarget::kAvx2;
  }
#endif
  LANEWISE_SELECT(target, kBits)
}

}  // namespace lanewise
#endif
