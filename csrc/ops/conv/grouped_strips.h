// Rows of x as strips, for the tasks of a convolution in groups of few channels.
#ifndef LANEWISE_OPS_CONV_GROUPED_STRIPS_H_
#define LANEWISE_OPS_CONV_GROUPED_STRIPS_H_

#include <cstddef>
#include <cstdint>

#include "kernels/kernels.h"
#include "ops/conv/grouped_plan.h"
#include "ops/conv/problem.h"
#include "runtime/parallel.h"

namespace lanewise {

// What a task works on: some units and columns of an image.
template <class T>
struct GroupedPart {
  Source<T> x;  // the image
  int64_t unit, units, column, columns;
};

// A row of x laid out with its padding as vectors: strip[c][phase][position] holds in each lane
// input channel c of the lane's own group. Pixels under neighbouring outputs are neighbours: where
// the stride is above 1, they are split by phase. Planes (NCHW) are transposed on the way, and
// other types converted. Strips are kept in a ring for as long as output rows need them.
template <class T>
class StripRing {
 public:
  StripRing(const ConvProblem<T>& problem, const ConvKernels<T>& kernels, const GroupedPlan& plan,
            const ChannelUnits<T>& units, Scratch& scratch);
  static size_t ScratchBytes(const ConvProblem<T>& problem, const GroupedPlan& plan);

  void Begin(const GroupedPart<T>& part) { part_ = part; }
  // Where strip n of the part's unit u is.
  T* At(int64_t u, int64_t n) const {
    return ring_ + u * plan_.ring() + n % plan_.slots() * plan_.strip();
  }
  // Makes strip n of every unit from row ih of x, or from zeros for Border::kNone, as the taps
  // [s, s + taps) need it.
  void Fill(int64_t n, int64_t ih, int64_t s, int64_t taps);

 private:
  // Pixels as vectors of channels.
  struct Pixels {
    const T* first;
    int64_t step;
  };
  // Positions of strip n, of `units` units from u on.
  struct Place {
    int64_t n, u, units, position;
  };

  void FillInside(const Source<T>& row, int64_t n, int64_t first, int64_t last, int64_t length);
  void FillPhases(const Pixels& pixels, Place to, int64_t first, int64_t begin, int64_t end,
                  int64_t length);
  void FillBorder(const Source<T>& row, int64_t n, int64_t first, int64_t length);
  void Clear(const Place& to, int64_t count);
  void Spread(const Pixels& pixels, int64_t count, const Place& to);
  Pixels Convert(const Source<T>& row, int64_t column, int64_t count);
  bool IsVector(int64_t u) const;
  Pixels Transpose(const Source<T>& row, int64_t u, int64_t column, int64_t count, T* to);

  const ConvProblem<T>& problem_;
  const ConvKernels<T>& kernels_;
  const GroupedPlan& plan_;
  const ChannelUnits<T>& channels_;
  GroupedPart<T> part_;
  // Scratch.
  T* ring_;    // [unit][slot][c][phase][position][lane]
  T* stage_;   // pixels of x, converted or transposed: [pixel][channel]
  T* planes_;  // planes of x, of another type or not contiguous
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_GROUPED_STRIPS_H_
