// From totals to results in memory.
#ifndef LANEWISE_OPS_DISTANCE_FINISH_H_
#define LANEWISE_OPS_DISTANCE_FINISH_H_

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/kernels.h"
#include "ops/distance/exact.h"
#include "ops/distance/metric.h"
#include "ops/distance/rows.h"
#include "ops/elements.h"
#include "runtime/dtype.h"

namespace lanewise::distance {

// Where results go: sums of type T, rounded where the memory's type is narrower.
template <class T>
class Results {
 public:
  explicit Results(const TensorView& out) : narrowed_(DTypeOf<T>::value != ComputeType(out.dtype)) {
    if (narrowed_) {
      through_float_ = Sink<float>(out);
    } else {
      sink_ = Sink<T>(out);
    }
  }

  // Null unless memory holds T itself.
  T* InPlace(int64_t offset) const {
    return narrowed_ || !sink_.native() ? nullptr : sink_.InPlace() + offset;
  }
  // Element offset + i·stride = from[i], i < n.
  void Write(const T* from, int64_t n, int64_t offset, int64_t stride) const {
    if (!narrowed_) return (sink_ + offset).Write(from, n, stride);
    float rounded[kChunk];
    for (int64_t i = 0; i < n; i += kChunk) {
      const int64_t count = std::min(kChunk, n - i);
      std::transform(from + i, from + i + count, rounded,
                     [](T value) { return static_cast<float>(value); });
      (through_float_ + (offset + i * stride)).Write(rounded, count, stride);
    }
  }

 private:
  const bool narrowed_;  // computed in float64 for float32 and below
  Sink<T> sink_;
  Sink<float> through_float_;
};

template <class T>
class Finisher {
 public:
  Finisher(const DistanceKernels<T>& kernels, const Recipe& recipe, int64_t d)
      : finish_(kernels.finish[static_cast<int>(recipe.finish)]),
        flush_(kernels.flush),
        recipe_(recipe),
        nr_(kernels.nr),
        d_(d),
        smallest_(SmallestTrusted(recipe, d)) {}

  // Totals with all filled in that is the same for every tile.
  DistanceTotals<T> Totals() const {
    DistanceTotals<T> totals{};
    totals.smallest = smallest_;
    totals.d = static_cast<double>(d_);
    totals.p = recipe_.p;
    return totals;
  }

  // The results of a tile; rows(i, j) is the pair of rows whose distance result (i, j) is.
  template <class RowsOf>
  void operator()(const DistanceTotals<T>& tile, T* out, int64_t out_stride,
                  const RowsOf& rows) const {
    if (finish_(tile, out, out_stride)) return;
    // A centred row is scaled, so its norm can be nothing but right, or 0 and the distance NaN.
    if (recipe_.form == Form::kCentred) return;
    if (tile.stream) flush_();
    Redo(tile, out, out_stride, rows);
  }

 private:
  // Below this a total may have lost digits: each of d terms and additions is off by up to half the
  // smallest subnormal, which stays below eps/4 of sums from 4·d·(smallest normal) up. A power is a
  // chain of products, whose underflow can cost the whole smallest normal, 2/eps times as much.
  static T SmallestTrusted(const Recipe& recipe, int64_t d) {
    const T smallest = static_cast<T>(4 * d) * std::numeric_limits<T>::min();
    const T chain = recipe.finish == Finish::kRoot ? 2 / std::numeric_limits<T>::epsilon() : T(1);
    return smallest * chain;
  }

  // Whether a result meets the condition that Finish states, as the kernel tests it.
  bool IsTrusted(const DistanceTotals<T>& tile, int64_t i, int64_t j) const {
    const T largest = std::numeric_limits<T>::max();
    const auto in_range = [&](T value) { return !(value < smallest_ || value > largest); };
    const T total = tile.totals[i * nr_ + j];
    switch (recipe_.finish) {
      case Finish::kSqrt:
      case Finish::kRoot:
        return in_range(total);
      case Finish::kQuotient:
        return !(total > largest || tile.second[i * nr_ + j] > largest);
      default: {
        const T x_norm = tile.x_norms[tile.pairs ? j : i], y_norm = tile.y_norms[j];
        if (recipe_.finish == Finish::kCopySafe) return !(x_norm > largest || y_norm > largest);
        return in_range(x_norm) && in_range(y_norm) && in_range(x_norm * y_norm);
      }
    }
  }

  // Whether a total of differences is 0 because the rows are the same, and not by underflow.
  bool AreSame(T total, const Row<T>& x, const Row<T>& y) const {
    const bool differences = recipe_.finish == Finish::kSqrt || recipe_.finish == Finish::kRoot;
    if (!differences || total != 0 || x.stride != y.stride) return false;
    if (!x.source.native() || !y.source.native()) return false;
    const T *a = x.source.InPlace(), *b = y.source.InPlace();
    const size_t bytes = static_cast<size_t>(d_) * sizeof(T);
    return a == b || (x.stride == 1 && std::memcmp(a, b, bytes) == 0);
  }

  // Computes again, one at a time, the results that the kernel doubts.
  template <class RowsOf>
  void Redo(const DistanceTotals<T>& tile, T* out, int64_t out_stride, const RowsOf& rows) const {
    for (int64_t i = 0; i < static_cast<int64_t>(tile.rows); ++i) {
      for (int64_t j = 0; j < static_cast<int64_t>(tile.n); ++j) {
        if (IsTrusted(tile, i, j)) continue;
        const auto [x, y] = rows(i, j);
        out[i * out_stride + j] =
            AreSame(tile.totals[i * nr_ + j], x, y) ? T(0) : ExactDistance(recipe_, x, y, d_);
      }
    }
  }

  using Kernel = bool (*)(const DistanceTotals<T>& tile, T* out, int64_t out_stride);
  const Kernel finish_;
  void (*const flush_)();
  const Recipe& recipe_;
  const int64_t nr_, d_;
  const T smallest_;
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_FINISH_H_
