// The rows of a cross-entropy: their class indices, and sums over them in one fixed order.
#ifndef LANEWISE_OPS_SOFTMAX_LABELS_H_
#define LANEWISE_OPS_SOFTMAX_LABELS_H_

#include <algorithm>
#include <cstdint>
#include <optional>

#include "lanewise/tensor.h"
#include "ops/elements.h"
#include "ops/merged_axes.h"
#include "runtime/parallel.h"

namespace lanewise {

// Sums over rows: those of a block, in 16 partial sums and a tree, and then of blocks in order.
constexpr int64_t kSumRows = 4096;
template <class T>
double SumOfRows(const T* values, int64_t rows);

// Class weights w; all 1 if there are none.
template <class T>
class ClassWeights {
 public:
  explicit ClassWeights(const TensorView* weight)
      : given_(weight != nullptr),
        source_(given_ ? Source<T>(*weight) : Source<T>()),
        stride_(given_ ? weight->strides[0] : 0) {}

  bool given() const { return given_; }
  T At(int64_t c) const {
    if (!given_) return 1;
    if (source_.native()) return source_.InPlace()[c * stride_];
    T value;
    (source_ + c * stride_).Read(1, 1, &value);
    return value;
  }
  // Those of classes [c, c + n).
  void Read(int64_t c, int64_t n, T* to) const {
    if (given_) {
      (source_ + c * stride_).Read(stride_, n, to);
    } else {
      std::fill_n(to, n, T(1));
    }
  }

 private:
  bool given_;
  Source<T> source_;
  int64_t stride_;
};

// Class indices in the order of the target's axes.
class Labels {
 public:
  static constexpr int64_t kIgnored = -1;

  Labels() = default;
  Labels(const TensorView& target, int64_t classes, std::optional<int64_t> ignore_index);

  // How many are not ignored, and Σ w over these.
  struct Tally {
    int64_t counted = 0;
    double weight = 0;
  };
  // Throws std::out_of_range for the first label that is neither a class nor ignored.
  template <class T>
  Tally Check(const ClassWeights<T>& weights) const;

  bool ignores() const { return ignores_; }
  // Labels [begin, end), kIgnored where they are; all must have been checked.
  void Read(int64_t begin, int64_t end, int64_t* to) const;

 private:
  struct BlockTally {
    int64_t first_bad;  // -1 if there is none
    Tally tally;
  };
  template <class T>
  BlockTally CheckBlock(int64_t begin, int64_t end, const ClassWeights<T>& weights,
                        Scratch scratch) const;
  [[noreturn]] void FailAt(int64_t row) const;
  void ReadBits(int64_t begin, int64_t end, int64_t* to) const;
  bool Ignores(int64_t bits) const { return ignores_ && bits == ignore_index_; }

  TensorView target_;
  int64_t classes_ = 0;
  bool ignores_ = false;
  int64_t ignore_index_ = 0;
  MergedAxes<1> rows_;
  Source<int64_t> source_;
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_SOFTMAX_LABELS_H_
