// The source of distances for a search: all pairs, tile by tile, those below a row's limit offered.
#ifndef LANEWISE_OPS_DISTANCE_SEARCH_H_
#define LANEWISE_OPS_DISTANCE_SEARCH_H_

#include "kernels/kernels.h"
#include "ops/distance/finish.h"
#include "ops/distance/plan.h"
#include "ops/distance/tiles.h"
#include "runtime/parallel.h"
#include "runtime/target.h"

namespace lanewise::distance {

// Rounds to the type of the results: what is compared is what is returned.
template <class T>
class Rounding {
 public:
  Rounding(DType dtype, int64_t most, Scratch& scratch)
      : memory_(ContiguousView(scratch.Take<T>(most), dtype, {most})),
        rounded_(memory_),
        source_(memory_) {}

  static size_t ScratchBytes(int64_t most) { return Scratch::Bytes<T>(most); }

  void operator()(T* values, int64_t n) const {
    if (memory_.dtype == DTypeOf<T>::value) return;
    rounded_.Write(values, n, 0, 1);
    source_.Read(1, n, values);
  }

 private:
  const TensorView memory_;
  const Results<T> rounded_;
  const Source<T> source_;
};

// In one thread's scratch.
template <class T>
class ExactSearch {
 public:
  ExactSearch(const DistanceKernels<T>& kernels, const Recipe& recipe, const Plan& plan,
              const typename Tiles<T>::Operands& operands, DType dtype, Scratch& scratch)
      : below_(NeighborKernelsFor<T>(ActiveTarget()).below),
        nr_(plan.nr),
        tiles_(kernels, recipe, plan, operands, scratch),
        distances_(scratch.Take<T>(plan.mr * plan.nr)),
        found_(scratch.Take<uint64_t>(plan.mr)),
        round_(dtype, plan.mr * plan.nr, scratch) {}

  static size_t ScratchBytes(const Recipe& recipe, const Plan& plan) {
    const int64_t tile = plan.mr * plan.nr;
    return Tiles<T>::ScratchBytes(recipe, plan) + Scratch::Bytes<T>(tile) +
           Scratch::Bytes<uint64_t>(plan.mr) + Rounding<T>::ScratchBytes(tile);
  }

  // Offers to `selection`, whose rows are [row_begin, row_end) of x, each of the columns
  // [column_begin, column_end) that is below its limit; each row's columns in ascending order.
  template <class Selection>
  void Run(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
           Selection& selection) {
    tiles_.ForEach(row_begin, row_end, column_begin, column_end, [&](const auto& tile) {
      tiles_.Finish(tile, distances_, nr_, false);
      round_(distances_, tile.rows * nr_);
      const int64_t row = tile.row - row_begin;
      const DistanceTile<T> distances{distances_, static_cast<size_t>(tile.rows),
                                      static_cast<size_t>(nr_), static_cast<size_t>(tile.columns),
                                      selection.limits() + row};
      if (!below_(distances, found_)) return;
      for (int64_t i = 0; i < tile.rows; ++i) {
        for (uint64_t found = found_[i]; found != 0; found &= found - 1) {
          const int64_t j = __builtin_ctzll(found);
          selection.Offer(row + i, tile.column + j, distances_[i * nr_ + j]);
        }
      }
    });
  }

 private:
  bool (*const below_)(const DistanceTile<T>& tile, uint64_t* below);
  const int64_t nr_;
  Tiles<T> tiles_;
  T* const distances_;     // of a tile
  uint64_t* const found_;  // columns in each of its rows
  const Rounding<T> round_;
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_SEARCH_H_
