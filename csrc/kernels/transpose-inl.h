// Transposing small blocks. Included once per SIMD target.
#if defined(LANEWISE_KERNELS_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANEWISE_KERNELS_TRANSPOSE_INL_H_
#undef LANEWISE_KERNELS_TRANSPOSE_INL_H_
#else
#define LANEWISE_KERNELS_TRANSPOSE_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace lanewise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The transpose of a square of 16-byte rows, and of each such square of a row of them.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void TransposeSquares(D d, hn::Vec<D> (&rows)[16 / sizeof(T)]) {
  if constexpr (sizeof(T) == 8) {
    const auto r0 = rows[0];
    rows[0] = hn::InterleaveLower(d, r0, rows[1]);
    rows[1] = hn::InterleaveUpper(d, r0, rows[1]);
  } else {
    const hn::Repartition<double, D> pairs;
    const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, rows[0], rows[1]));
    const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, rows[2], rows[3]));
    const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, rows[0], rows[1]));
    const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, rows[2], rows[3]));
    rows[0] = hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23));
    rows[1] = hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23));
    rows[2] = hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23));
    rows[3] = hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23));
  }
}

template <class T>
HWY_INLINE void TransposeSquare(const T* from, size_t from_stride, T* to, size_t to_stride) {
  constexpr size_t kSide = 16 / sizeof(T);
  const hn::FixedTag<T, kSide> d;
  hn::Vec<decltype(d)> rows[kSide];
  for (size_t i = 0; i < kSide; ++i) rows[i] = hn::LoadU(d, from + i * from_stride);
  TransposeSquares(d, rows);
  for (size_t i = 0; i < kSide; ++i) hn::StoreU(rows[i], d, to + i * to_stride);
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

// The vector of the 16-byte blocks at p, p + stride, …
template <class D, class T = hn::TFromD<D>>
HWY_INLINE hn::Vec<D> LoadBlocks(D d, const T* p, size_t stride) {
  if constexpr (hn::MaxLanes(d) * sizeof(T) == 16) {
    return hn::LoadU(d, p);
  } else {
    const hn::Half<D> half;
    return hn::Combine(d,
                       LoadBlocks(half, p + hn::MaxLanes(half) * sizeof(T) / 16 * stride, stride),
                       LoadBlocks(half, p, stride));
  }
}
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void StoreBlocks(D d, hn::Vec<D> v, T* p, size_t stride) {
  if constexpr (hn::MaxLanes(d) * sizeof(T) == 16) {
    hn::StoreU(v, d, p);
  } else {
    const hn::Half<D> half;
    StoreBlocks(half, hn::LowerHalf(half, v), p, stride);
    StoreBlocks(half, hn::UpperHalf(half, v), p + hn::MaxLanes(half) * sizeof(T) / 16 * stride,
                stride);
  }
}

// to[c·lanes + r] = from[r][c] for r < rows <= lanes, c < columns: columns as vectors.
template <class T>
void RowsToVectors(const T* from, size_t from_stride, size_t rows, size_t columns, T* to) {
  constexpr size_t kSide = 16 / sizeof(T);
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  if (rows < lanes || columns < kSide) {
    return TransposeBlock(from, from_stride, rows, columns, to, lanes);
  }
  for (size_t column = 0; column < columns; column += kSide) {
    const size_t c = HWY_MIN(column, columns - kSide);
    hn::Vec<decltype(d)> block[kSide];
    for (size_t i = 0; i < kSide; ++i) {
      block[i] = LoadBlocks(d, from + i * from_stride + c, kSide * from_stride);
    }
    TransposeSquares(d, block);
    for (size_t i = 0; i < kSide; ++i) hn::StoreU(block[i], d, to + (c + i) * lanes);
  }
}

// to[r][c] = from[c·lanes + r] for r < rows <= lanes, c < columns: back again.
template <class T>
void VectorsToRows(const T* from, size_t rows, size_t columns, T* to, size_t to_stride) {
  constexpr size_t kSide = 16 / sizeof(T);
  const hn::ScalableTag<T> d;
  const size_t lanes = hn::Lanes(d);
  if (rows < lanes || columns < kSide) {
    return TransposeBlock(from, lanes, columns, rows, to, to_stride);
  }
  for (size_t column = 0; column < columns; column += kSide) {
    const size_t c = HWY_MIN(column, columns - kSide);
    hn::Vec<decltype(d)> block[kSide];
    for (size_t i = 0; i < kSide; ++i) block[i] = hn::LoadU(d, from + (c + i) * lanes);
    TransposeSquares(d, block);
    for (size_t i = 0; i < kSide; ++i) {
      StoreBlocks(d, block[i], to + i * to_stride + c, kSide * to_stride);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lanewise
HWY_AFTER_NAMESPACE();

#endif  // LANEWISE_KERNELS_TRANSPOSE_INL_H_
