// Convolution in groups of few channels, down to one (depthwise): lanes are output channels, and
// vectors are full however small a group is, as a vector may span several of them.
//
//   strips     The kernel reads copies of rows of x, laid out for it (grouped_strips.h), which
//              serve all output rows above them.
//   in place   Depthwise, where channels are neighbours in memory (NHWC) and the window is small,
//              reads x where it is, and so do groups of as many channels as a vector has lanes.
//              Outputs at the border are computed one column at a time, with the taps that lie
//              inside the image.
//   planes     Depthwise with few taps, where pixels are neighbours (NCHW), has pixels in its lanes
//              (grouped_planes.h).
//
// All run the chain of multiply-adds of the direct convolution, in the order (r, s, c), and so
// give the same bits in both layouts. Rows and taps in the padding are left out where all taps are
// finite, as adding 0·tap then changes nothing.
#include <algorithm>
#include <type_traits>

#include "kernels/kernels.h"
#include "ops/conv/grouped_filters.h"
#include "ops/conv/grouped_plan.h"
#include "ops/conv/grouped_planes.h"
#include "ops/conv/grouped_strips.h"
#include "ops/conv/pack.h"
#include "ops/strided.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// The first output of an axis some of whose taps are behind the last input.
int64_t InsideBefore(const WindowAxis& axis) {
  const int64_t room = axis.in - 1 - (axis.window - 1) * axis.dilation + axis.before;
  return room < 0 ? 0 : room / axis.stride + 1;
}

// One task, in one thread's scratch.
template <class T>
class Task {
 public:
  Task(const ConvProblem<T>& problem, const ConvKernels<T>& kernels, const GroupedPlan& plan,
       const FilterVectors<T>& filters, const ChannelUnits<T>& units, Scratch scratch)
      : problem_(problem),
        kernels_(kernels),
        plan_(plan),
        filters_(filters),
        channels_(units),
        ring_(problem, kernels, plan, units, scratch),
        rows_(scratch.Take<const T*>(plan.slots())),
        sums_(scratch.Take<T>(SumCount(plan))),
        planes_(scratch.Take<T>(PlaneCount(plan))) {}

  static size_t ScratchBytes(const ConvProblem<T>& problem, const GroupedPlan& plan) {
    return StripRing<T>::ScratchBytes(problem, plan) + Scratch::Bytes<const T*>(plan.slots()) +
           Scratch::Bytes<T>(SumCount(plan)) + Scratch::Bytes<T>(PlaneCount(plan));
  }

  void Run(int64_t image, int64_t unit_piece, int64_t row_piece, int64_t column_piece) {
    image_ = image;
    const int64_t unit = plan_.UnitsBegin(unit_piece), column = plan_.columns.begin(column_piece);
    part_ = {problem_.x + image * problem_.x_strides.n, unit, plan_.UnitsEnd(unit_piece) - unit,
             column, plan_.columns.end(column_piece) - column};
    ring_.Begin(part_);
    const int64_t begin = plan_.rows.begin(row_piece);
    row_end_ = plan_.rows.end(row_piece);
    for (first_row_ = begin; first_row_ < std::min(begin + plan_.row_step, row_end_);
         ++first_row_) {
      if (plan_.in_place()) {
        SweepInPlace();
      } else {
        Sweep();
      }
    }
  }

 private:
  // Some output rows, some of the window, and some columns.
  struct Block {
    int64_t j, rows;  // output rows first_row_ + (j + i)·row_step, i < rows
    int64_t r, window, s, taps;
    int64_t column, columns;
    bool first, last;  // of the parts of the window
    bool down;         // vectors go down the rows of one column
    ptrdiff_t x_offset;
  };

  // Sums outlive a call of the kernel, and so have to be those of every unit, only where the window
  // is worked through in parts.
  static int64_t SumCount(const GroupedPlan& plan) {
    return plan.stores ? 0 : plan.sums() * (plan.whole ? 1 : plan.most_units());
  }
  static int64_t PlaneCount(const GroupedPlan& plan) {
    return plan.to_planes ? plan.columns.longest() * plan.lanes : 0;
  }

  // The row of x under tap row n - j·shift of the sweep's output row j.
  int64_t InputRow(int64_t n) const {
    return problem_.rows(problem_.shape.h.First(first_row_) + n * problem_.shape.h.dilation);
  }
  int64_t RowCount() const { return CeilDiv(row_end_ - first_row_, plan_.row_step); }
  bool Skipped(int64_t ih) const { return ih == Border::kNone && filters_.finite; }

  void Sweep();
  void FillStrips(int64_t begin, int64_t end, int64_t filled, int64_t s, int64_t taps);
  void SweepInPlace();
  void ComputeColumn(int64_t column, int64_t low, int64_t high, int64_t count);
  void ComputeInPlace(int64_t j, int64_t rows, int64_t s, int64_t taps, int64_t column,
                      int64_t columns);

  auto Kernel() const {
    switch (plan_.access) {
      case GroupedAccess::kBroadcast:
        return kernels_.broadcast;
      case GroupedAccess::kInPlace:
        return kernels_.channels_in_place;
      case GroupedAccess::kLookup:
        return kernels_.lookup_strips;
      default:
        return kernels_.channel_strips;
    }
  }

  // As many units as the kernel can walk over.
  int64_t UnitsAtOnce() const {
    if (!plan_.stores || plan_.access == GroupedAccess::kLookup) return 1;
    return plan_.access == GroupedAccess::kBroadcast ? plan_.unit_set : part_.units;
  }

  void Compute(const Block& block);
  Sink<T> OutputOf(int64_t unit, const Block& block) const;
  Strips<T> StripsOf(const Block& block) const;
  void PointAt(int64_t u, int64_t end, const Block& block, Strips<T>& strips) const;
  void Finish(const Block& block, const Strips<T>& strips, const Sink<T>& out);

  void Store(const T* from, int64_t n, const Sink<T>& to, int64_t stride) {
    to.Write(from, n, stride);
    if (problem_.clamp != nullptr) problem_.clamp(to.bytes(), n, stride);
  }

  const ConvProblem<T>& problem_;
  const ConvKernels<T>& kernels_;
  const GroupedPlan& plan_;
  const FilterVectors<T>& filters_;
  const ChannelUnits<T>& channels_;
  int64_t image_ = 0, first_row_ = 0, row_end_ = 0;
  GroupedPart<T> part_{};
  // Scratch.
  StripRing<T> ring_;
  const T** rows_;  // under the output rows of a block
  T* sums_;         // [row][column][lane], where results cannot be stored as they come
  T* planes_;       // of the result, where they cannot be written across
};

// Output rows first_row_, first_row_ + row_step, … of the task.
template <class T>
void Task<T>::Sweep() {
  const WindowAxis &h = problem_.shape.h, &w = problem_.shape.w;
  int64_t filled = 0;  // strips before this are in the ring
  for (int64_t j = 0; j < RowCount(); j += plan_.strip_rows) {
    const int64_t rows = std::min(plan_.strip_rows, RowCount() - j);
    for (int64_t r = 0; r < h.window; r += plan_.part_rows) {
      const int64_t window = std::min(plan_.part_rows, h.window - r);
      const int64_t begin = j * plan_.shift + r, end = begin + (rows - 1) * plan_.shift + window;
      for (int64_t s = 0; s < w.window; s += plan_.part_taps) {
        const int64_t taps = std::min(plan_.part_taps, w.window - s);
        FillStrips(begin, end, plan_.whole ? filled : begin, s, taps);
        filled = end;
        const bool last = r + window == h.window && s + taps == w.window;
        Compute({j, rows, r, window, s, taps, part_.column, part_.columns, r == 0 && s == 0, last,
                 false, 0});
      }
    }
  }
}

// Strips [begin, end), of which those before `filled` are in the ring.
template <class T>
void Task<T>::FillStrips(int64_t begin, int64_t end, int64_t filled, int64_t s, int64_t taps) {
  for (int64_t n = begin; n < end; ++n) {
    const int64_t ih = InputRow(n);
    const bool skipped = Skipped(ih);
    if (n >= filled && !skipped) ring_.Fill(n, ih, s, taps);
    rows_[n - begin] = skipped ? nullptr : ring_.At(0, n);
  }
}

template <class T>
void Task<T>::SweepInPlace() {
  const WindowAxis &h = problem_.shape.h, &w = problem_.shape.w;
  // Columns all of whose taps are inside the image, and rows, counted as the sweep's.
  const int64_t begin = part_.column, end = begin + part_.columns, count = RowCount();
  const int64_t inner = std::clamp(CeilDiv(w.before, w.stride), begin, end);
  const int64_t past = std::clamp(InsideBefore(w), inner, end);
  const auto row_of = [&](int64_t oh) {
    return std::clamp<int64_t>(CeilDiv(oh - first_row_, plan_.row_step), 0, count);
  };
  const int64_t low = row_of(CeilDiv(h.before, h.stride));
  const int64_t high = std::max(low, row_of(InsideBefore(h)));
  for (int64_t i = begin; i < end; ++i) {
    if (i < inner || i >= past) ComputeColumn(i, low, high, count);
  }
  for (int64_t j = 0; j < count && inner < past; j += plan_.strip_rows) {
    const int64_t rows = std::min(plan_.strip_rows, count - j);
    ComputeInPlace(j, rows, 0, w.window, inner, past - inner);
  }
}

// A column at the border has its own taps, and its vectors go down the rows: those of
// [low, high), whose windows are all alike.
template <class T>
void Task<T>::ComputeColumn(int64_t column, int64_t low, int64_t high, int64_t count) {
  const WindowAxis& w = problem_.shape.w;
  const Interior inside(w.First(column), w.dilation, w.window, w.in);
  const int64_t s = inside.begin, taps = inside.end - s;
  const int64_t at_once = plan_.strip_rows * plan_.columns.longest();
  for (int64_t j = 0, rows = 1; j < count; j += rows) {
    rows = low <= j && j < high ? std::min(at_once, high - j) : 1;
    ComputeInPlace(j, rows, s, taps, column, 1);
  }
}

// Output rows j, … of the sweep, with the taps [s, s + taps); if it is one column, all at once.
template <class T>
void Task<T>::ComputeInPlace(int64_t j, int64_t rows, int64_t s, int64_t taps, int64_t column,
                             int64_t columns) {
  const WindowAxis &h = problem_.shape.h, &w = problem_.shape.w;
  const ImageStrides& strides = problem_.x_strides;
  const bool down = columns == 1 && rows > plan_.strip_rows;
  const T* const x = part_.x.InPlace() + channels_.FirstIn(part_.unit) * strides.c;
  for (int64_t q = 0; q < (down ? 0 : rows - 1) * plan_.shift + h.window; ++q) {
    const int64_t ih = InputRow(j * plan_.shift + q);
    rows_[q] = ih == Border::kNone ? nullptr : x + ih * strides.h;
  }
  const ptrdiff_t offset = w.Input(column, s) * strides.w;
  Compute({j, rows, 0, h.window, s, taps, column, columns, true, true, down, offset});
}

template <class T>
void Task<T>::Compute(const Block& block) {
  const auto run = Kernel();
  Strips<T> strips = StripsOf(block);
  const int64_t at_once = UnitsAtOnce();
  for (int64_t u = 0; u < part_.units; u += at_once) {
    PointAt(u, std::min(u + at_once, part_.units), block, strips);
    const Sink<T> out = OutputOf(part_.unit + u, block);
    strips.out = plan_.stores ? out.InPlace() : plan_.activates ? strips.sums : nullptr;
    run(strips);
    if (!plan_.stores && block.last) Finish(block, strips, out);
  }
}

template <class T>
Sink<T> Task<T>::OutputOf(int64_t unit, const Block& block) const {
  const ImageStrides& strides = problem_.out_strides;
  const int64_t oh = first_row_ + block.j * plan_.row_step;
  return problem_.out + (image_ * strides.n + channels_.FirstOut(unit) * strides.c +
                         oh * strides.h + block.column * strides.w);
}

// What is the same for all units.
template <class T>
Strips<T> Task<T>::StripsOf(const Block& block) const {
  const ConvShape& shape = problem_.shape;
  const ImageStrides &from = problem_.x_strides, &to = problem_.out_strides;
  Strips<T> strips{};
  strips.rows = rows_;
  strips.count = block.down ? 1 : block.rows;
  strips.shift = plan_.shift;
  strips.window = block.window;
  strips.offsets = plan_.offsets.data();
  strips.terms = block.taps * shape.group_c;
  strips.sliding = plan_.sliding && !block.down ? block.taps / 3 * 3 : 0;
  strips.period = shape.group_c;
  strips.x_step = block.down ? plan_.shift * shape.h.dilation * from.h : shape.w.stride * from.w;
  strips.x_unit = plan_.ring();
  strips.filter_step = shape.w.window * shape.group_c * plan_.lanes;
  strips.filter_unit = filters_.unit;
  strips.vectors = block.down ? block.rows : block.columns;
  strips.first = block.first;
  strips.sums_stride = block.columns * plan_.lanes;
  strips.activation = problem_.activation;
  strips.row_stride = plan_.stores ? plan_.row_step * to.h : strips.sums_stride;
  strips.vector_stride = !plan_.stores ? plan_.lanes : block.down ? plan_.row_step * to.h : to.w;
  return strips;
}

// Units [u, end) of the task.
template <class T>
void Task<T>::PointAt(int64_t u, int64_t end, const Block& block, Strips<T>& strips) const {
  const ConvShape& shape = problem_.shape;
  const int64_t unit = part_.unit + u, last = part_.unit + end - 1;
  const int64_t channel = channels_.FirstOut(unit);
  const int64_t channels_before = channels_.FirstIn(unit) - channels_.FirstIn(part_.unit);
  const int64_t term = (block.r * shape.w.window + block.s) * shape.group_c;
  strips.units = end - u;
  strips.n = channels_.FirstOut(last) + channels_.Out() - channel;
  strips.index = plan_.access == GroupedAccess::kLookup ? channels_.Map(unit).index : nullptr;
  strips.x_offset = block.x_offset +
                    (plan_.in_place() ? channels_before * problem_.x_strides.c : u * plan_.ring());
  strips.filter = filters_.data.get() + problem_.bank(image_) * filters_.bank +
                  unit * filters_.unit + term * plan_.lanes;
  strips.bias = problem_.bias + image_ * problem_.bias_stride + channel;
  strips.sums = sums_ + (plan_.whole ? 0 : u * plan_.sums());
}

// From sums, or results that are to be moved, of one unit to the result.
template <class T>
void Task<T>::Finish(const Block& block, const Strips<T>& strips, const Sink<T>& out) {
  const ImageStrides& strides = problem_.out_strides;
  const int64_t n = strips.n, lanes = plan_.lanes, columns = block.columns;
  const bool native = out.native() && problem_.clamp == nullptr && strides.w == 1;
  if (strips.out == nullptr) {
    kernels_.finish[static_cast<int>(problem_.activation)](strips.sums, lanes, block.rows * columns,
                                                           n, strips.bias, strips.sums, lanes);
  }
  for (int64_t i = 0; i < block.rows; ++i) {
    T* const sums = strips.sums + i * strips.sums_stride;
    const Sink<T> to = out + i * plan_.row_step * strides.h;
    if (!plan_.to_planes) {
      for (int64_t p = 0; p < columns; ++p) Store(sums + p * lanes, n, to + p * strides.w, 1);
    } else if (native && strides.c > 0) {
      kernels_.vectors_to_rows(sums, n, columns, to.InPlace(), strides.c);
    } else {
      kernels_.vectors_to_rows(sums, n, columns, planes_, columns);
      for (int64_t c = 0; c < n; ++c)
        Store(planes_ + c * columns, columns, to + c * strides.c, strides.w);
    }
  }
}

}  // namespace

template <class T>
void RunGrouped(const ConvProblem<T>& problem) {
  const auto& kernels = ConvKernelsFor<T>(ActiveTarget());
  const auto lanes = static_cast<int64_t>(kernels.lanes);
  GroupedAccess access = GroupedAccessOf(problem, lanes);
  const bool wide = problem.shape.group_k >= lanes;
  if (wide && access != GroupedAccess::kBroadcast) return RunDirect(problem);
  const ChannelUnits<T> units(problem.shape, lanes, access);
  const FilterVectors<T> filters(problem, kernels, units);
  if constexpr (std::is_floating_point_v<T>) {
    if (PlanesPay(problem, lanes)) return RunPlanes(problem, kernels, units, filters);
  }
  if (!filters.finite && wide) return RunDirect(problem);
  if (!filters.finite && access == GroupedAccess::kInPlace) access = GroupedAccess::kStrips;
  const GroupedPlan plan = MakeGroupedPlan(problem, kernels, access, units);
  const int64_t per_unit = plan.rows.count * plan.columns.count;
  const int64_t per_image = plan.unit_pieces.count * per_unit;
  const Work work{problem.batch * per_image, plan.total_ns, Task<T>::ScratchBytes(problem, plan)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    Task<T> task(problem, kernels, plan, filters, units, scratch);
    task.Run(index / per_image, index % per_image / per_unit, index % per_unit / plan.columns.count,
             index % plan.columns.count);
  });
}

template void RunGrouped(const ConvProblem<float>&);
template void RunGrouped(const ConvProblem<double>&);
template void RunGrouped(const ConvProblem<int32_t>&);
template void RunGrouped(const ConvProblem<int64_t>&);

}  // namespace lanewise
