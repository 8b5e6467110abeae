// Blocking of the pairwise distances.
//
//   task      a block of columns (rows of y) × a chunk of rows of x, of one matrix of the batch
//     terms   a range of the d coordinates, nearly always all; y's columns are packed for it as
//             [k][NR] panels, once per task where the range holds all coordinates
//       block a few rows of x, packed as [k][MR] tiles
//         panel × slice of the terms × tile    the kernel: MR × NR totals in registers
#include <algorithm>
#include <limits>

#include "kernels/kernels.h"
#include "lanewise/distance.h"
#include "lanewise/runtime.h"
#include "ops/distance/exact.h"
#include "ops/strided.h"
#include "runtime/cpu.h"
#include "runtime/error.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr const char* kOp = "pairwise_distances";

Term TermOf(Metric metric) {
  switch (metric) {
    case Metric::kEuclidean:
    case Metric::kSqEuclidean:
      return Term::kSquare;
    case Metric::kManhattan:
      return Term::kAbs;
    case Metric::kChebyshev:
      return Term::kMax;
    case Metric::kCosine:
    case Metric::kDot:
      return Term::kProduct;
  }
  Fail(kOp, ": unknown metric ", static_cast<int>(metric));
}

// Below this a sum of d squares may have lost digits: each of d terms and additions is off by up to
// half the smallest denormal, which stays below eps/4 of sums from 4·d·(smallest normal) up.
template <class T>
T SmallestTrusted(int64_t d) {
  return static_cast<T>(4 * d) * std::numeric_limits<T>::min();
}

// Element offset of matrix `index` of the batch that `out`'s leading axes span; axes that `view`
// lacks or has with length 1 are broadcast.
int64_t MatrixOffset(const TensorView& view, const TensorView& out, int64_t index) {
  int64_t offset = 0;
  for (int axis = out.rank - 3; axis >= 0; --axis) {
    const int64_t position = index % out.shape[axis];
    index /= out.shape[axis];
    const int own = axis - (out.rank - view.rank);
    if (own >= 0 && view.shape[own] != 1) offset += position * view.strides[own];
  }
  return offset;
}

// The rows of a (rows, d) matrix.
template <class T>
struct Matrix {
  const T* data;
  int64_t rows, row_stride, column_stride;

  Matrix(const TensorView& view, int64_t offset)
      : data(Data<const T>(view) + offset),
        rows(view.shape[view.rank - 2]),
        row_stride(view.strides[view.rank - 2]),
        column_stride(view.strides[view.rank - 1]) {}
  Row<T> row(int64_t i) const { return {data + i * row_stride, column_stride}; }
};

// panel[k][j] = matrix[begin + j][first + k]; rows past `end` are filled with zeros.
template <class T>
void PackPanel(const Matrix<T>& matrix, int64_t begin, int64_t end, int64_t first, int64_t terms,
               int64_t nr, T* panel) {
  const int64_t count = std::min(nr, end - begin);
  for (int64_t k = 0; k < terms; ++k) {
    const T* column = matrix.data + begin * matrix.row_stride + (first + k) * matrix.column_stride;
    for (int64_t j = 0; j < count; ++j) panel[k * nr + j] = column[j * matrix.row_stride];
    for (int64_t j = count; j < nr; ++j) panel[k * nr + j] = T(0);
  }
}

// Rows of x in a block: enough to amortise a panel's way into L1, or its packing where it is packed
// again for each block. Measured on Zen 3, as shares of the FMA peak at d = 128 and 784: 74 and 81
// %, against 69 and 73 with 48 rows throughout, no slices, and panels in L2 only.
constexpr int64_t kFewestRows = 24, kMostRows = 48, kRepackedRows = 240;

// How the problem is cut. Only sizes of blocks follow caches and threads, never the order of a sum.
struct Plan {
  int64_t d, mr, nr;
  int64_t terms;  // coordinates packed at a time: d, or a multiple of kSumBlock
  int64_t slice;  // of these, that all rows of a block are summed over before the next
  bool packed_once;
  Split columns, rows;
  int64_t block;  // rows of x whose totals are kept at a time
  double total_ns;

  template <class T>
  static Plan For(int64_t batch, int64_t m, int64_t n, int64_t d,
                  const DistanceKernels<T>& kernels);
};

template <class T>
Plan Plan::For(int64_t batch, int64_t m, int64_t n, int64_t d, const DistanceKernels<T>& kernels) {
  const int64_t mr = kernels.mr, nr = kernels.nr, size = sizeof(T);
  // Panels may lie in a thread's share of L3, from where a slice comes once for all rows of a
  // block; more than 8 MB (1024 columns of 2048 coordinates) has no use.
  const int64_t l3_share = Caches().l3 / 2 / GetNumThreads();
  const int64_t budget = std::clamp<int64_t>(l3_share, Caches().l2 / 2, int64_t{8} << 20) / size;
  const bool packed_once = d <= budget / kMostRows;
  const int64_t whole_blocks = budget / kRepackedRows / kSumBlock * kSumBlock;
  const int64_t terms = packed_once ? d : std::max<int64_t>(kSumBlock, whole_blocks);
  // A slice of a panel stays in half of L1 for all rows of a block, 16 KB / 64 B = 256 terms, and
  // the rows' own slices in a quarter, as far as these are not too few.
  const int64_t l1 = Caches().l1 / size;
  const int64_t slice = std::max<int64_t>(kSumBlock, l1 / 2 / nr / kSumBlock * kSumBlock);
  const int64_t rows_in_l1 = l1 / 4 / std::clamp<int64_t>(terms, 1, slice);
  const int64_t most_rows =
      packed_once ? std::clamp(rows_in_l1, kFewestRows, kMostRows) : kRepackedRows;
  const int64_t block = std::min(RoundUp(m, mr), most_rows / mr * mr);
  // The totals of all panels, where these are kept, are held to the same size; 1024 columns are
  // enough to amortise the packing of a block's rows.
  const int64_t per_column = packed_once ? terms : std::max(terms, block);
  const int64_t at_most_columns =
      std::clamp(budget / std::max<int64_t>(per_column, 1), nr, int64_t{1024});
  // About 25 multiply-adds and one stored result per ns.
  const double total_ns = double(batch) * double(m) * double(n) * (0.04 * double(d) + 0.3);
  const int64_t threads = ThreadsFor(total_ns);
  const Split columns(n, nr, at_most_columns);
  // Enough tasks to keep the threads level, but at least 512 rows to amortise the packing.
  const int64_t chunks =
      threads == 1 ? 1 : CeilDiv(8 * threads, std::max<int64_t>(1, batch * columns.count));
  const Split rows(m, mr, m, std::max<int64_t>(1, std::min(chunks, m / 512)));
  return {d, mr, nr, terms, slice, packed_once, columns, rows, block, total_ns};
}

// The work of one task, in one thread's scratch.
template <class T>
class Task {
 public:
  Task(const DistanceKernels<T>& kernels, const Plan& plan, Metric metric, const Matrix<T>& x,
       const Matrix<T>& y, T* out, int64_t out_row_stride, int64_t out_column_stride,
       Scratch scratch)
      : kernels_(kernels),
        plan_(plan),
        metric_(metric),
        x_(x),
        y_(y),
        out_(out),
        out_row_stride_(out_row_stride),
        out_column_stride_(out_column_stride) {
    const int64_t panels = plan.columns.longest() / plan.nr;
    panels_ = scratch.Take<T>(panels * plan.terms * plan.nr);
    totals_ = scratch.Take<T>(TotalsCount(plan));
    packed_rows_ = scratch.Take<T>(plan.block * plan.terms);
    y_norms_ = scratch.Take<T>(panels * plan.nr);
    x_norms_ = scratch.Take<T>(plan.block + plan.nr);
    norm_panel_ = scratch.Take<T>(plan.terms * plan.nr);
    finished_ = scratch.Take<T>(plan.mr * plan.nr);
  }

  static size_t ScratchBytes(const Plan& plan) {
    const int64_t panels = plan.columns.longest() / plan.nr;
    return Scratch::Bytes<T>(panels * plan.terms * plan.nr) + Scratch::Bytes<T>(TotalsCount(plan)) +
           Scratch::Bytes<T>(plan.block * plan.terms) + Scratch::Bytes<T>(panels * plan.nr) +
           Scratch::Bytes<T>(plan.block + plan.nr) + Scratch::Bytes<T>(plan.terms * plan.nr) +
           Scratch::Bytes<T>(plan.mr * plan.nr);
  }

  void Run(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end) {
    column_begin_ = column_begin;
    column_end_ = column_end;
    bool packed = false;
    for (int64_t i = row_begin; i < row_end; i += plan_.block) {
      const int64_t rows = std::min(plan_.block, row_end - i);
      int64_t first = 0;
      do {  // once at least, so that d = 0 gives the empty sum
        const int64_t terms = std::min(plan_.terms, plan_.d - first);
        if (!packed) PackColumns(first, terms);
        packed = plan_.packed_once;
        PackRows(i, rows, first, terms);
        if (metric_ == Metric::kCosine) RowNorms(i, rows, first, terms);
        for (int64_t p = 0; p < PanelCount(); ++p) RunPanel(p, i, rows, first, terms);
        first += terms;
      } while (first < plan_.d);
    }
  }

 private:
  // Up to MR rows by NR columns of the matrix, and where their operands are.
  struct Tile {
    int64_t panel, block_row;
    int64_t row, rows, column, columns;
  };

  // Where all coordinates are packed at once, a panel is finished before the next begins and one
  // buffer serves all.
  static int64_t TotalsCount(const Plan& plan) {
    return plan.block * (plan.packed_once ? plan.nr : plan.columns.longest());
  }
  int64_t PanelCount() const { return CeilDiv(column_end_ - column_begin_, plan_.nr); }
  T* Totals(const Tile& tile) const {
    const int64_t panel = plan_.packed_once ? 0 : tile.panel;
    return totals_ + (panel * plan_.block + tile.block_row) * plan_.nr;
  }

  // Rows [i, i + rows) against one panel, over coordinates [first, first + terms).
  void RunPanel(int64_t p, int64_t i, int64_t rows, int64_t first, int64_t terms) {
    const int64_t column = column_begin_ + p * plan_.nr;
    const int64_t columns = std::min(plan_.nr, column_end_ - column);
    int64_t k = 0;
    do {
      const int64_t slice = std::min(plan_.slice, terms - k);
      const bool last = first + k + slice == plan_.d;
      for (int64_t row = 0; row < rows; row += plan_.mr) {
        const Tile tile{p, row, i + row, std::min(plan_.mr, rows - row), column, columns};
        Accumulate(tile, k, slice, first + k == 0);
        if (last) Finish(tile);
      }
      k += slice;
    } while (k < terms);
  }

  void PackColumns(int64_t first, int64_t terms) {
    for (int64_t p = 0; p < PanelCount(); ++p) {
      T* panel = panels_ + p * plan_.terms * plan_.nr;
      PackPanel(y_, column_begin_ + p * plan_.nr, column_end_, first, terms, plan_.nr, panel);
      if (metric_ == Metric::kCosine) {
        SquareNorms(panel, terms, y_norms_ + p * plan_.nr, first == 0);
      }
    }
  }

  // Rows of x as [tile][k][MR]: with one pointer for all rows of a tile the kernel runs at 95 % of
  // the FMA peak, with one for each row at 80 % (Zen 3).
  void PackRows(int64_t i, int64_t rows, int64_t first, int64_t terms) {
    for (int64_t row = 0; row < rows; row += plan_.mr) {
      PackPanel(x_, i + row, i + rows, first, terms, plan_.mr, packed_rows_ + row * plan_.terms);
    }
  }

  void SquareNorms(const T* panel, int64_t terms, T* norms, bool is_first) {
    if (terms == 0) std::fill_n(norms, plan_.nr, T(0));
    kernels_.square_norms(panel, terms, norms, is_first);
  }

  // By the same kernel and in the same order as y's, so that equal rows have equal norms.
  void RowNorms(int64_t i, int64_t rows, int64_t first, int64_t terms) {
    for (int64_t row = 0; row < rows; row += plan_.nr) {
      PackPanel(x_, i + row, i + rows, first, terms, plan_.nr, norm_panel_);
      SquareNorms(norm_panel_, terms, x_norms_ + row, first == 0);
    }
  }

  // Terms [k, k + terms) of what is packed.
  void Accumulate(const Tile& tile, int64_t k, int64_t terms, bool first) {
    T* totals = Totals(tile);
    if (terms == 0) std::fill_n(totals, tile.rows * plan_.nr, T(0));
    kernels_.accumulate[static_cast<int>(TermOf(metric_))](
        packed_rows_ + tile.block_row * plan_.terms + k * plan_.mr, tile.rows,
        panels_ + (tile.panel * plan_.terms + k) * plan_.nr, terms, totals, first);
  }

  // Totals to results, tile by tile: the roots then overlap the sums of the next tile.
  void Finish(const Tile& tile) {
    T* out = out_ + tile.row * out_row_stride_ + tile.column * out_column_stride_;
    if (out_column_stride_ == 1) return FinishTo(tile, out, out_row_stride_);
    FinishTo(tile, finished_, plan_.nr);
    for (int64_t row = 0; row < tile.rows; ++row) {
      Scatter(finished_ + row * plan_.nr, tile.columns, out + row * out_row_stride_,
              out_column_stride_);
    }
  }

  void FinishTo(const Tile& tile, T* out, int64_t stride) {
    const T smallest = SmallestTrusted<T>(plan_.d);
    const T* totals = Totals(tile);
    const T *x_norms = x_norms_ + tile.block_row, *y_norms = y_norms_ + tile.panel * plan_.nr;
    if (metric_ == Metric::kEuclidean) {
      if (!kernels_.sqrt(totals, tile.rows, tile.columns, smallest, out, stride)) {
        Redo(tile, out, stride, ExactEuclidean<T>,
             [&](int64_t i, int64_t j) { return totals[i * plan_.nr + j]; });
      }
    } else if (metric_ == Metric::kCosine) {
      if (!kernels_.cosine(totals, tile.rows, tile.columns, smallest, x_norms, y_norms, out,
                           stride)) {
        Redo(tile, out, stride, ExactCosine<T>, [&](int64_t i, int64_t j) {
          const T product = x_norms[i] * y_norms[j];
          const T least = std::min({x_norms[i], y_norms[j], product});
          return least < smallest ? least : product;
        });
      }
    } else {
      kernels_.copy(totals, tile.rows, tile.columns, out, stride);
    }
  }

  // Replaces the results whose squares, as `squares(i, j)` tells, left the range to be trusted.
  template <class Squares>
  void Redo(const Tile& tile, T* out, int64_t stride, T (*exact)(Row<T>, Row<T>, int64_t),
            const Squares& squares) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      for (int64_t j = 0; j < tile.columns; ++j) {
        const T value = squares(i, j);
        if (value < SmallestTrusted<T>(plan_.d) || value > std::numeric_limits<T>::max()) {
          out[i * stride + j] = exact(x_.row(tile.row + i), y_.row(tile.column + j), plan_.d);
        }
      }
    }
  }

  const DistanceKernels<T>& kernels_;
  const Plan& plan_;
  const Metric metric_;
  const Matrix<T> x_, y_;
  T* const out_;
  const int64_t out_row_stride_, out_column_stride_;
  int64_t column_begin_ = 0, column_end_ = 0;
  // Scratch.
  T* panels_;              // [panel][k][NR]
  T* totals_;              // [panel][row of the block][NR]
  T* packed_rows_;         // [tile of the block][k][MR]
  T *y_norms_, *x_norms_;  // squared, for cosine
  T* norm_panel_;
  T* finished_;  // for an output whose columns are not neighbours
};

template <class T>
void Run(const TensorView& x, const TensorView& y, Metric metric, const TensorView& out) {
  const auto& kernels = DistanceKernelsFor<T>(ActiveTarget());
  const int64_t m = x.shape[x.rank - 2], n = y.shape[y.rank - 2], d = x.shape[x.rank - 1];
  int64_t batch = 1;
  for (int axis = 0; axis < out.rank - 2; ++axis) batch *= out.shape[axis];
  if (batch == 0 || m == 0 || n == 0) return;

  const Plan plan = Plan::For<T>(batch, m, n, d, kernels);
  const int64_t per_matrix = plan.columns.count * plan.rows.count;
  const Work work{batch * per_matrix, plan.total_ns, Task<T>::ScratchBytes(plan)};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    const int64_t matrix = index / per_matrix;
    const int64_t rows = index % per_matrix / plan.columns.count;
    const int64_t columns = index % plan.columns.count;
    Task<T> task(kernels, plan, metric, Matrix<T>(x, MatrixOffset(x, out, matrix)),
                 Matrix<T>(y, MatrixOffset(y, out, matrix)),
                 Data<T>(out) + MatrixOffset(out, out, matrix), out.strides[out.rank - 2],
                 out.strides[out.rank - 1], scratch);
    task.Run(plan.rows.begin(rows), plan.rows.end(rows), plan.columns.begin(columns),
             plan.columns.end(columns));
  });
}

}  // namespace

Shape PairwiseDistancesShape(const Shape& x, const Shape& y) {
  const auto fail = [&](const char* what) {
    Fail(kOp, ": ", what, ": x has shape ", ToString(x), " and y has shape ", ToString(y));
  };
  if (x.size() < 2 || y.size() < 2) fail("x and y need at least 2 axes (…, rows, coordinates)");
  if (x.back() != y.back()) fail("x and y need the same number of coordinates (last axis)");
  Shape out(std::max(x.size(), y.size()));
  int64_t elements = 1;
  for (size_t back = 1; back <= out.size(); ++back) {
    int64_t& size = out[out.size() - back];
    if (back == 1) {
      size = y[y.size() - 2];
    } else if (back == 2) {
      size = x[x.size() - 2];
    } else {
      const int64_t a = back <= x.size() ? x[x.size() - back] : 1;
      const int64_t b = back <= y.size() ? y[y.size() - back] : 1;
      if (a != b && a != 1 && b != 1) fail("leading axes do not broadcast");
      size = a == 1 ? b : a;
    }
    elements = CheckedProduct(kOp, elements, size);
  }
  return out;
}

void PairwiseDistances(const TensorView& x, const TensorView& y, Metric metric,
                       const TensorView& out) {
  const Shape shape = PairwiseDistancesShape(x.sizes(), y.sizes());
  CheckView(kOp, "out", out, x.dtype, shape);
  if (y.dtype != x.dtype) {
    FailDType(kOp, ": x has dtype ", ToString(x.dtype), " but y has ", ToString(y.dtype));
  }
  switch (x.dtype) {
    case DType::kFloat32:
      return Run<float>(x, y, metric, out);
    case DType::kFloat64:
      return Run<double>(x, y, metric, out);
    default:
      FailDType(kOp, ": x has dtype ", ToString(x.dtype), ", expected float32 or float64");
  }
}

}  // namespace lanewise
