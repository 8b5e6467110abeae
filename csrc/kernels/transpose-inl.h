// Copying and transposing small blocks. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_TRANSPOSE_INL_H_
#undef LANEWISE_KERNELS_TRANSPOSE_INL_H_
#else
#define LANEWISE_KERNELS_TRANSPOSE_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "hwy/highway.h"
#include "kernels/vector-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The transpose of a square of 16-byte rows.
template <class T>
HWY_INLINE void TransposeSquare(const T* from, size_t from_stride, T* to, size_t to_stride) {
  const hn::FixedTag<T, 16 / sizeof(T)> d;
  const auto r0 = hn::LoadU(d, from), r1 = hn::LoadU(d, from + from_stride);
  if constexpr (sizeof(T) == 8) {
    hn::StoreU(hn::InterleaveLower(d, r0, r1), d, to);
    hn::StoreU(hn::InterleaveUpper(d, r0, r1), d, to + to_stride);
  } else {
    const hn::FixedTag<double, 2> pairs;
    const auto r2 = hn::LoadU(d, from + 2 * from_stride), r3 = hn::LoadU(d, from + 3 * from_stride);
    const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1));
    const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
    const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
    const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, to);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, to + to_stride);
    hn::StoreU(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, to + 2 * to_stride);
    hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, to + 3 * to_stride);
  }
}

// to[r][c] = from[r][c]; the last vector of a row overlaps the one before.
template <class T>
void CopyBlock(const T* from, size_t from_stride, size_t rows, size_t columns, T* to,
               size_t to_stride) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  for (size_t r = 0; r < rows; ++r, from += from_stride, to += to_stride) {
    if (columns < lanes) {
      if constexpr (kFaultFreeMasks<T>) {
        StoreFirst(LoadFirst(d, from, columns), d, to, columns);
      } else {
        for (size_t c = 0; c < columns; ++c) to[c] = from[c];
      }
      continue;
    }
    size_t c = 0;
    for (; c + lanes < columns; c += lanes) hn::StoreU(hn::LoadU(d, from + c), d, to + c);
    c = columns - lanes;
    hn::StoreU(hn::LoadU(d, from + c), d, to + c);
  }
}

// to[c][r] = from[r][c], in squares; the last ones overlap those before them.
template <class T>
void TransposeBlock(const T* from, size_t from_stride, size_t rows, size_t columns, T* to,
                    size_t to_stride) {
  constexpr size_t kSide = 16 / sizeof(T);
  if (rows < kSide || columns < kSide) {
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
    }
    return;
  }
  for (size_t row = 0; row < rows; row += kSide) {
    const size_t r = std::min(row, rows - kSide);
    for (size_t column = 0; column < columns; column += kSide) {
      const size_t c = std::min(column, columns - kSide);
      TransposeSquare(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
    }
  }
}

// to[p·to_step + i] = from[i·kStride + p] for i < n, of which whole vectors only; returns how many.
template <size_t kStride, class T>
size_t SplitVectors(const T* from, size_t phases, size_t n, T* to, size_t to_step) {
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes, from += kStride * lanes) {
    hn::Vec<decltype(d)> v[4];
    if constexpr (kStride == 2) hn::LoadInterleaved2(d, from, v[0], v[1]);
    if constexpr (kStride == 3) hn::LoadInterleaved3(d, from, v[0], v[1], v[2]);
    if constexpr (kStride == 4) hn::LoadInterleaved4(d, from, v[0], v[1], v[2], v[3]);
    for (size_t p = 0; p < phases; ++p) hn::StoreU(v[p], d, to + p * to_step + i);
  }
  return i;
}

// to[p·to_step + i] = from[i·stride + p] for i < n and p < phases <= stride; reads n·stride
// elements.
template <class T>
void SplitPhases(const T* from, size_t stride, size_t phases, size_t n, T* to, size_t to_step) {
  size_t i = 0;
  if (stride == 2) i = SplitVectors<2>(from, phases, n, to, to_step);
  if (stride == 3) i = SplitVectors<3>(from, phases, n, to, to_step);
  if (stride == 4) i = SplitVectors<4>(from, phases, n, to, to_step);
  if (stride > 4) return TransposeBlock(from, stride, n, phases, to, to_step);
  for (; i < n; ++i) {
    for (size_t p = 0; p < phases; ++p) to[p * to_step + i] = from[i * stride + p];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_TRANSPOSE_INL_H_
