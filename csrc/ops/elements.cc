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

namespace lanewise {

template <class C>
void Source<C>::ReadPairs(int64_t stride, int64_t n, C* to) const {
  if (single_) {
    Unpaired().Read(stride, n, to);
    for (int64_t i = 0; i < n; ++i) to[i] &= 0xFFFF;
    return;
  }
  const std::byte* const upper = data_ + distance_ * size_;
  if (stride == 1) return pair_kernels_->zip(data_, upper, 1, n, 0, to);
  if (stride == 2 && distance_ == 1) return pair_kernels_->neighbours(data_, n, to);
  constexpr int64_t kChunk = detail::kConvertChunk;
  std::byte chunk[2 * kChunk];  // elements of 8 bits
  for (int64_t i = 0; i < n; i += kChunk) {
    const int64_t count = std::min(kChunk, n - i), offset = i * stride;
    detail::GatherBytes(data_ + offset, stride, count, 1, chunk);
    detail::GatherBytes(upper + offset, stride, count, 1, chunk + kChunk);
    pair_kernels_->zip(chunk, chunk + kChunk, 1, count, 0, to + i);
  }
}

template <class C>
void Source<C>::ReadRuns(int64_t step, int64_t runs, int64_t n, C* to) const {
  if (n == 1) return ReadPairs(step, runs, to);
  pair_kernels_->zip(data_, data_ + distance_ * size_, runs, n, step, to);
}

template void Source<int32_t>::ReadPairs(int64_t, int64_t, int32_t*) const;
template void Source<int32_t>::ReadRuns(int64_t, int64_t, int64_t, int32_t*) const;

}  // namespace lanewise
