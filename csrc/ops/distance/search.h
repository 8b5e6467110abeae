// The source of distances for a search: those of all pairs, tile by tile, of which those below a
// row's limit are offered.
#ifndef LANEWISE_OPS_DISTANCE_SEARCH_H_
#define LANEWISE_OPS_DISTANCE_SEARCH_H_

#include "kernels/kernels.h"
#include "ops/distance/finish.h"
#include "ops/distance/plan.h"
#include "ops/distance/tiles.h"
#include "runtime/parallel.h"

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

  bool needed() const { return memory_.dtype != DTypeOf<T>::value; }
  void operator()(T* values, int64_t n) const {
    if (!needed()) return;
    rounded_.Write(values, n, 0, 1);
    source_.Read(1, n, values);
  }

 private:
  const TensorView memory_;
  const Results<T> rounded_;
  const Source<T> source_;
};

// Who is offered what a search finds for some rows.
template <class T>
class Chooser {
 public:
  // Of each row: distances whose keys are above it need not be offered, nor those whose keys equal
  // it, if the columns of each row are offered in ascending order.
  virtual const DistanceKey<T>* limits() const = 0;
  // Lowers a row's limit as far as pays, where offers so far allow it.
  virtual void Tighten(int64_t /*row*/) {}
  // distances[j] of column + j to a row, for each bit j of `found`.
  virtual void Offer(int64_t row, int64_t column, uint64_t found, const T* distances) = 0;

 protected:
  ~Chooser() = default;
};

// f(j) for each bit j.
template <class F>
void ForEachBit(uint64_t bits, const F& f) {
  for (; bits != 0; bits &= bits - 1) f(__builtin_ctzll(bits));
}

// In one thread's scratch. Where distances ascend with totals, a tile whose totals are too large is
// not finished, which is most of them: the smallest of 10⁸ distances of 2 coordinates are found in
// 31 ms instead of 43.
template <class T>
class ExactSearch {
 public:
  ExactSearch(const DistanceKernels<T>& kernels, const Recipe& recipe, const Plan& plan,
              const typename Tiles<T>::Operands& operands, DType dtype, Scratch& scratch);

  static size_t ScratchBytes(const Recipe& recipe, const Plan& plan);

  // Offers to `chooser`, whose rows are those of x from first_row on, for each of the rows
  // [row_begin, row_end) of x the columns [column_begin, column_end) that are below its limit; each
  // row's columns in ascending order.
  void Run(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
           int64_t first_row, Chooser<T>& chooser);

 private:
  using Tile = typename Tiles<T>::Tile;

  void Search(const Tile& tile, int64_t first_row, Chooser<T>& chooser);
  // Whether any of totals (or distances) [row][NR] has a key below its row's; found_ then has
  // which.
  bool Find(const Tile& tile, const T* values, const DistanceKey<T>* limits);
  // Totals with this key or a larger one have no distances below the limit.
  DistanceKey<T> TotalLimit(DistanceKey<T> limit) const;

  const Recipe& recipe_;
  bool (*const below_)(const DistanceTile<T>& tile, uint64_t* below);
  const int64_t nr_;
  const T smallest_;  // total that is the square of its distance
  Tiles<T> tiles_;
  T* const distances_;     // of a tile
  uint64_t* const found_;  // columns in each of its rows
  const Rounding<T> round_;
  DistanceKey<T>* const total_limits_;  // of the rows of a block
  const bool screens_;                  // whether there are such limits
};

}  // namespace lanewise::distance

#endif  // LANEWISE_OPS_DISTANCE_SEARCH_H_
