/// @file
/// The loss of a classifier, and its gradient, from logits or from probabilities.
///
/// With w the class weights, e the label smoothing and t the target, which for a class index is 1
/// at that class and 0 elsewhere, the loss of a row of C classes is
///
///     q_c  = w_c·((1 - e)·t_c + e/C)
///     loss = Σ_c q_c·(log Σ exp(x) - x_c)      gradient  softmax(x)_c·Σ q - q_c
///     loss = Σ_c -q_c·log x_c                  gradient  -q_c/x_c         from probabilities
///
/// where a class of q_c = 0 adds nothing. The logarithm of the sum is taken as LogSoftmax does it:
/// the loss of a row that is nearly certain, and right, keeps its digits, and so does its gradient
/// for a class index without smoothing.
///
/// - **Element types.** `loss` and `gradient` have the same floating-point type, which says what is
///   computed, as for softmax; logits, targets that are probabilities, and weights may have any
///   type that NumPy calls safe to cast to what is computed in.
/// - **Order of sums.** Over classes as in softmax. Over rows in float64: rows, in the order of the
///   target's own axes, go in blocks of 4096; in a block row i goes to partial sum i mod 16, these
///   are added up in a fixed tree, and blocks in order. So nothing depends on strides or threads.
/// - **Aliasing.** `loss` and `gradient` must not overlap each other nor an input.
/// - **Allocation.** Scratch of about twice L2 per thread at most, and up to 512 KB for losses; no
///   argument is copied whole.
/// - **Threads.** Thread-safe; the work is shared among up to GetNumThreads() threads.
#ifndef LANEWISE_CROSS_ENTROPY_H_
#define LANEWISE_CROSS_ENTROPY_H_

#include <cstdint>
#include <optional>

#include "lanewise/error.h"
#include "lanewise/softmax.h"
#include "lanewise/tensor.h"

namespace lanewise {

/// What becomes of the losses of rows.
enum class Reduction : uint8_t {
  kNone,  ///< they stay
  kSum,   ///< their sum
  kMean,  ///< for class indices their sum over Σ w of the classes met; else over their number
};

/// Every default is the plain one.
struct CrossEntropyOptions {
  Axes axes = {-1};                        ///< of the classes; exactly one for class indices
  const TensorView* weight = nullptr;      ///< (C,), or null: all 1
  std::optional<int64_t> ignore_index;     ///< rows of this label count nothing
  double label_smoothing = 0;              ///< e, from 0 to 1
  Reduction reduction = Reduction::kMean;  ///< of the rows' losses
  bool from_probs = false;                 ///< x are probabilities
};

/// (), or without a reduction x's shape without the axes.
Shape CrossEntropyShape(const Shape& x, const CrossEntropyOptions& options);

/// The loss and, if `gradient` is not null, its derivatives by x; without a reduction those of the
/// sum. A NaN, a +inf, or nothing but -inf among a row's logits makes its loss and gradient NaN. A
/// row that is ignored has loss 0 and gradient 0, whatever it holds. The mean of no rows is NaN.
///
/// @param x         logits or probabilities.
/// @param target    integers: class indices, of x's shape without the axis. Floating-point numbers:
///                  probabilities, of x's shape.
/// @param options   `ignore_index` is for class indices, and compared with all 64 bits of a label.
/// @param loss      of CrossEntropyShape.
/// @param gradient  null, or of x's shape.
///
/// Throws, before anything is written, std::out_of_range for a label that is no class,
/// std::invalid_argument for shapes and options, DTypeError for element types.
void CrossEntropy(const TensorView& x, const TensorView& target, const CrossEntropyOptions& options,
                  const TensorView& loss, const TensorView* gradient);

}  // namespace lanewise

#endif  // LANEWISE_CROSS_ENTROPY_H_
