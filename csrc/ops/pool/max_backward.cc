// The gradient of a maximum or minimum: what goes to each window goes on to the pixel that won it.
//
//   task     an image × a block of channels, which are neighbours ("pixels") or planes in turn
//     band   pixels of x that are summed in scratch; all of them where that can happen in `out`
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

// Throws std::out_of_range unless all indices are in [0, height·width).
void CheckIndices(const TensorView& indices, int64_t height, int64_t width) {
  // In the order of memory, which is the fastest.
  std::vector<int> order(indices.rank);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return std::abs(indices.strides[a]) > std::abs(indices.strides[b]);
  });
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
    if (least < 0 || largest >= height * width) wrong.store(true, std::memory_order_relaxed);
  });
  if (wrong.load()) FailIndex(indices, height, width);
}

// -------------------------------------------------------------------------------------------- sums

struct IndexRange {
  int64_t least = std::numeric_limits<int64_t>::max(), largest = -1;
};

template <class T>
class Scatterer {
 public:
  Scatterer(const TensorView& dy, const TensorView& indices, Layout layout, const TensorView& out)
      : kernels_(PoolBackwardKernelsFor<T>(ActiveTarget())),
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
    Plan();
  }

  void Run() const {
    const int64_t blocks = channels_split_.count;
    const Work work{images_ * blocks, total_ns_, ScratchBytes()};
    ParallelFor(work, [&](int64_t task, Scratch scratch) {
      const int64_t image = task / blocks, block = task % blocks;
      const int64_t end = channels_split_.end(block);
      Buffers buffers(*this, scratch);
      for (int64_t c = channels_split_.begin(block), depth; c < end; c += depth) {
        depth = pixels_ ? end - c : 1;
        const Block at{dy_ + (image * dy_strides_.image + c * dy_strides_.channel),
                       indices_ + (image * index_strides_.image + c * index_strides_.channel),
                       out_ + (image * out_strides_.image + c * out_strides_.channel), depth};
        if (in_place_) {
          SumInPlace(at, buffers);
        } else {
          SumInBands(at, buffers);
        }
      }
    });
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

  void Plan() {
    pixels_ = channels_ > 1 && out_strides_.channel == 1;
    in_place_ = out_.native() && plane_.single();
    const double block_ns = double(windows_.count()) + 0.2 * double(plane_.count());
    total_ns_ = double(images_) * double(channels_) * block_ns;
    if (pixels_) {
      // Blocks of whole cache lines; more than one where there are few images to share.
      const int64_t line = 64 / sizeof(T), threads = ThreadsFor(total_ns_);
      const int64_t blocks = threads == 1 ? 1 : CeilDiv(4 * threads, images_);
      channels_split_ = Split(channels_, line, 1024, std::min(blocks, channels_ / (2 * line)));
      depth_ = channels_split_.longest();
    } else {
      channels_split_ = Split(channels_, 1, static_cast<int64_t>(1 + 10e3 / (1 + block_ns)));
      depth_ = 1;
    }
    piece_ = std::max<int64_t>(1, kPiece / depth_);
    group_ = RoundUp(std::max(piece_, CeilDiv(windows_.count(), kGroups)), piece_);
    const int64_t room = std::max<int64_t>(1, Caches().l2 / 2 / sizeof(T) / depth_);
    band_ = in_place_ ? plane_.count() : std::min(plane_.count(), room);
  }

  size_t ScratchBytes() const {
    return Scratch::Bytes<T>(piece_ * depth_) + Scratch::Bytes<int64_t>(piece_ * depth_) +
           Scratch::Bytes<T>(in_place_ ? 0 : band_ * depth_) + Scratch::Bytes<IndexRange>(kGroups);
  }

  // Calls f(gradients) for all windows [begin, end), in order.
  template <class F>
  void ForPieces(const Block& at, const Buffers& buffers, int64_t begin, int64_t end,
                 const F& f) const {
    windows_.ForEachRun(begin, end, [&](int64_t length, const MergedAxes<2>::Offsets& run) {
      const int64_t dy_step = windows_.inner_stride(0), index_step = windows_.inner_stride(1);
      for (int64_t o = 0, n; o < length; o += n) {
        n = std::min(piece_, length - o);
        PixelGradients<T> piece{static_cast<size_t>(n), static_cast<size_t>(at.depth), nullptr, 0,
                                nullptr, 0};
        piece.dy = Read(at.dy + (run[0] + o * dy_step), dy_step, dy_strides_.channel, n, at.depth,
                        buffers.dy, &piece.dy_step);
        piece.indices = Read(at.indices + (run[1] + o * index_step), index_step,
                             index_strides_.channel, n, at.depth, buffers.indices,
                             &piece.index_step);
        f(piece);
      }
    });
  }

  // n windows of so many channels, in place or in `to`, and the step from one to the next.
  template <class C>
  static const C* Read(const Source<C>& from, int64_t step, int64_t channel, int64_t n,
                       int64_t depth, C* to, ptrdiff_t* new_step) {
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
    const bool one_run = piece.index_step == static_cast<ptrdiff_t>(piece.depth);
    kernels_.range(piece.indices, one_run ? 1 : piece.pixels, piece.index_step,
                   one_run ? piece.pixels * piece.depth : piece.depth, &range.least,
                   &range.largest);
    return range;
  }

  // Pixels of a large plane are cleared just before the first window that needs them, so that they
  // are in cache.
  void SumInPlace(const Block& at, const Buffers& buffers) const {
    const int64_t step = plane_.inner_stride(0), pixels = plane_.count();
    const int64_t bytes = int64_t{sizeof(T)} * at.depth;
    T* const out = at.out.InPlace();
    const bool small = pixels * bytes <= static_cast<int64_t>(Caches().l2 / 4);
    int64_t cleared = 0;
    const auto clear_to = [&](int64_t end) {
      if (end <= cleared) return;
      Clear(out + cleared * step, end - cleared, step, at.depth);
      cleared = end;
    };
    if (small) clear_to(pixels);
    const int64_t ahead = std::max<int64_t>(1, 4096 / bytes);
    ForPieces(at, buffers, 0, windows_.count(), [&](const PixelGradients<T>& piece) {
      if (cleared < pixels) clear_to(std::min(pixels, RangeOf(piece).largest + ahead));
      kernels_.add_all(piece, out, step);
    });
    clear_to(pixels);
  }

  void SumInBands(const Block& at, const Buffers& buffers) const {
    const int64_t pixels = plane_.count(), windows = windows_.count();
    const bool one_band = band_ >= pixels;
    if (!one_band) {
      for (int64_t w = 0; w < windows; w += group_) {
        IndexRange& range = buffers.groups[w / group_] = {};
        ForPieces(at, buffers, w, std::min(windows, w + group_),
                  [&](const PixelGradients<T>& piece) { range = RangeOf(piece, range); });
      }
    }
    for (int64_t first = 0; first < pixels; first += band_) {
      const int64_t count = std::min(band_, pixels - first);
      Clear(buffers.band, count, at.depth, at.depth);
      for (int64_t w = 0; w < windows; w += group_) {
        const IndexRange& range = buffers.groups[w / group_];
        if (!one_band && (range.largest < first || range.least >= first + count)) continue;
        ForPieces(at, buffers, w, std::min(windows, w + group_),
                  [&](const PixelGradients<T>& piece) {
                    if (one_band) {
                      kernels_.add_all(piece, buffers.band, at.depth);
                    } else {
                      kernels_.add_within(piece, first, count, buffers.band, at.depth);
                    }
                  });
      }
      Store(at, first, count, buffers.band);
    }
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
  const Source<T> dy_;
  const Source<int64_t> indices_;
  const Sink<T> out_;
  const Strides dy_strides_, index_strides_, out_strides_;
  int64_t images_, channels_;
  MergedAxes<1> plane_;
  MergedAxes<2> windows_;
  // Whether channels are taken together, and whether sums are made where the results belong.
  bool pixels_, in_place_;
  int64_t depth_;                // most channels of a block
  int64_t piece_, group_;        // windows; a group is made of whole pieces
  int64_t band_;                 // pixels
  Split channels_split_;
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
                       const TensorView& out) {
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
  const bool no_window = empty(dy.sizes());
  if (!no_window) pool::CheckIndices(indices, height, width);
  if (empty(x)) return;
  Dispatch(dy.dtype, [&](auto zero) {
    pool::Scatterer<decltype(zero)>(pool::AsSigned(dy), pool::AsSigned(indices), layout,
                                    pool::AsSigned(out))
        .Run();
  });
}

}  // namespace lanewise
