#include "ops/distance/search.h"

#include <algorithm>
#include <limits>

#include "ops/distance/neighbor.h"
#include "runtime/target.h"

namespace lanewise::distance {

template <class T>
ExactSearch<T>::ExactSearch(const DistanceKernels<T>& kernels, const Recipe& recipe,
                            const Plan& plan, const typename Tiles<T>::Operands& operands,
                            DType dtype, Scratch& scratch)
    : recipe_(recipe),
      below_(NeighborKernelsFor<T>(ActiveTarget()).below),
      nr_(plan.nr),
      smallest_(Finisher<T>(kernels, recipe, plan.d).Totals().smallest),
      tiles_(kernels, recipe, plan, operands, scratch),
      distances_(scratch.Take<T>(plan.mr * plan.nr)),
      found_(scratch.Take<uint64_t>(plan.mr)),
      round_(dtype, plan.mr * plan.nr, scratch),
      total_limits_(scratch.Take<DistanceKey<T>>(plan.block)),
      // Without coordinates smallest_ is 0, and no total is below it.
      screens_(plan.d > 0 && !round_.needed() &&
               (recipe.finish == Finish::kSqrt || recipe.finish == Finish::kCopy)) {}

template <class T>
size_t ExactSearch<T>::ScratchBytes(const Recipe& recipe, const Plan& plan) {
  const int64_t tile = plan.mr * plan.nr;
  return Tiles<T>::ScratchBytes(recipe, plan) + Scratch::Bytes<T>(tile) +
         Scratch::Bytes<uint64_t>(plan.mr) + Rounding<T>::ScratchBytes(tile) +
         Scratch::Bytes<DistanceKey<T>>(plan.block);
}

template <class T>
DistanceKey<T> ExactSearch<T>::TotalLimit(DistanceKey<T> limit) const {
  if (recipe_.finish == Finish::kCopy || limit >= kNanKey<T>) return limit;
  // The root of a larger total is the limit at least, as roots are rounded to nearest. Distances
  // whose totals are out of range are computed again: those below pass, and those above are far
  // from a limit whose square is well inside.
  const T distance = DistanceOf<T>(limit);
  const T total = distance * distance * (1 + 4 * std::numeric_limits<T>::epsilon());
  if (!(total < std::numeric_limits<T>::max() / 4)) return kNanKey<T>;
  return KeyOf(std::max(total, smallest_));
}

template <class T>
bool ExactSearch<T>::Find(const Tile& tile, const T* values, const DistanceKey<T>* limits) {
  return below_({values, static_cast<size_t>(tile.rows), static_cast<size_t>(nr_),
                 static_cast<size_t>(tile.columns), limits},
                found_);
}

template <class T>
void ExactSearch<T>::Search(const Tile& tile, int64_t first_row, Chooser<T>& chooser) {
  const int64_t row = tile.row - first_row;
  const DistanceKey<T>* const limits = chooser.limits() + row;
  if (screens_) {
    DistanceKey<T>* const total_limits = total_limits_ + tile.block_row;
    if (tile.panel == 0) {
      for (int64_t i = 0; i < tile.rows; ++i) total_limits[i] = TotalLimit(limits[i]);
    }
    if (!Find(tile, tiles_.Totals(tile), total_limits)) return;
  }
  tiles_.Finish(tile, distances_, nr_, false);
  round_(distances_, tile.rows * nr_);
  if (!Find(tile, distances_, limits)) return;
  for (int64_t i = 0; i < tile.rows; ++i) {
    if (found_[i] == 0) continue;
    chooser.Offer(row + i, tile.column, found_[i], distances_ + i * nr_);
    if (screens_) total_limits_[tile.block_row + i] = TotalLimit(limits[i]);
  }
}

template <class T>
void ExactSearch<T>::Run(int64_t row_begin, int64_t row_end, int64_t column_begin,
                         int64_t column_end, int64_t first_row, Chooser<T>& chooser) {
  tiles_.ForEach(row_begin, row_end, column_begin, column_end,
                 [&](const Tile& tile) { Search(tile, first_row, chooser); });
}

template class ExactSearch<float>;
template class ExactSearch<double>;

}  // namespace lanewise::distance
