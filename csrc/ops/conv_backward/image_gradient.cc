// The gradient of a convolution by its image is the adjoint convolution of dy. Where pixels of the
// image stand in its padding, that is computed for the padding, too:
//
//   dx[p] = g[p] + Σ g[P] over the positions P of the padding where pixel p stands,
//   g     = the adjoint convolution, on the image and its padding
//
// The positions around the image are computed in scratch, some at a time, and added in the order of
// their rows and columns: all to the left of it, those above and below, those to the right.
#include <algorithm>
#include <type_traits>
#include <vector>

#include "ops/conv/adjoint.h"
#include "ops/conv/algorithm.h"
#include "ops/conv/form.h"
#include "ops/conv_backward/few_channels.h"
#include "ops/conv_backward/gradients.h"
#include "ops/strided.h"
#include "ops/wrapping_sum.h"
#include "runtime/buffer.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

AdjointAxis AdjointOf(const WindowAxis& axis) {
  return {axis.out, axis.window, axis.stride, axis.dilation, axis.before, axis.in};
}

// Positions along an axis of the image, where 0 is its first pixel.
struct Range {
  int64_t begin, end;
  int64_t count() const { return end - begin; }
};

// What windows reach in front of the image, in it and behind it.
enum Side { kBefore, kInside, kBehind };

Range RangeOf(const WindowAxis& axis, Side side) {
  if (side == kBefore) return {-axis.before, 0};
  if (side == kInside) return {0, axis.in};
  const int64_t reached = axis.Input(axis.out - 1, axis.window - 1) + 1;
  return {axis.in, std::max(axis.in, std::min(reached, axis.in + axis.after))};
}

// The adjoint at some positions of one side only, from the inputs that they meet, and around the
// image without the taps that meet none anywhere on that side. (So an infinite tap is not
// multiplied by zeros, and whether it is does not depend on how a side is cut.)
struct AdjointPart {
  AdjointAxis axis;
  int64_t first_tap, first_input;

  // Position p has input i under tap r where i·stride + r·dilation = p + before.
  AdjointPart(const WindowAxis& a, Side side, const Range& range) : axis(AdjointOf(a)) {
    const Range whole = RangeOf(a, side);
    const int64_t first = range.begin + a.before, last = range.end - 1 + a.before;
    int64_t highest = a.window - 1;
    first_tap = 0;
    if (side != kInside) {
      const int64_t past = whole.begin + a.before - (a.out - 1) * a.stride;
      first_tap = CeilDiv(std::max<int64_t>(0, past), a.dilation);
      highest = std::min(highest, (whole.end - 1 + a.before) / a.dilation);
    }
    const auto least = [&](int64_t position) { return std::max<int64_t>(0, position); };
    first_input = CeilDiv(least(first - highest * a.dilation), a.stride);
    const int64_t past_input =
        std::min(a.out, least(last - first_tap * a.dilation + a.stride) / a.stride);
    axis.in = past_input - first_input;
    axis.window = highest - first_tap + 1;
    axis.before = first - first_tap * a.dilation - first_input * a.stride;
    axis.out = range.count();
  }

  bool empty() const { return axis.in <= 0 || axis.window <= 0; }
};

// Images in scratch with their channels side by side, or as planes, as they are in `like`.
ImageStrides ScratchStrides(const ImageStrides& like, int64_t channels, int64_t rows,
                            int64_t columns) {
  const int64_t pixels = rows * columns;
  if (like.c == 1) return {pixels * channels, columns * channels, channels, 1};
  return {pixels * channels, columns, 1, pixels};
}

template <class T>
Sink<T> SinkOf(T* data) {
  return Sink<T>(ContiguousView(data, DTypeOf<T>::value, {}));
}

// The gradient for one of the border modes.
template <class T>
class FoldedGradient {
 public:
  // Of `problem` the windows are `h` and `w` of the convolution.
  FoldedGradient(const char* op, const ConvProblem<T>& problem, const WindowAxis& h,
                 const WindowAxis& w, DType result, ConvAlgorithm asked)
      : op_(op),
        problem_(problem),
        h_(h),
        w_(w),
        result_(result),
        asked_(asked),
        channels_(problem.shape.filters()),
        room_(std::max(int64_t(Caches().l2 / sizeof(T)), channels_)),
        around_(room_) {}

  void Run() {
    if (problem_.out.native()) {
      RunAdjoint(op_, problem_, AdjointOf(h_), AdjointOf(w_), result_, asked_);
      AddAround(problem_, {0, h_.in}, problem_.out.InPlace());
    } else {
      RunBands();
    }
  }

 private:
  // Sums of a type that is rounded, or wraps around, when they are stored: whole rows at a time.
  void RunBands() {
    const int64_t row = channels_ * w_.in;
    const Split rows(h_.in, 1, std::max<int64_t>(1, room_ / row));
    const Split images(problem_.batch, 1, std::max<int64_t>(1, room_ / (row * rows.longest())));
    const Buffer<T> sums(row * rows.longest() * images.longest());
    for (int64_t i = 0; i < images.count; ++i) {
      const ConvProblem<T> some = problem_.Images(images.begin(i), images.end(i) - images.begin(i));
      for (int64_t j = 0; j < rows.count; ++j) {
        const Range band{rows.begin(j), rows.end(j)};
        const ImageStrides strides =
            ScratchStrides(problem_.out_strides, channels_, band.count(), w_.in);
        ConvProblem<T> part = some;
        part.out_strides = strides;
        RunPart(part, kInside, band, kInside, {0, w_.in}, sums.get(), result_, asked_);
        AddAround(part, band, sums.get() - band.begin * strides.h);
        Store(some, band, sums.get(), strides);
      }
    }
  }

  void Store(const ConvProblem<T>& problem, const Range& band, const T* sums,
             const ImageStrides& strides) const {
    const ImageStrides& outs = problem.out_strides;
    const int64_t rows = band.count();
    const double elements = double(problem.batch * rows * channels_ * w_.in);
    ParallelFor({problem.batch * rows, elements, 0}, [&](int64_t index, Scratch) {
      const int64_t image = index / rows, row = index % rows;
      const T* const from = sums + (image * strides.n + row * strides.h);
      const Sink<T> to = problem.out + (image * outs.n + (band.begin + row) * outs.h);
      if (strides.c == 1) {
        for (int64_t j = 0; j < w_.in; ++j) {
          (to + j * outs.w).Write(from + j * strides.w, channels_, outs.c);
        }
      } else {
        for (int64_t c = 0; c < channels_; ++c) {
          (to + c * outs.c).Write(from + c * strides.c, w_.in, outs.w);
        }
      }
    });
  }

  // The adjoint at the positions `rows` × `columns` to `to`, with the strides of part.out_strides.
  // False, and nothing is written, where no window reaches them.
  bool RunPart(ConvProblem<T> part, Side above, const Range& rows, Side left, const Range& columns,
               T* to, DType result, ConvAlgorithm asked) const {
    const AdjointPart h(h_, above, rows), w(w_, left, columns);
    if ((h.empty() || w.empty()) && (above != kInside || left != kInside)) return false;
    const FilterStrides& filters = part.filter_strides;
    part.filter = part.filter + (h.first_tap * filters.r + w.first_tap * filters.s);
    part.x = part.x + (h.first_input * part.x_strides.h + w.first_input * part.x_strides.w);
    part.out = SinkOf(to);
    RunAdjoint(op_, part, h.axis, w.axis, result, asked);
    return true;
  }

  // Adds what counts for rows `target` of the images of `problem`, whose row 0 is at `to`.
  void AddAround(const ConvProblem<T>& problem, const Range& target, T* to) const {
    for (const Side left : {kBefore, kInside, kBehind}) {
      for (const Side above : {kBefore, kInside, kBehind}) {
        if (above == kInside && left == kInside) continue;
        const Range rows = RangeOf(h_, above);
        for (int64_t p = rows.begin, past; p < rows.end; p = past) {  // runs that fall on `target`
          past = p + 1;
          if (!Meets(target, p)) continue;
          while (past < rows.end && Meets(target, past)) ++past;
          AddSide(problem, above, {p, past}, left, to);
        }
      }
    }
  }
  bool Meets(const Range& target, int64_t position) const {
    const int64_t row = problem_.rows(position);
    return target.begin <= row && row < target.end;
  }

  void AddSide(const ConvProblem<T>& problem, Side above, const Range& rows, Side left,
               T* to) const {
    const Range columns = RangeOf(w_, left);
    if (rows.count() <= 0 || columns.count() <= 0) return;
    // Parts of rows only one by one, so that columns are added in their order.
    const int64_t positions = room_ / channels_, width = columns.count();
    const Split down(rows.count(), 1, std::max<int64_t>(1, positions / width));
    const Split across(width, 1, down.longest() > 1 ? width : positions);
    const int64_t of_image = down.longest() * across.longest();
    const Split images(problem.batch, 1, std::max<int64_t>(1, positions / of_image));
    for (int64_t i = 0; i < images.count; ++i) {
      const int64_t first = images.begin(i);
      ConvProblem<T> part = problem.Images(first, images.end(i) - first);
      for (int64_t j = 0; j < down.count; ++j) {
        for (int64_t k = 0; k < across.count; ++k) {
          const Range r{rows.begin + down.begin(j), rows.begin + down.end(j)};
          const Range c{columns.begin + across.begin(k), columns.begin + across.end(k)};
          part.out_strides = ScratchStrides(problem.out_strides, channels_, r.count(), c.count());
          if (RunPart(part, above, r, left, c, around_.get(), DTypeOf<T>::value,
                      ConvAlgorithm::kDirect)) {
            Fold(part, r, c, to + first * problem.out_strides.n, problem.out_strides);
          }
        }
      }
    }
  }

  // Adds what `part` has written for these positions to the pixels that stand there.
  void Fold(const ConvProblem<T>& part, const Range& rows, const Range& columns, T* to,
            const ImageStrides& outs) const {
    std::vector<int64_t> at_column(columns.count());
    for (int64_t j = 0; j < columns.count(); ++j) {
      at_column[j] = problem_.columns(columns.begin + j) * outs.w;
    }
    const ImageStrides& strides = part.out_strides;
    const Split pieces(channels_, 16, 64);
    const double elements = double(part.batch * rows.count() * columns.count() * channels_);
    ParallelFor({part.batch * pieces.count, elements, 0}, [&](int64_t index, Scratch) {
      const int64_t image = index / pieces.count, c = pieces.begin(index % pieces.count);
      const int64_t n = pieces.end(index % pieces.count) - c;
      const T* const from = around_.get() + (image * strides.n + c * strides.c);
      T* const image_to = to + (image * outs.n + c * outs.c);
      for (int64_t i = 0; i < rows.count(); ++i) {
        T* const row = image_to + problem_.rows(rows.begin + i) * outs.h;
        const T* const at = from + i * strides.h;
        for (int64_t j = 0; j < columns.count() && outs.c == 1; ++j) {
          AddTo(at + j * strides.w, n, row + at_column[j]);
        }
        for (int64_t k = 0; k < n && outs.c != 1; ++k) {
          for (int64_t j = 0; j < columns.count(); ++j) {
            AddTo(at + k * strides.c + j, 1, row + k * outs.c + at_column[j]);
          }
        }
      }
    });
  }

  const char* const op_;
  const ConvProblem<T>& problem_;
  const WindowAxis &h_, &w_;
  const DType result_;
  const ConvAlgorithm asked_;
  const int64_t channels_;
  const int64_t room_;  // elements of scratch
  const Buffer<T> around_;
};

}  // namespace

template <class T>
void RunImageGradient(const char* op, const ImageGradient<T>& gradient, DType result,
                      ConvAlgorithm asked) {
  const ConvShape& shape = gradient.shape;
  if constexpr (std::is_floating_point_v<T>) {
    if (asked == ConvAlgorithm::kAuto && gradient.rows.constant() && FewChannelsPay<T>(shape)) {
      if (gradient.banks == 1) return RunFewChannels(gradient);
      const int64_t some = BanksAtATime(shape.filters() * shape.terms() * int64_t{sizeof(T)});
      for (int64_t i = 0; i < gradient.batch; i += some) {
        RunFewChannels(gradient.Images(i, std::min(some, gradient.batch - i)));
      }
      return;
    }
  }
  const Buffer<T> zeros = GatherBias<T>(nullptr, 1, shape.channels());
  const FilterStrides& f = gradient.filter_strides;
  const ConvProblem<T> problem{{shape.groups, shape.group_k, shape.group_c, {}, {}},
                               gradient.rows,
                               gradient.columns,
                               gradient.batch,
                               gradient.banks,
                               gradient.dy,
                               gradient.dy_strides,
                               gradient.filter,
                               {f.n, f.g, f.r, f.s, f.k, f.c},
                               zeros.get(),
                               0,
                               Activation::kNone,
                               nullptr,
                               gradient.dx,
                               gradient.dx_strides,
                               nullptr};
  if (gradient.rows.constant()) {
    RunAdjoint(op, problem, AdjointOf(shape.h), AdjointOf(shape.w), result, asked);
  } else {
    FoldedGradient<T>(op, problem, shape.h, shape.w, result, asked).Run();
  }
}

template void RunImageGradient(const char*, const ImageGradient<float>&, DType, ConvAlgorithm);
template void RunImageGradient(const char*, const ImageGradient<double>&, DType, ConvAlgorithm);
template void RunImageGradient(const char*, const ImageGradient<int32_t>&, DType, ConvAlgorithm);
template void RunImageGradient(const char*, const ImageGradient<int64_t>&, DType, ConvAlgorithm);

}  // namespace lanewise
