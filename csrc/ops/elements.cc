#include "ops/elements.h"

namespace lanewise::detail {
namespace {

// `f(U())` with U unsigned of `size` bytes.
template <class F>
void DispatchSize(int64_t size, const F& f) {
  switch (size) {
    case 1:
      return f(uint8_t());
    case 2:
      return f(uint16_t());
    case 4:
      return f(uint32_t());
    default:
      return f(uint64_t());
  }
}

}  // namespace

void GatherBytes(const std::byte* from, int64_t stride, int64_t n, int64_t size, std::byte* to) {
  DispatchSize(size, [&](auto unit) {
    using U = decltype(unit);
    Gather(reinterpret_cast<const U*>(from), stride, n, reinterpret_cast<U*>(to));
  });
}

void ScatterBytes(const std::byte* from, int64_t n, int64_t size, std::byte* to, int64_t stride) {
  DispatchSize(size, [&](auto unit) {
    using U = decltype(unit);
    Scatter(reinterpret_cast<const U*>(from), n, reinterpret_cast<U*>(to), stride);
  });
}

}  // namespace lanewise::detail
