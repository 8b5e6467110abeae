// The Jacobian of softmax: as many writes as a store can do, C of them per element read.
//
//   task      a range of rows (position, i) of all matrices
//     matrix    the rows of one position
//       chunk     as many columns as scratch holds; y is read in place where it can be
#include <algorithm>

#include "kernels/kernels.h"
#include "lanewise/softmax.h"
#include "ops/elements.h"
#include "ops/softmax/axes.h"
#include "ops/strided.h"
#include "runtime/cpu.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr const char* kName = "softmax_jacobian";

template <class T>
class Matrices {
 public:
  Matrices(const TensorView& y, const ReducedAxes& reduced, const TensorView& out)
      : n_(reduced.length()),
        chunk_(std::min<int64_t>(n_, Caches().l1 / 4 / sizeof(T))),
        y_(y),
        along_(AlongOf(y, reduced)),
        out_(out),
        row_stride_(out.strides[out.rank - 2]),
        column_stride_(out.strides[out.rank - 1]),
        kernel_(SoftmaxKernelsFor<T>(ActiveTarget()).jacobian) {
    const TensorView corners = AtPositions(out, y, reduced, false);
    positions_ = PositionsOf({&corners, &y}, reduced);
  }

  void Run() const {
    // 0.25 ns per float32: the time of a store to memory.
    const double total_ns = double(Rows()) * double(n_) * 0.25 * sizeof(T) / sizeof(float);
    // Tasks of 64 Ki elements, and of rows enough to make up for reading y.
    const Split tasks(Rows(), 1, std::max<int64_t>(16, (int64_t{1} << 16) / n_));
    const Work work{tasks.count, total_ns, 3 * Scratch::Bytes<T>(chunk_)};
    ParallelFor(work, [&](int64_t task, Scratch scratch) {
      int64_t row = tasks.begin(task);
      while (row < tasks.end(task)) {
        const int64_t i = row % n_, count = std::min(n_ - i, tasks.end(task) - row);
        Block(row / n_, i, count, scratch);
        row += count;
      }
    });
  }

 private:
  int64_t Rows() const { return positions_.count() * n_; }

  // Rows [i, i + count) of one matrix.
  void Block(int64_t position, int64_t i, int64_t count, Scratch scratch) const {
    const Positions::Offsets at = positions_.OffsetsOf(position);
    T* const columns = scratch.Take<T>(chunk_);
    T* const rows = scratch.Take<T>(chunk_);
    T* const results = scratch.Take<T>(chunk_);
    for (int64_t j = 0; j < n_; j += chunk_) {
      const int64_t n = std::min(chunk_, n_ - j);
      const T* y_j = Read(at[kA], j, n, columns);
      for (int64_t r = i; r < i + count; r += chunk_) {
        const int64_t height = std::min(chunk_, i + count - r);
        const T* y_i = n == n_ ? y_j + r : Read(at[kA], r, height, rows);
        const Sink<T> corner = out_ + (at[kOut] + r * row_stride_ + j * column_stride_);
        if (corner.native() && column_stride_ == 1) {
          kernel_(y_i, height, y_j, n, r - j, corner.InPlace(), row_stride_);
          continue;
        }
        for (int64_t k = 0; k < height; ++k) {
          kernel_(y_i + k, 1, y_j, n, r + k - j, results, 0);
          (corner + k * row_stride_).Write(results, n, column_stride_);
        }
      }
    }
  }

  // Elements [i, i + n) along the axes at a position, in place or in `to`.
  const T* Read(int64_t offset, int64_t i, int64_t n, T* to) const {
    if (y_.native() && along_.single() && (along_.inner_stride(0) == 1 || n_ == 1)) {
      return y_.InPlace() + offset + i;
    }
    T* next = to;
    along_.ForEachRun(i, i + n, [&](int64_t length, const Along::Offsets& run) {
      (y_ + (offset + run[0])).Read(along_.inner_stride(0), length, next);
      next += length;
    });
    return to;
  }

  const int64_t n_, chunk_;
  const Source<T> y_;
  const Along along_;
  const Sink<T> out_;
  const int64_t row_stride_, column_stride_;
  void (*const kernel_)(const T*, size_t, const T*, size_t, ptrdiff_t, T*, ptrdiff_t);
  Positions positions_;
};

}  // namespace

Shape SoftmaxJacobianShape(const Shape& y, const Axes& axes) {
  const ReducedAxes reduced(kName, y, axes);
  const int64_t n = reduced.length();
  CheckedProduct(kName, CheckedProduct(kName, n, n), reduced.positions());
  Shape shape;
  for (int a = 0; a < static_cast<int>(y.size()); ++a) {
    if (!reduced.contains(a)) shape.push_back(y[a]);
  }
  shape.insert(shape.end(), 2, n);
  return shape;
}

void SoftmaxJacobian(const TensorView& y, const Axes& axes, const TensorView& out) {
  CheckView(kName, "out", out, out.dtype, SoftmaxJacobianShape(y.sizes(), axes));
  CheckComputable(kName, out, "y", y);
  const ReducedAxes reduced(kName, y.sizes(), axes);
  if (reduced.length() == 0 || reduced.positions() == 0) return;
  DispatchFloat(out.dtype, [&](auto zero) { Matrices<decltype(zero)>(y, reduced, out).Run(); });
}

}  // namespace lanewise
