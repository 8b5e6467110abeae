// The poolings by name: validation, the type they compute in, and the loop over tasks.
#include "lanewise/pool.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "ops/pool/tile.h"
#include "runtime/cpu.h"
#include "runtime/error.h"

namespace lanewise {
namespace pool {
namespace {

// One call, as its user sees it.
struct Call {
  const char* op;
  int axes;  // spatial ones
  Layout layout;
  Reduction reduction;
};

// Numbers of taps, and of padding beyond them, must fit their type.
template <class T>
void CheckSpan(const Call& call, DType dtype, const Geometry& g) {
  const double rows = double(std::min(g.rows.dilation * (g.rows.window - 1), g.rows.in - 1));
  const double columns = double(g.columns.dilation * (g.columns.window - 1));
  const double largest = double(std::numeric_limits<typename PoolKernels<T>::Number>::max());
  if (rows * double(g.columns.in) + 2 * columns >= largest) {
    Fail(call.op, ": indices of ", ToString(dtype), " need a window that spans less than ", largest,
         " elements of x; it spans ", rows + 1, " rows of ", g.columns.in);
  }
}

// Planes that follow one another in memory, and whose windows follow one another as in one plane,
// are one: many small planes are taken together.
void JoinPlanes(const Strides& x, const Strides& out, Geometry& g) {
  const auto follow = [&](const Strides& s, int64_t rows) {
    return s.channel == rows * s.row && (g.images == 1 || s.image == g.channels * s.channel);
  };
  const bool apart = g.rows.dilation * (g.rows.window - 1) < g.rows.stride;
  if (!apart || g.rows.before > 0 || g.rows.out * g.rows.stride != g.rows.in ||
      !follow(x, g.rows.in) || !follow(out, g.rows.out)) {
    return;
  }
  const int64_t planes = g.images * g.channels;
  g.rows.in *= planes;
  g.rows.out *= planes;
  g.images = g.channels = 1;
}

// Whether one window of few channels is so large that its columns should be shared by threads.
template <class T>
bool SharesColumns(const Call& call, const Geometry& g, const Strides& x) {
  const int64_t lines = CeilDiv(g.channels * int64_t{sizeof(T)}, 64);
  const double elements = double(g.images) * double(g.channels) * double(g.columns.in);
  return call.axes == 2 && call.layout == Layout::kNHWC && x.channel == 1 && g.rows.out == 1 &&
         g.columns.out == 1 && g.columns.in >= 64 && g.rows.window >= 16 &&
         elements * sizeof(T) <= double(Caches().l2) &&
         g.images * lines < ThreadsFor(elements * double(g.rows.in) * 0.1);
}

template <class T>
void Run(const Call& call, Geometry g, const TensorView& x, const TensorView& out,
         const TensorView* indices, const FloatKeys<T>* keys = nullptr) {
  if (indices) CheckSpan<T>(call, x.dtype, g);
  if (g.images == 0 || g.channels == 0 || g.rows.out == 0 || g.columns.out == 0) return;
  const auto& kernels = PoolKernelsFor<T>(ActiveTarget());
  const Strides from(x, call.layout, call.axes), to(out, call.layout, call.axes);
  const Strides index_to(indices ? *indices : out, call.layout, call.axes);
  if (!indices && SharesColumns<T>(call, g, from)) {
    // First each column, then their row: the same order as that of one tile.
    const Shape shape{g.images, 1, g.columns.in, g.channels};
    std::vector<T> row(g.images * g.columns.in * g.channels);
    const TensorView columns = ContiguousView(row.data(), DTypeOf<T>::value, shape);
    Call each = call, all = call;
    each.reduction.sum = true;
    all.reduction.parts = EndTap(g.rows, 0) - FirstTap(g.rows, 0);
    if (call.reduction.count_include_pad) all.reduction.parts = PaddedTaps(g.rows, 0);
    const WindowAxis pixel{g.columns.in, 1, 1, 1, 0, 0, g.columns.in}, one_row{1, 1, 1, 1, 0, 0, 1};
    Run<T>(each, {g.images, g.channels, g.rows, pixel}, x, columns, nullptr, keys);
    return Run<T>(all, {g.images, g.channels, one_row, g.columns}, columns, out, nullptr, keys);
  }
  if (!indices) JoinPlanes(from, to, g);
  const Source<T> source(x);
  const Sink<T> sink(out);
  const Plan<T> plan(g, call.reduction, from, source.native(), keys != nullptr, kernels.lanes);

  const int64_t per_block = plan.rows.count * plan.columns.count;
  const int64_t per_image = plan.channels.count * per_block;
  const Work work{g.images * per_image, plan.total_ns, plan.ScratchBytes()};
  ParallelFor(work, [&](int64_t task, Scratch scratch) {
    const int64_t image = task / per_image, block = task % per_image / per_block;
    const int64_t columns = task % per_block / plan.rows.count, rows = task % plan.rows.count;
    const int64_t end = plan.channels.end(block);
    Tile<T> tile(kernels, plan, g, keys, from, to, index_to, scratch);
    for (int64_t c = plan.channels.begin(block), depth; c < end; c += depth) {
      depth = plan.pixels ? end - c : 1;
      tile.Run(source + (image * from.image + c * from.channel),
               sink + (image * to.image + c * to.channel),
               indices ? Data<int64_t>(*indices) + image * index_to.image + c * index_to.channel
                       : nullptr,
               depth, plan.rows.begin(rows), plan.rows.end(rows), plan.columns.begin(columns),
               plan.columns.end(columns));
    }
  });
}

// Floating-point numbers with this infinity as integers T.
template <class T>
void RunKeys(const Call& call, const Geometry& g, TensorView x, TensorView out, T infinity) {
  // The quiet NaN without a sign, and with it, whose key is beyond all others at the other end.
  const T nan = static_cast<T>(infinity | (infinity & -infinity) >> 1);
  const Pick pick = call.reduction.pick;
  const bool last = pick == Pick::kMax || pick == Pick::kMinOmitNaN;
  const FloatKeys<T> keys{infinity, last ? nan : static_cast<T>(~nan), nan};
  x.dtype = out.dtype = DTypeOf<T>::value;
  Run<T>(call, g, x, out, nullptr, &keys);
}

// Winners are of x's own type. Without numbers, narrow floating-point ones are compared as integers
// of their size, and wide ones where the window is long enough for that to pay; else as float,
// which changes none of them. Narrow integers, if numbered, are compared in lanes as wide as their
// numbers.
void RunPick(const Call& call, const Geometry& g, TensorView x, TensorView out,
             const TensorView* indices) {
  const bool omit =
      call.reduction.pick == Pick::kMaxOmitNaN || call.reduction.pick == Pick::kMinOmitNaN;
  const bool keys = omit || TallCascade(g) || WideCascade(g);
  if (!indices) {
    if (x.dtype == DType::kFloat16) return RunKeys<int16_t>(call, g, x, out, 0x7c00);
    if (x.dtype == DType::kBFloat16) return RunKeys<int16_t>(call, g, x, out, 0x7f80);
    if (x.dtype == DType::kFloat32 && keys) {
      return RunKeys<int32_t>(call, g, x, out, 0x7f800000);
    }
    if (x.dtype == DType::kFloat64 && keys) {
      return RunKeys<int64_t>(call, g, x, out, 0x7ff0000000000000);
    }
  }
  if (IsFloat(x.dtype)) {
    return DispatchFloat(x.dtype,
                         [&](auto zero) { Run<decltype(zero)>(call, g, x, out, indices); });
  }
  if (indices && ItemSize(x.dtype) < 4) return Run<int32_t>(call, g, x, out, indices);
  if (x.dtype == DType::kBool) x.dtype = out.dtype = DType::kUInt8;  // bytes of 0 and 1
  switch (x.dtype) {
    case DType::kInt8:
      return Run<int8_t>(call, g, x, out, indices);
    case DType::kUInt8:
      return Run<uint8_t>(call, g, x, out, indices);
    case DType::kInt16:
      return Run<int16_t>(call, g, x, out, indices);
    case DType::kUInt16:
      return Run<uint16_t>(call, g, x, out, indices);
    case DType::kInt32:
      return Run<int32_t>(call, g, x, out, indices);
    case DType::kUInt32:
      return Run<uint32_t>(call, g, x, out, indices);
    case DType::kInt64:
      return Run<int64_t>(call, g, x, out, indices);
    default:
      return Run<uint64_t>(call, g, x, out, indices);
  }
}

Shape ShapeOf(const char* op, int axes, const Shape& x, const PoolOptions& options) {
  return OutputShape(op, axes, x, Resolve(op, axes, x, options), options.layout);
}

void Winner(const char* op, int axes, bool smallest, const TensorView& x,
            const PoolOptions& options, const TensorView& out, const TensorView* indices) {
  const bool omit = options.nan_policy == NanPolicy::kOmit;
  const Pick pick =
      smallest ? (omit ? Pick::kMinOmitNaN : Pick::kMin) : (omit ? Pick::kMaxOmitNaN : Pick::kMax);
  const Geometry g = Resolve(op, axes, x.sizes(), options);
  const Shape shape = OutputShape(op, axes, x.sizes(), g, options.layout);
  CheckView(op, "out", out, x.dtype, shape);
  if (indices) CheckView(op, "indices", *indices, DType::kInt64, shape);
  RunPick({op, axes, options.layout, {false, pick, indices != nullptr, false}}, g, x, out, indices);
}

void Average(const char* op, int axes, const TensorView& x, const PoolOptions& options,
             const TensorView& out) {
  const Geometry g = Resolve(op, axes, x.sizes(), options);
  const DType dtype = IsFloat(x.dtype) ? x.dtype : DType::kFloat64;
  CheckView(op, "out", out, dtype, OutputShape(op, axes, x.sizes(), g, options.layout));
  const Call call{op, axes, options.layout, {true, Pick::kMax, false, options.count_include_pad}};
  DispatchFloat(dtype, [&](auto zero) { Run<decltype(zero)>(call, g, x, out, nullptr); });
}

}  // namespace
}  // namespace pool

Shape MaxPool2dShape(const Shape& x, const PoolOptions& options) {
  return pool::ShapeOf("max_pool2d", 2, x, options);
}
Shape MinPool2dShape(const Shape& x, const PoolOptions& options) {
  return pool::ShapeOf("min_pool2d", 2, x, options);
}
Shape AvgPool2dShape(const Shape& x, const PoolOptions& options) {
  return pool::ShapeOf("avg_pool2d", 2, x, options);
}
Shape MaxPool1dShape(const Shape& x, const PoolOptions& options) {
  return pool::ShapeOf("max_pool1d", 1, x, options);
}
Shape MinPool1dShape(const Shape& x, const PoolOptions& options) {
  return pool::ShapeOf("min_pool1d", 1, x, options);
}
Shape AvgPool1dShape(const Shape& x, const PoolOptions& options) {
  return pool::ShapeOf("avg_pool1d", 1, x, options);
}
Shape GlobalMaxPool2dShape(const Shape& x, Layout layout) {
  constexpr const char* kOp = "global_max_pool2d";
  return pool::ShapeOf(kOp, 2, x, pool::GlobalOptions(kOp, x, layout));
}
Shape GlobalAvgPool2dShape(const Shape& x, Layout layout) {
  constexpr const char* kOp = "global_avg_pool2d";
  return pool::ShapeOf(kOp, 2, x, pool::GlobalOptions(kOp, x, layout));
}

void MaxPool2d(const TensorView& x, const PoolOptions& options, const TensorView& out,
               const TensorView* indices) {
  pool::Winner("max_pool2d", 2, false, x, options, out, indices);
}
void MinPool2d(const TensorView& x, const PoolOptions& options, const TensorView& out,
               const TensorView* indices) {
  pool::Winner("min_pool2d", 2, true, x, options, out, indices);
}
void AvgPool2d(const TensorView& x, const PoolOptions& options, const TensorView& out) {
  pool::Average("avg_pool2d", 2, x, options, out);
}
void MaxPool1d(const TensorView& x, const PoolOptions& options, const TensorView& out,
               const TensorView* indices) {
  pool::Winner("max_pool1d", 1, false, x, options, out, indices);
}
void MinPool1d(const TensorView& x, const PoolOptions& options, const TensorView& out,
               const TensorView* indices) {
  pool::Winner("min_pool1d", 1, true, x, options, out, indices);
}
void AvgPool1d(const TensorView& x, const PoolOptions& options, const TensorView& out) {
  pool::Average("avg_pool1d", 1, x, options, out);
}
void GlobalMaxPool2d(const TensorView& x, Layout layout, const TensorView& out) {
  constexpr const char* kOp = "global_max_pool2d";
  pool::Winner(kOp, 2, false, x, pool::GlobalOptions(kOp, x.sizes(), layout), out, nullptr);
}
void GlobalAvgPool2d(const TensorView& x, Layout layout, const TensorView& out) {
  constexpr const char* kOp = "global_avg_pool2d";
  pool::Average(kOp, 2, x, pool::GlobalOptions(kOp, x.sizes(), layout), out);
}

}  // namespace lanewise
