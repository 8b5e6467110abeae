// Small vector helpers shared by the kernels of all ops. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_VECTOR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_VECTOR_INL_H_
#undef LANEWISE_KERNELS_VECTOR_INL_H_
#else
#define LANEWISE_KERNELS_VECTOR_INL_H_
#endif

#include <cstddef>
#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kVectorRegisters = HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON ? 32 : 16;

// Whether masked loads and stores touch nothing outside the mask: AVX2 has them from 32 bits on.
template <class T>
constexpr bool kFaultFreeMasks = HWY_TARGET == HWY_AVX3 ||
                                 (HWY_TARGET == HWY_AVX2 && sizeof(T) >= 4);

// The first n lanes of memory, `fill` in the others; touches nothing past p[n-1].
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> LoadFirst(D d, const T* HWY_RESTRICT p, size_t n, T fill = T(0)) {
  if constexpr (kFaultFreeMasks<T>) {
    const auto mask = hn::FirstN(d, n);
    return hn::IfThenElse(mask, hn::MaskedLoad(mask, d, p), hn::Set(d, fill));
  } else {
    HWY_ALIGN T lanes[hn::MaxLanes(d)];
    hn::Store(hn::Set(d, fill), d, lanes);
    std::memcpy(lanes, p, n * sizeof(T));
    return hn::Load(d, lanes);
  }
}

// Stores the first n lanes; touches nothing past p[n-1].
template <class D, class V, class T = hn::TFromD<D>>
HWY_INLINE void StoreFirst(V v, D d, T* HWY_RESTRICT p, size_t n) {
  if constexpr (kFaultFreeMasks<T>) {
    hn::BlendedStore(v, hn::FirstN(d, n), d, p);
  } else {
    HWY_ALIGN T lanes[hn::MaxLanes(d)];
    hn::Store(v, d, lanes);
    std::memcpy(p, lanes, n * sizeof(T));
  }
}

// out[i] = f(in[i] as a vector, i) for i < n. The tail goes through the same instructions as the
// body, so a result does not depend on where in a vector it fell.
template <class D, class F, class T = hn::TFromD<D>>
HWY_INLINE void MapVectors(D d, const T* in, size_t n, T* out, const F& f) {
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(f(hn::LoadU(d, in + i), i), d, out + i);
  if (i < n) StoreFirst(f(LoadFirst(d, in + i, n - i), i), d, out + i, n - i);
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_VECTOR_INL_H_
