// The matrix that the distances of all pairs go to.
#ifndef LANEWISE_OPS_DISTANCE_OUT_H_
#define LANEWISE_OPS_DISTANCE_OUT_H_

#include <cstdint>

#include "lanewise/tensor.h"
#include "ops/distance/finish.h"
#include "ops/stream.h"

namespace lanewise::distance {

// One matrix of a view's last two axes.
template <class T>
class Out {
 public:
  // The first of those in `out`, which have `count` elements together, in tiles of nr columns.
  Out(const Results<T>& results, const TensorView& out, int64_t nr, int64_t count)
      : results_(results),
        row_stride_(out.strides[out.rank - 2]),
        column_stride_(out.strides[out.rank - 1]) {
    const int64_t line = 64 / int64_t{sizeof(T)};
    streams_ = nr % line == 0 && row_stride_ % line == 0 && results.InPlace(0) != nullptr &&
               StreamsPay(out.data, count * int64_t{sizeof(T)});
  }

  // The one that begins so many elements further.
  Out operator+(int64_t elements) const {
    Out moved = *this;
    moved.offset_ += elements;
    return moved;
  }

  int64_t row_stride() const { return row_stride_; }
  // Whether results go past the caches where whole lines are written, as they are to `to`.
  bool streams() const { return streams_; }
  bool Streams(const T* to) const { return streams_ && reinterpret_cast<uintptr_t>(to) % 64 == 0; }

  // Null unless neighbours of a row are results of type T side by side.
  T* InPlace(int64_t row, int64_t column) const {
    return column_stride_ == 1 ? results_.InPlace(OffsetOf(row, column)) : nullptr;
  }
  // Rows from row, of columns from column, out of [rows][from_stride].
  void Write(const T* from, int64_t from_stride, int64_t row, int64_t rows, int64_t column,
             int64_t columns) const {
    for (int64_t i = 0; i < rows; ++i) {
      results_.Write(from + i * from_stride, columns, OffsetOf(row + i, column), column_stride_);
    }
  }

 private:
  int64_t OffsetOf(int64_t row, int64_t column) const {
    return offset_ + row * row_stride_ + column * column_stride_;
  }

  const Results<T>& results_;
  int64_t offset_ = 0, row_stride_, column_stride_;
  bool streams_;
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_OUT_H_
