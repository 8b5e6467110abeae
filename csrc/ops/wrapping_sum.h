// Addition of integers modulo 2^bits, which wraps around as NumPy's does, and of other numbers.
#ifndef LANEWISE_OPS_WRAPPING_SUM_H_
#define LANEWISE_OPS_WRAPPING_SUM_H_

#include <cstdint>
#include <type_traits>

namespace lanewise {

template <class T>
T WrappingSum(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using Bits = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<Bits>(a) + static_cast<Bits>(b));
  } else {
    return a + b;
  }
}

// to[i] += from[i], i < n.
template <class T>
void AddTo(const T* from, int64_t n, T* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = WrappingSum(to[i], from[i]);
}

}  // namespace lanewise

#endif  // LANEWISE_OPS_WRAPPING_SUM_H_
