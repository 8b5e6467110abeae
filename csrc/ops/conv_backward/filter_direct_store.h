// Sums of the direct gradient by filters, from tiles to the result.
#ifndef LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_STORE_H_
#define LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_STORE_H_

#include <cstdint>

#include "kernels/kernels.h"
#include "ops/conv_backward/filter_direct_plan.h"
#include "ops/conv_backward/gradients.h"

namespace lanewise {

template <class T>
class TileWriter {
 public:
  // Both must outlive it.
  TileWriter(const FilterGradient<T>& g, const FilterDirectPlan& plan);

  // Elements of scratch.
  static int64_t ChunkSize(const FilterDirectPlan& plan) { return kElements * plan.nr; }
  // Writes the tiles of a box, which are `sums` in its order.
  void Write(int64_t bank, int64_t group, const TileBox& box, const T* sums, T* chunk) const;

 private:
  static constexpr int64_t kElements = 96;  // of filters that are written as planes, at a time

  void WriteTiles(const Sink<T>& to, const TileBox& box, int64_t x, int64_t t, const T* tiles,
                  int64_t step) const;
  bool WritesPlanes(const TileBox& box) const;
  void WritePlanes(const Sink<T>& to, int64_t x, int64_t y, const T* tiles, T* chunk) const;

  const FilterGradient<T>& g_;
  const FilterDirectPlan& plan_;
  const ConvKernels<T>& kernels_;
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_BACKWARD_FILTER_DIRECT_STORE_H_
