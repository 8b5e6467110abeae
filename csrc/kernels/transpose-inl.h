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
// to[c][r] = from[r][c], in blocks of Lanes(d) rows, of which there are as many, and 16 bytes of
// columns; the last ones overlap those before them.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void TransposeBlocks(D d, const T* from, size_t from_stride, size_t rows, size_t columns,
                                T* to, size_t to_stride) {
  constexpr size_t kSide = 16 / sizeof(T);
  for (size_t row = 0; row < rows; row += hn::Lanes(d)) {
    const size_t r = HWY_MIN(row, rows - hn::Lanes(d));
    for (size_t column = 0; column < columns; column += kSide) {
      const size_t c = HWY_MIN(column, columns - kSide);
      hn::Vec<D> block[kSide];
      for (size_t i = 0; i < kSide; ++i) {
        block[i] = LoadBlocks(d, from + (r + i) * from_stride + c, kSide * from_stride);
      }
      TransposeSquares(d, block);
      for (size_t i = 0; i < kSide; ++i) hn::StoreU(block[i], d, to + (c + i) * to_stride + r);
    }
  }
}

// to[c][r] = from[r][c]
template <class T>
HWY_NOINLINE void TransposeBlock(const T* from, size_t from_stride, size_t rows, size_t columns,
                                 T* to, size_t to_stride) {
  constexpr size_t kSide = 16 / sizeof(T);
  const hn::ScalableTag<T> d;
  if (rows < kSide || columns < kSide) {
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
    }
  } else if (rows < hn::Lanes(d)) {
    TransposeBlocks(hn::FixedTag<T, kSide>(), from, from_stride, rows, columns, to, to_stride);
  } else {
    TransposeBlocks(d, from, from_stride, rows, columns, to, to_stride);
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
  TransposeBlock(from, from_stride, rows, columns, to, hn::Lanes(hn::ScalableTag<T>()));
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
