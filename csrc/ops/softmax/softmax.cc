// Softmax along one axis of any array.
//
//   task      a range of positions (of the other axes)
//     block   one row, or a few panels of NR neighbouring positions
//       phase   max, sum, apply: each runs over the whole axis before the next
//         chunk   as much of the axis as scratch holds; read in place where it can be
//
// Where one chunk holds the whole axis, it is packed once per block and stays in cache.
#include "lanewise/softmax.h"

#include <algorithm>

#include "kernels/kernels.h"
#include "ops/softmax/positions.h"
#include "ops/strided.h"
#include "runtime/cpu.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr const char* kNames[kSoftmaxOps] = {"softmax", "log_softmax", "softmax_backward",
                                             "log_softmax_backward"};

bool IsBackward(SoftmaxOp op) {
  return op == SoftmaxOp::kSoftmaxBackward || op == SoftmaxOp::kLogSoftmaxBackward;
}

// The arrays of an op, in the order in which Positions knows them.
enum : int { kOut, kA, kB };  // the result; x or dy; y, in gradients only

// Up to this length rows are cheaper to transpose into panels than to finish one by one. Measured
// on Zen 3, float32, ns per element as a panel and as a row: softmax of 10 1.7 and 6, of 64 1.30
// and 1.75, of 128 1.27 and 1.37; softmax_backward of 32 0.86 and 1.23, of 64 0.74 and 0.71.
int64_t ShortRow(SoftmaxOp op) { return IsBackward(op) ? 48 : 128; }

// How the problem is cut. Nothing here changes the order of a sum.
struct Plan {
  int64_t nr;      // 1: rows
  int64_t panels;  // of a block
  int64_t chunk;   // elements of the axis in scratch at a time: n, or a multiple of B
  Split tasks;
  double total_ns;

  int64_t block() const { return nr * panels; }
};

// One array as the phases see it.
template <class T>
struct Operand {
  T* data = nullptr;
  int64_t axis_stride = 0, inner_stride = 0;
};

template <class T>
struct Problem {
  SoftmaxOp op;
  const SoftmaxKernels<T>& kernels;
  int64_t n;  // length of the axis
  Positions positions;
  Operand<T> operands[Positions::kMaxArrays];
  int arrays;

  bool AllAxis(int64_t stride) const {
    return std::all_of(operands, operands + arrays,
                       [&](const Operand<T>& o) { return o.axis_stride == stride; });
  }
  bool AllInner(int64_t stride) const {
    return std::all_of(operands, operands + arrays,
                       [&](const Operand<T>& o) { return o.inner_stride == stride; });
  }
};

template <class T>
Plan PlanFor(const Problem<T>& p) {
  const int64_t count = p.positions.count(), n = p.n, size = sizeof(T);
  const int64_t line = p.kernels.nr, partials = p.kernels.partials;
  // Panels pay where positions are neighbours in memory, or rows short; and if they are mostly
  // full.
  const bool across = p.AllInner(1) && !p.AllAxis(1);
  const bool panels_pay = count >= line / 2 && (across || n <= ShortRow(p.op));
  const int64_t nr = panels_pay ? line : 1;

  // 1 ns per float32 where there is an exponential, 0.3 where there is none.
  const bool exponential = p.op != SoftmaxOp::kSoftmaxBackward;
  const double total_ns =
      double(count) * double(n) * (exponential ? 1.0 : 0.3) * double(size) / sizeof(float);
  const int64_t threads = ThreadsFor(total_ns);

  // Rows of one panel that the inputs' share of L2 holds.
  const int64_t inputs = IsBackward(p.op) ? 2 : 1;
  const int64_t room = std::max(partials, int64_t(Caches().l2) / 2 / (nr * size * inputs));
  int64_t panels = 1, chunk = n;
  if (n > room) {
    // Four cache lines at a time keep the memory's prefetchers busy.
    panels = nr == 1 ? 1 : 4;
    chunk = std::max(partials, room / panels / partials * partials);
  } else if (nr > 1) {
    panels = std::clamp<int64_t>(room / n, 1, 16);
  }
  panels = std::min(panels, std::max<int64_t>(1, CeilDiv(CeilDiv(count, threads), nr)));

  // Tasks of 16 Ki elements (5-15 µs) level the threads at no cost.
  const int64_t at_most = std::max<int64_t>(nr * panels, (int64_t{1} << 14) / n);
  return {nr, panels, chunk, Split(count, nr * panels, at_most), total_ns};
}

// A block of positions, in one thread's scratch.
template <class T>
class Block {
 public:
  Block(const Problem<T>& problem, const Plan& plan, Scratch scratch)
      : p_(problem),
        plan_(plan),
        phases_((plan.nr == 1 ? problem.kernels.row
                              : problem.kernels.panel)[static_cast<int>(problem.op)]),
        panel_size_(plan.chunk * plan.nr),
        partials_size_(PartialsSize(problem, plan)) {
    for (int i = 0; i < p_.arrays; ++i) in_place_[i] = InPlace(p_, plan_, i);
    a_ = scratch.Take<T>(PackedSize(problem, plan, kA));
    b_ = scratch.Take<T>(PackedSize(problem, plan, kB));
    partials_ = scratch.Take<T>(plan.panels * partials_size_);
    max_ = scratch.Take<T>(plan.block());
    totals_ = scratch.Take<T>(plan.block());
    pieces_ = scratch.Take<Piece>(plan.block());
  }

  static size_t ScratchBytes(const Problem<T>& problem, const Plan& plan) {
    return Scratch::Bytes<T>(PackedSize(problem, plan, kA)) +
           Scratch::Bytes<T>(PackedSize(problem, plan, kB)) +
           Scratch::Bytes<T>(plan.panels * PartialsSize(problem, plan)) +
           2 * Scratch::Bytes<T>(plan.block()) + Scratch::Bytes<Piece>(plan.block());
  }

  // Positions [begin, end), at most plan.block() of them.
  void Run(int64_t begin, int64_t end) {
    FindPieces(begin, end);
    if (phases_.max != nullptr) ForEachChunk([&](int64_t i, int64_t n) { Max(i, n); });
    ForEachChunk([&](int64_t i, int64_t n) { Sum(i, n); });
    for (int64_t panel = 0; panel < panels_; ++panel) {
      phases_.total(p_.n, partials_ + panel * partials_size_, totals_ + panel * plan_.nr);
    }
    ForEachChunk([&](int64_t i, int64_t n) { Apply(i, n); });
  }

 private:
  // Neighbours on the innermost axis that go to neighbouring lanes of one panel.
  struct Piece {
    int64_t panel, lane, count;
    Positions::Offsets offsets;
  };

  static int64_t PartialsSize(const Problem<T>& problem, const Plan& plan) {
    return SoftmaxKernels<T>::kMaxSums * problem.kernels.partials * plan.nr;
  }
  static bool InPlace(const Problem<T>& problem, const Plan& plan, int array) {
    return plan.nr == 1 && problem.operands[array].axis_stride == 1;
  }
  // `a` is packed unless it and out are used in place, `b` unless it is or is not there.
  static int64_t PackedSize(const Problem<T>& problem, const Plan& plan, int array) {
    const bool needed = array == kA ? !InPlace(problem, plan, kA) || !InPlace(problem, plan, kOut)
                                    : problem.arrays > kB && !InPlace(problem, plan, kB);
    return needed ? plan.block() * plan.chunk : 0;
  }

  template <class F>
  void ForEachChunk(const F& f) {
    for (int64_t i = 0; i < p_.n; i += plan_.chunk) f(i, std::min(plan_.chunk, p_.n - i));
  }
  bool Whole() const { return plan_.chunk == p_.n; }

  void FindPieces(int64_t begin, int64_t end) {
    const int64_t nr = plan_.nr;
    loaded_[kA] = loaded_[kB] = false;
    piece_count_ = 0;
    int64_t panel = 0, lane = 0;  // counted, since divisions would show in short rows
    p_.positions.ForEachRun(begin, end, [&](int64_t length, Positions::Offsets offsets) {
      while (length > 0) {
        const int64_t count = std::min(nr - lane, length);
        pieces_[piece_count_++] = {panel, lane, count, offsets};
        length -= count;
        lane += count;
        if (lane == nr) ++panel, lane = 0;
        for (int i = 0; i < p_.arrays; ++i) offsets[i] += count * p_.operands[i].inner_stride;
      }
    });
    panels_ = panel + (lane > 0);
    if (lane == 0) return;
    // Lanes that no position fills take part in the arithmetic, so they must hold numbers.
    for (T* packed : {a_, b_}) {
      if (packed == b_ && p_.arrays <= kB) continue;
      std::fill_n(packed + (panels_ - 1) * panel_size_, panel_size_, T(0));
    }
  }

  T* Address(int array, const Piece& piece, int64_t i) const {
    const Operand<T>& operand = p_.operands[array];
    return operand.data + piece.offsets[array] + i * operand.axis_stride;
  }

  void Max(int64_t i, int64_t n) {
    const T* a = Load(kA, i, n, a_);
    for (int64_t panel = 0; panel < panels_; ++panel) {
      phases_.max(a + panel * panel_size_, n, i == 0, max_ + panel * plan_.nr);
    }
  }

  void Sum(int64_t i, int64_t n) {
    const T* a = Load(kA, i, n, a_);
    const T* b = Load(kB, i, n, b_);
    T* out = Target(i);
    for (int64_t panel = 0; panel < panels_; ++panel) {
      const int64_t at = panel * panel_size_;
      phases_.sum(a + at, b + at, n, max_ + panel * plan_.nr, i == 0, out + at,
                  partials_ + panel * partials_size_);
    }
    if (p_.op == SoftmaxOp::kSoftmax && !Whole()) Store(i, n);
  }

  void Apply(int64_t i, int64_t n) {
    T* out = Target(i);
    const T* a = out;
    if (p_.op != SoftmaxOp::kSoftmax) {
      a = Load(kA, i, n, a_);
    } else if (!Whole()) {
      a = Load(kOut, i, n, a_);
    }
    const T* b = Load(kB, i, n, b_);
    for (int64_t panel = 0; panel < panels_; ++panel) {
      const int64_t at = panel * panel_size_;
      phases_.apply(a + at, b + at, n, max_ + panel * plan_.nr, totals_ + panel * plan_.nr,
                    out + at);
    }
    Store(i, n);
  }

  // Where a phase writes elements from i on: out itself, or over `a`, of which it has the last use.
  T* Target(int64_t i) const { return in_place_[kOut] ? Address(kOut, pieces_[0], i) : a_; }

  // Elements [i, i + n) of the axis, in place or packed as [panel][n][nr].
  const T* Load(int array, int64_t i, int64_t n, T* packed) {
    if (array >= p_.arrays) return packed;
    if (in_place_[array]) return Address(array, pieces_[0], i);
    if (loaded_[array]) return packed;
    loaded_[array] = Whole();
    const Operand<T>& from = p_.operands[array];
    if (plan_.nr == 1) {
      Gather(Address(array, pieces_[0], i), from.axis_stride, n, packed);
      return packed;
    }
    ForEachPiece(from, n, [&](const Piece& piece, int64_t k, int64_t rows) {
      const T* source = Address(array, piece, i + k);
      T* panel = packed + PanelOffset(piece, k);
      if (from.inner_stride == 1) {
        p_.kernels.copy(source, from.axis_stride, rows, piece.count, panel, plan_.nr);
      } else if (from.axis_stride == 1) {
        p_.kernels.transpose(source, from.inner_stride, piece.count, rows, panel, plan_.nr);
      } else {
        for (int64_t r = 0; r < rows; ++r) {
          Gather(source + r * from.axis_stride, from.inner_stride, piece.count,
                 panel + r * plan_.nr);
        }
      }
    });
    return packed;
  }

  // From Target to elements [i, i + n) of out.
  void Store(int64_t i, int64_t n) {
    const Operand<T>& out = p_.operands[kOut];
    if (in_place_[kOut]) return;
    if (plan_.nr == 1) return Scatter(a_, n, Address(kOut, pieces_[0], i), out.axis_stride);
    ForEachPiece(out, n, [&](const Piece& piece, int64_t k, int64_t rows) {
      const T* panel = a_ + PanelOffset(piece, k);
      T* to = Address(kOut, piece, i + k);
      if (out.inner_stride == 1) {
        p_.kernels.copy(panel, plan_.nr, rows, piece.count, to, out.axis_stride);
      } else if (out.axis_stride == 1) {
        p_.kernels.transpose(panel, plan_.nr, rows, piece.count, to, out.inner_stride);
      } else {
        for (int64_t r = 0; r < rows; ++r) {
          Scatter(panel + r * plan_.nr, piece.count, to + r * out.axis_stride, out.inner_stride);
        }
      }
    });
  }

  int64_t PanelOffset(const Piece& piece, int64_t k) const {
    return piece.panel * panel_size_ + piece.lane + k * plan_.nr;
  }

  // Calls f(piece, k, rows) for n elements of the axis in all pieces of the block: where positions
  // are neighbours a few elements k … k + rows at a time, so that whole memory pages are used.
  template <class F>
  void ForEachPiece(const Operand<T>& operand, int64_t n, const F& f) const {
    const int64_t step = operand.inner_stride == 1 ? 16 : n;
    for (int64_t k = 0; k < n; k += step) {
      for (int64_t j = 0; j < piece_count_; ++j) f(pieces_[j], k, std::min(step, n - k));
    }
  }

  const Problem<T>& p_;
  const Plan& plan_;
  const SoftmaxPhases<T>& phases_;
  const int64_t panel_size_, partials_size_;
  bool in_place_[Positions::kMaxArrays], loaded_[Positions::kMaxArrays];
  int64_t panels_ = 0, piece_count_ = 0;
  // Scratch.
  T *a_, *b_;  // [panel][chunk][nr]
  T* partials_;
  T *max_, *totals_;
  Piece* pieces_;
};

template <class T>
void Run(SoftmaxOp op, const TensorView& a, const TensorView& b, int axis, const TensorView& out) {
  const int arrays = IsBackward(op) ? 3 : 2;
  const TensorView* const views[] = {&out, &a, &b};
  Problem<T> problem{op,
                     SoftmaxKernelsFor<T>(ActiveTarget()),
                     a.shape[axis],
                     Positions(views, arrays, axis),
                     {},
                     arrays};
  if (problem.n == 0 || problem.positions.count() == 0) return;
  for (int i = 0; i < arrays; ++i) {
    // A stride that is never taken counts as contiguous.
    const int64_t axis_stride = problem.n == 1 ? 1 : views[i]->strides[axis];
    problem.operands[i] = {Data<T>(*views[i]), axis_stride, problem.positions.inner_stride(i)};
  }
  const Plan plan = PlanFor(problem);
  const Work work{plan.tasks.count, plan.total_ns, Block<T>::ScratchBytes(problem, plan)};
  ParallelFor(work, [&](int64_t task, Scratch scratch) {
    Block<T> block(problem, plan, scratch);
    const int64_t end = plan.tasks.end(task);
    for (int64_t at = plan.tasks.begin(task); at < end; at += plan.block()) {
      block.Run(at, std::min(end, at + plan.block()));
    }
  });
}

void Dispatch(SoftmaxOp op, const TensorView& a, const TensorView& b, int axis,
              const TensorView& out) {
  const char* const name = kNames[static_cast<int>(op)];
  if (axis < -a.rank || axis >= a.rank) {
    Fail(name, ": axis ", axis, " is out of bounds for shape ", ToString(a.sizes()));
  }
  CheckView(name, "out", out, a.dtype, a.sizes());
  axis = axis < 0 ? axis + a.rank : axis;
  switch (a.dtype) {
    case DType::kFloat32:
      return Run<float>(op, a, b, axis, out);
    case DType::kFloat64:
      return Run<double>(op, a, b, axis, out);
    default:
      FailDType(name, ": dtype is ", ToString(a.dtype), ", expected float32 or float64");
  }
}

void DispatchBackward(SoftmaxOp op, const TensorView& dy, const TensorView& y, int axis,
                      const TensorView& out) {
  const char* const name = kNames[static_cast<int>(op)];
  CheckView(name, "y", y, dy.dtype, SoftmaxBackwardShape(name, dy.sizes(), y.sizes()));
  Dispatch(op, dy, y, axis, out);
}

}  // namespace

Shape SoftmaxBackwardShape(const char* op, const Shape& dy, const Shape& y) {
  if (dy != y) {
    Fail(op, ": dy has shape ", ToString(dy), " but y has shape ", ToString(y));
  }
  return dy;
}

void Softmax(const TensorView& x, int axis, const TensorView& out) {
  Dispatch(SoftmaxOp::kSoftmax, x, x, axis, out);
}

void LogSoftmax(const TensorView& x, int axis, const TensorView& out) {
  Dispatch(SoftmaxOp::kLogSoftmax, x, x, axis, out);
}

void SoftmaxBackward(const TensorView& dy, const TensorView& y, int axis, const TensorView& out) {
  DispatchBackward(SoftmaxOp::kSoftmaxBackward, dy, y, axis, out);
}

void LogSoftmaxBackward(const TensorView& dy, const TensorView& y, int axis,
                        const TensorView& out) {
  DispatchBackward(SoftmaxOp::kLogSoftmaxBackward, dy, y, axis, out);
}

}  // namespace lanewise
