// The gradient of distances by one of their operands: for each of its rows a sum over rows of the
// other. Which is x and which is y makes no difference, as distances are symmetric: here x is the
// operand that the gradient is by.
//
//   unit      a block of rows × a range of their coordinates, of one matrix of the batch
//     terms   64 rows of y: a panel [vector][64][lanes], and coefficients [row][64] from g and d
//       tile  the kernel: MR rows × one vector of sums in registers, for each vector
//
// A row's terms are the rows of y that meet it, in the order of the axes: those leading axes along
// which x is broadcast, and then y's own rows. Sums run in blocks of 64 terms, which are then added
// up in order.
#ifndef LANEWISE_OPS_DISTANCE_GRADIENT_H_
#define LANEWISE_OPS_DISTANCE_GRADIENT_H_

#include "kernels/kernels.h"
#include "ops/distance/finish.h"
#include "ops/distance/slope.h"
#include "ops/elements.h"
#include "ops/merged_axes.h"
#include "ops/strided.h"
#include "runtime/parallel.h"

namespace lanewise::distance {

// How the arrays are walked. Offsets and strides are in elements.
struct Walk {
  const TensorView &x, &y, &grad, &d, &out;
  MergedAxes<5> batch{};  // of x, y, grad, d and out
  MergedAxes<3> terms{};  // of y, grad and d
  int64_t rows = 1, x_row = 0, grad_row = 0, d_row = 0, out_row = 0;

  int64_t coordinates() const { return x.shape[x.rank - 1]; }
  bool empty() const { return batch.count() == 0 || rows == 0 || coordinates() == 0; }
};

// grad and d have the shape of the distances; rows of x are along their last axis but one, or,
// where they are `columns`, the last.
Walk WalkPairwise(const TensorView& x, const TensorView& y, const TensorView& grad,
                  const TensorView& d, const TensorView& out, bool columns);
Walk WalkPaired(const TensorView& x, const TensorView& y, const TensorView& grad,
                const TensorView& d, const TensorView& out);

template <class T>
class Gradient {
 public:
  Gradient(const SlopeRecipe& recipe, const Walk& walk);

  double total_ns() const;
  // Cuts it into tasks; all_ns is the cost of all gradients that are computed together.
  void Plan(double all_ns);
  int64_t tasks() const { return walk_.empty() ? 0 : CeilDiv(units_, units_per_task_); }
  size_t ScratchBytes() const;
  void Run(int64_t task, Scratch scratch) const;

 private:
  class Block;

  const DistanceBackwardKernels<T>& kernels_;
  const SlopeRecipe& recipe_;
  const Walk& walk_;
  const Source<T> x_, y_, grad_, d_;
  const Results<T> results_;
  // Whether neighbours in memory of grad are rows of x, rather than terms.
  bool along_rows_;
  Split rows_, coordinates_;
  int64_t units_ = 0, units_per_task_ = 1;
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_GRADIENT_H_
