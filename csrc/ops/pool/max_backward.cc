// The gradient of a maximum or minimum: what goes to each window goes on to the pixel that won it.
//
//   task     an image × a block of channels, which are neighbours ("pixels") or planes in turn
//     band   pixels of x that are summed in scratch, or by one of the threads that share a plane;
//            all of them where sums can be made in `out` and there are planes enough
//       piece   windows whose indices stay in L1 from one look at them to the next
//
// A pixel's terms are added in the order of the windows, whatever the bands and pieces.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "kernels/kernels.h"
#include "lanewise/pool.h"
#include "ops/elements.h"
#include "ops/merged_axes.h"
#include "ops/pool/geometry.h"
#include "ops/pool/scatter.h"
#include "runtime/buffer.h"
#include "runtime/cpu.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace pool {
namespace {

constexpr const char* kOp = "max_pool2d_backward";
constexpr int64_t kPiece = 2048;  // elements of a piece: 16 KB of indices
constexpr int64_t kGroups = 512;  // groups of pieces whose smallest and largest index are known

// The memory of signed integers of the same width, where two's complement sums have the same bits.
TensorView AsSigned(TensorView view) {
  if (view.dtype == DType::kUInt32) view.dtype = DType::kInt32;
  if (view.dtype == DType::kUInt64) view.dtype = DType::kInt64;
  return view;
}

// ---------------------------------------------------------------------------------------- indices

// All of an array's elements, along `order`.
MergedAxes<1> Elements(const TensorView& view, const std::vector<int>& order) {
  MergedAxes<1> elements;
  for (const int axis : order) elements.Append(view.shape[axis], {view.strides[axis]});
  return elements;
}

// Calls f(values, n, the first one's number) for all elements [begin, end), in order.
template <class F>
void ForChunks(const Source<int64_t>& source, const MergedAxes<1>& elements, int64_t begin,
               int64_t end, const F& f) {
  elements.ForEachRun(begin, end, [&](int64_t length, const MergedAxes<1>::Offsets& at) {
    const Source<int64_t> run = source + at[0];
    const int64_t stride = elements.inner_stride(0);
    int64_t chunk[detail::kConvertChunk];
    if (run.native() && (stride == 1 || length == 1)) {
      f(run.InPlace(), length, begin);
    } else {
      for (int64_t i = 0, n; i < length; i += n) {
        n = std::min(detail::kConvertChunk, length - i);
        (run + i * stride).Read(stride, n, chunk);
        f(chunk, n, begin + i);
      }
    }
    begin += length;
  });
}

// `number` of an array's elements in row-major order, as Python indexes it: "0, 3, 2".
std::string Position(const Shape& shape, int64_t number) {
  std::string text;
  for (size_t axis = shape.size(); axis-- > 0; number /= shape[axis]) {
    text = std::to_string(number % shape[axis]) + (text.empty() ? "" : ", ") + text;
  }
  return text;
}

[[noreturn]] void FailIndex(const TensorView& indices, int64_t height, int64_t width) {
  std::vector<int> order(indices.rank);
  std::iota(order.begin(), order.end(), 0);
  const MergedAxes<1> elements = Elements(indices, order);
  const auto check = [&](const int64_t* values, int64_t n, int64_t first) {
    for (int64_t i = 0; i < n; ++i) {
      if (values[i] >= 0 && values[i] < height * width) continue;
      const std::string value = indices.dtype == DType::kUInt64
                                    ? std::to_string(static_cast<uint64_t>(values[i]))
                                    : std::to_string(values[i]);
      throw std::out_of_range(Concat(kOp, ": indices[", Position(indices.sizes(), first + i),
                                     "] is ", value, ", which is no place in a plane of ", height,
                                     " x ", width));
    }
  };
  ForChunks(Source<int64_t>(AsSigned(indices)), elements, 0, elements.count(), check);
  std::abort();  // some index was out of range
}

// Whether all indices are in [0, pixels).
bool AllInPlane(const TensorView& indices, int64_t pixels) {
  // In the order of memory, which is the fastest.
  std::vector<int> order;
  for (int axis = 0; axis < indices.rank; ++axis) {
    const auto shorter = [&](int other) {
      return std::abs(indices.strides[other]) < std::abs(indices.strides[axis]);
    };
    order.insert(std::find_if(order.begin(), order.end(), shorter), axis);
  }
  const MergedAxes<1> elements = Elements(indices, order);
  const Source<int64_t> source(AsSigned(indices));
  const auto range = PoolBackwardKernelsFor<int64_t>(ActiveTarget()).range;
  const Split tasks(elements.count(), 1, int64_t{1} << 16);
  std::atomic<bool> wrong{false};
  const Work work{tasks.count, 0.2 * double(elements.count()), 0};
  ParallelFor(work, [&](int64_t task, Scratch) {
    int64_t least = 0, largest = 0;
    ForChunks(source, elements, tasks.begin(task), tasks.end(task),
              [&](const int64_t* values, int64_t n, int64_t) {
                range(values, 1, 0, n, &least, &largest);
              });
    if (least < 0 || largest >= pixels) wrong.store(true, std::memory_order_relaxed);
  });
  return !wrong.load();
}

// -------------------------------------------------------------------------------------------- sums

struct IndexRange {
  int64_t least = std::numeric_limits<int64_t>::max(), largest = -1;

  bool Meets(int64_t first, int64_t end) const { return least < end && largest >= first; }
  bool IsIn(int64_t first, int64_t end) const { return least >= first && largest < end; }
};

template <class T>
class Scatterer {
 public:
  Scatterer(const TensorView& dy, const TensorView& indices, Layout layout, const TensorView& out)
      : kernels_(PoolBackwardKernelsFor<T>(ActiveTarget())),
        index_view_(indices),
        dy_(dy),
        indices_(indices),
        out_(out),
        dy_strides_(dy, layout, 2),
        index_strides_(indices, layout, 2),
        out_strides_(out, layout, 2) {
    const int axis = out.rank - 3;  // the first of one image
    const int spatial = axis + (layout == Layout::kNCHW);
    images_ = axis == 1 ? out.shape[0] : 1;
    channels_ = out.shape[layout == Layout::kNCHW ? axis : axis + 2];
    plane_.Append(out.shape[spatial], {out_strides_.row});
    plane_.Append(out.shape[spatial + 1], {out_strides_.column});
    windows_.Append(dy.shape[spatial], {dy_strides_.row, index_strides_.row});
    windows_.Append(dy.shape[spatial + 1], {dy_strides_.column, index_strides_.column});
    Plan(dy.shape[spatial + 1]);
  }

  // False if some index is no place in the plane; then only `check_first` leaves `out` untouched.
  bool Run(bool check_first) {
    if (bands_.count > 1) return FindRanges() && (RunBands(), true);
    if (check_first && !AllInPlane(index_view_, plane_.count())) return false;
    std::atomic<bool> right{true};
    const Work work{images_ * blocks_.count, total_ns_, ScratchBytes()};
    ParallelFor(work, [&](int64_t task, Scratch scratch) {
      const int64_t block = task % blocks_.count, begin = blocks_.begin(block);
      const int64_t count = blocks_.end(block) - begin;
      const Buffers buffers(*this, scratch);
      bool done = true;
      if (!pixels_ && PlanesAtOnce()) {
        done = SumPlanes(BlockAt(task / blocks_.count, begin, 1), count);
      } else if (pixels_) {
        done = Sum(BlockAt(task / blocks_.count, begin, count), buffers);
      } else {
        for (int64_t c = begin; c < begin + count && done; ++c) {
          done = Sum(BlockAt(task / blocks_.count, c, 1), buffers);
        }
      }
      if (!done) right.store(false, std::memory_order_relaxed);
    });
    return right.load();
  }

 private:
  struct Block {
    Source<T> dy;
    Source<int64_t> indices;
    Sink<T> out;
    int64_t depth;
  };

  struct Buffers {
    T* dy;
    int64_t* indices;
    T* band;
    IndexRange* groups;

    Buffers(const Scatterer& s, Scratch scratch)
        : dy(scratch.Take<T>(s.piece_ * s.depth_)),
          indices(scratch.Take<int64_t>(s.piece_ * s.depth_)),
          band(scratch.Take<T>(s.in_place_ ? 0 : s.band_ * s.depth_)),
          groups(scratch.Take<IndexRange>(kGroups)) {}
  };

  // ------------------------------------------------------------------------------------- plan

  void Plan(int64_t columns) {
    pixels_ = channels_ > 1 && out_strides_.channel == 1;
    in_place_ = out_.native() && plane_.single();
    const double block_ns = double(windows_.count()) + 0.2 * double(plane_.count());
    total_ns_ = double(images_) * double(channels_) * block_ns;
    // Channels of a pixel stay together as far as possible: threads that write neighbouring lines
    // hinder each other.
    const double planes = std::min(4 + 10e3 / block_ns, double(channels_));
    blocks_ = pixels_ ? Split(channels_, 64 / sizeof(T), 1024)
                      : Split(channels_, 4, static_cast<int64_t>(planes));
    depth_ = pixels_ ? blocks_.longest() : 1;
    piece_ = std::max<int64_t>(1, kPiece / depth_);
    run_ = windows_.single() ? windows_.count() : columns;
    group_ = RoundUp(std::max(piece_, CeilDiv(windows_.count(), kGroups)),
                     windows_.single() ? piece_ : run_);
    const int64_t room = std::max<int64_t>(1, Caches().l2 / 2 / sizeof(T) / depth_);
    band_ = in_place_ ? plane_.count() : std::min(plane_.count(), room);

    // Where threads have to share planes, each takes some of their pixels.
    const int64_t threads = ThreadsFor(total_ns_), tasks = images_ * blocks_.count;
    if (in_place_ && threads > 1 && tasks < 2 * threads) {
      if (!pixels_) blocks_ = Split(channels_, 1, 1);
      bands_ = Split(plane_.count(), 1, plane_.count(),
                     std::min(CeilDiv(2 * threads, images_ * blocks_.count), Groups()));
    }
  }

  int64_t Groups() const { return CeilDiv(windows_.count(), group_); }

  size_t ScratchBytes() const {
    return Scratch::Bytes<T>(piece_ * depth_) + Scratch::Bytes<int64_t>(piece_ * depth_) +
           Scratch::Bytes<T>(in_place_ ? 0 : band_ * depth_) + Scratch::Bytes<IndexRange>(kGroups);
  }

  Block BlockAt(int64_t image, int64_t c, int64_t depth) const {
    return {dy_ + (image * dy_strides_.image + c * dy_strides_.channel),
            indices_ + (image * index_strides_.image + c * index_strides_.channel),
            out_ + (image * out_strides_.image + c * out_strides_.channel), depth};
  }

  // Block `number` of those of all images.
  Block BlockAt(int64_t number) const {
    const int64_t block = number % blocks_.count, begin = blocks_.begin(block);
    return BlockAt(number / blocks_.count, begin, blocks_.end(block) - begin);
  }

  // ----------------------------------------------------------------------------------- pieces

  // Windows from `begin` on, as many as make a piece.
  PixelGradients<T> PieceAt(const Block& at, int64_t begin, const Buffers& buffers) const {
    const int64_t n = std::min(piece_, run_ - begin % run_);
    const MergedAxes<2>::Offsets from = windows_.OffsetsOf(begin);
    PixelGradients<T> piece{n, at.depth, nullptr, 0, nullptr, 0};
    piece.dy = Read(at.dy + from[0], windows_.inner_stride(0), dy_strides_.channel, n, at.depth,
                    buffers.dy, &piece.dy_step);
    piece.indices = Read(at.indices + from[1], windows_.inner_stride(1), index_strides_.channel, n,
                         at.depth, buffers.indices, &piece.index_step);
    return piece;
  }

  // n windows of so many channels, in place or in `to`, and the step from one to the next.
  template <class C>
  static const C* Read(const Source<C>& from, int64_t step, int64_t channel, int64_t n,
                       int64_t depth, C* to, int64_t* new_step) {
    *new_step = step;
    if (from.native() && (depth == 1 || channel == 1)) return from.InPlace();
    *new_step = depth;
    if (depth == 1) {
      from.Read(step, n, to);
    } else {
      for (int64_t i = 0; i < n; ++i) (from + i * step).Read(channel, depth, to + i * depth);
    }
    return to;
  }

  IndexRange RangeOf(const PixelGradients<T>& piece, IndexRange range = {}) const {
    const bool one_run = piece.index_step == piece.depth;
    kernels_.range(piece.indices, one_run ? 1 : piece.windows, piece.index_step,
                   one_run ? piece.windows * piece.depth : piece.depth, &range.least,
                   &range.largest);
    return range;
  }

  int64_t EndOfGroup(int64_t group) const {
    return std::min(windows_.count(), (group + 1) * group_);
  }

  IndexRange RangeOfGroup(const Block& at, int64_t group, const Buffers& buffers) const {
    IndexRange range;
    for (int64_t w = group * group_; w < EndOfGroup(group);) {
      const PixelGradients<T> piece = PieceAt(at, w, buffers);
      range = RangeOf(piece, range);
      w += piece.windows;
    }
    return range;
  }

  bool InPlane(const IndexRange& range) const { return range.IsIn(0, plane_.count()); }

  // Adds what the groups' windows have for pixels [first, end).
  void AddGroups(const Block& at, const IndexRange* ranges, int64_t first, int64_t end, T* to,
                 int64_t step, const Buffers& buffers) const {
    for (int64_t g = 0; g < Groups(); ++g) {
      if (!ranges[g].Meets(first, end)) continue;
      const bool all = ranges[g].IsIn(first, end);
      for (int64_t w = g * group_; w < EndOfGroup(g);) {
        const PixelGradients<T> piece = PieceAt(at, w, buffers);
        if (all) {
          AddToPixels(piece, first, to, step);
        } else {
          AddToSomePixels(piece, first, end - first, to, step);
        }
        w += piece.windows;
      }
    }
  }

  // ---------------------------------------------------------------------- bands of shared planes

  bool FindRanges() {
    const int64_t groups = Groups(), count = images_ * blocks_.count * groups;
    ranges_ = Buffer<IndexRange>(count);
    std::atomic<bool> right{true};
    const Work work{count, 0.2 * total_ns_, ScratchBytes()};
    ParallelFor(work, [&](int64_t task, Scratch scratch) {
      const Buffers buffers(*this, scratch);
      const IndexRange range = RangeOfGroup(BlockAt(task / groups), task % groups, buffers);
      if (!InPlane(range)) right.store(false, std::memory_order_relaxed);
      ranges_.get()[task] = range;
    });
    return right.load();
  }

  void RunBands() const {
    const int64_t step = plane_.inner_stride(0);
    const Work work{images_ * blocks_.count * bands_.count, total_ns_, ScratchBytes()};
    ParallelFor(work, [&](int64_t task, Scratch scratch) {
      const int64_t number = task / bands_.count, band = task % bands_.count;
      const int64_t first = bands_.begin(band), end = bands_.end(band);
      const Block at = BlockAt(number);
      T* const out = at.out.InPlace() + first * step;
      Clear(out, end - first, step, at.depth);
      AddGroups(at, ranges_.get() + number * Groups(), first, end, out, step,
                Buffers(*this, scratch));
    });
  }

  // ------------------------------------------------------------------------------ whole planes

  bool Sum(const Block& at, const Buffers& buffers) const {
    return in_place_ ? SumInPlace(at, buffers) : SumInBands(at, buffers);
  }

  // Pixels of a large plane are cleared just before the first window that needs them, so that they
  // are in cache.
  bool SumInPlace(const Block& at, const Buffers& buffers) const {
    const int64_t step = plane_.inner_stride(0), pixels = plane_.count();
    const int64_t bytes = int64_t{sizeof(T)} * at.depth;
    T* const out = at.out.InPlace();
    int64_t cleared = 0;
    const auto clear_to = [&](int64_t end) {
      if (end > cleared) Clear(out + cleared * step, end - cleared, step, at.depth);
      cleared = std::max(cleared, end);
    };
    const bool small = pixels * bytes <= static_cast<int64_t>(Caches().l2 / 4);
    const int64_t ahead = small ? pixels : CeilDiv(4096, bytes);
    for (int64_t w = 0; w < windows_.count();) {
      const PixelGradients<T> piece = PieceAt(at, w, buffers);
      const IndexRange range = RangeOf(piece);
      if (!InPlane(range)) return false;
      clear_to(std::min(pixels, range.largest + ahead));
      AddToPixels(piece, 0, out, step);
      w += piece.windows;
    }
    clear_to(pixels);
    return true;
  }

  bool SumInBands(const Block& at, const Buffers& buffers) const {
    for (int64_t g = 0; g < Groups(); ++g) {
      buffers.groups[g] = RangeOfGroup(at, g, buffers);
      if (!InPlane(buffers.groups[g])) return false;
    }
    for (int64_t first = 0; first < plane_.count(); first += band_) {
      const int64_t count = std::min(band_, plane_.count() - first);
      Clear(buffers.band, count, at.depth, at.depth);
      AddGroups(at, buffers.groups, first, first + count, buffers.band, at.depth, buffers);
      Store(at, first, count, buffers.band);
    }
    return true;
  }

  // Small planes cost less than a few calls for each.
  bool PlanesAtOnce() const {
    return in_place_ && windows_.single() && dy_.native() && indices_.native() &&
           plane_.count() * int64_t{sizeof(T)} <= static_cast<int64_t>(Caches().l2 / 16);
  }

  // The planes of `count` channels from at's on.
  bool SumPlanes(const Block& at, int64_t count) const {
    const int64_t windows = windows_.count(), pixels = plane_.count();
    const int64_t step = plane_.inner_stride(0), plane_step = out_strides_.channel;
    const int64_t index_step = index_strides_.channel;
    T* const out = at.out.InPlace();
    IndexRange range;
    const int64_t inner = windows_.inner_stride(1);
    if (inner == 1 || windows == 1) {
      const bool one_run = index_step == windows;
      kernels_.range(at.indices.InPlace(), one_run ? 1 : count, index_step,
                     one_run ? windows * count : windows, &range.least, &range.largest);
    } else {
      for (int64_t c = 0; c < count; ++c) {
        kernels_.range(at.indices.InPlace() + c * index_step, windows, inner, 1, &range.least,
                       &range.largest);
      }
    }
    if (!InPlane(range)) return false;
    if (step == 1 || pixels == 1) {
      Clear(out, count, plane_step, pixels);
    } else {
      for (int64_t c = 0; c < count; ++c) Clear(out + c * plane_step, pixels, step, 1);
    }
    const PixelGradients<T> from{
        windows, 1, at.dy.InPlace(), windows_.inner_stride(0), at.indices.InPlace(), inner};
    AddToPlanes(from, count, {dy_strides_.channel, index_step, plane_step}, out, step);
    return true;
  }

  void Clear(T* to, int64_t pixels, int64_t step, int64_t depth) const {
    if (step == depth) {
      kernels_.clear(to, 1, 0, pixels * depth);
    } else {
      kernels_.clear(to, pixels, step, depth);
    }
  }

  // Pixels [first, first + count) of a plane.
  void Store(const Block& at, int64_t first, int64_t count, const T* from) const {
    const int64_t step = plane_.inner_stride(0), channel = out_strides_.channel;
    plane_.ForEachRun(first, first + count, [&](int64_t length, const MergedAxes<1>::Offsets& run) {
      const Sink<T> to = at.out + run[0];
      if (at.depth == 1) {
        to.Write(from, length, step);
      } else if (channel == 1 && step == at.depth) {
        to.Write(from, length * at.depth, 1);
      } else {
        for (int64_t i = 0; i < length; ++i) {
          (to + i * step).Write(from + i * at.depth, at.depth, channel);
        }
      }
      from += length * at.depth;
    });
  }

  const PoolBackwardKernels<T>& kernels_;
  const TensorView& index_view_;
  const Source<T> dy_;
  const Source<int64_t> indices_;
  const Sink<T> out_;
  const Strides dy_strides_, index_strides_, out_strides_;
  int64_t images_, channels_;
  MergedAxes<1> plane_;
  MergedAxes<2> windows_;
  // Whether channels are taken together, and whether sums are made where the results belong.
  bool pixels_, in_place_;
  int64_t depth_;          // most channels of a block of pixels
  int64_t run_;            // windows at equal distances
  int64_t piece_, group_;  // windows; no piece is in two groups
  int64_t band_;           // pixels
  Split blocks_;           // of channels
  Split bands_;            // of planes that threads share
  Buffer<IndexRange> ranges_;
  double total_ns_;
};

// The sizes of an image's plane and how many channels and images there are.
void CheckShapes(const Shape& dy, const Shape& indices, const Shape& x, Layout layout) {
  const size_t rank = x.size();
  if (rank != 3 && rank != 4) {
    Fail(kOp, ": input_shape is ", ToString(x), ", expected 4 axes, or 3 without the batch");
  }
  const size_t channels = layout == Layout::kNHWC ? rank - 1 : rank - 3;
  bool fits = dy.size() == rank && dy[channels] == x[channels];
  if (fits && rank == 4) fits = dy[0] == x[0];
  if (!fits) {
    Fail(kOp, ": dy has shape ", ToString(dy), ", expected the axes of input_shape ", ToString(x),
         rank == 4 ? ", as many images and channels" : ", as many channels");
  }
  if (indices != dy) {
    Fail(kOp, ": indices has shape ", ToString(indices), ", expected that of dy, ", ToString(dy));
  }
}

}  // namespace
}  // namespace pool

Shape MaxPool2dBackwardShape(const Shape& dy, const Shape& indices, const Shape& x, Layout layout) {
  pool::CheckShapes(dy, indices, x, layout);
  return CheckedShape(pool::kOp, x);
}

void MaxPool2dBackward(const TensorView& dy, const TensorView& indices, Layout layout,
                       const TensorView& out, bool out_is_new) {
  const Shape x = MaxPool2dBackwardShape(dy.sizes(), indices.sizes(), out.sizes(), layout);
  CheckView(pool::kOp, "out", out, dy.dtype, x);
  if (!IsInteger(indices.dtype)) {
    FailDType(pool::kOp, ": indices has dtype ", ToString(indices.dtype), ", expected integers");
  }
  const int64_t height = x[x.size() - (layout == Layout::kNHWC ? 3 : 2)];
  const int64_t width = x[x.size() - (layout == Layout::kNHWC ? 2 : 1)];
  const auto empty = [](const Shape& shape) {
    return std::find(shape.begin(), shape.end(), 0) != shape.end();
  };
  if (empty(x)) {
    if (!empty(dy.sizes())) pool::FailIndex(indices, height, width);
    return;
  }
  bool right = false;
  Dispatch(dy.dtype, [&](auto zero) {
    const TensorView numbers = pool::AsSigned(indices);
    pool::Scatterer<decltype(zero)> sums(pool::AsSigned(dy), numbers, layout, pool::AsSigned(out));
    right = sums.Run(!out_is_new);
  });
  if (!right) pool::FailIndex(indices, height, width);
}

}  // namespace lanewise
