// Rows of y are packed into panels, [word][NR], and rows of x into tiles, [word][MR], whose words
// are broadcast; the kernel counts the bits that MR × NR pairs of rows have in common. With the
// rows' own counts, found while they are packed, that is all there is to know.
#include "ops/distance/bits.h"

#include <algorithm>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "ops/distance/arguments.h"
#include "ops/distance/finish.h"
#include "ops/distance/out.h"
#include "ops/distance/plan.h"
#include "ops/distance/rows.h"
#include "ops/strided.h"
#include "runtime/dtype.h"
#include "runtime/parallel.h"

namespace lanewise::distance {
namespace {

constexpr int64_t kWordBits = 64;

// Rows of coordinates in memory of any type.
class BitRows {
 public:
  BitRows(const TensorView& view, const BitKernels& kernels)
      : data_(static_cast<const std::byte*>(view.data)),
        size_(ItemSize(view.dtype)),
        // -0.0 is as false as 0.
        significant_(IsFloat(view.dtype) ? ~(uint64_t{1} << (8 * size_ - 1)) : ~uint64_t{0}),
        stride_(view.strides[view.rank - 1]),
        d_(view.shape[view.rank - 1]),
        pack_(kernels.pack[size_ == 8 ? 3 : size_ / 2]) {}

  // Words that are packed at a time, so that of rows whose coordinates are far from each other the
  // lines serve the neighbouring rows as well while they are in L1.
  int64_t chunk() const { return stride_ == 1 ? std::max<int64_t>(d_, 1) : kChunkWords; }

  // to[w·step] = word first + w of the row at an offset, w < words; returns the bits that are set.
  [[gnu::noinline]] uint64_t Pack(int64_t offset, int64_t first, int64_t words, int64_t step,
                                  uint64_t* to) const {
    const int64_t begin = first * kWordBits, end = std::min(d_, begin + words * kWordBits);
    const auto at = [&](int64_t k) { return data_ + (offset + k * stride_) * size_; };
    if (stride_ == 1) return pack_(at(begin), end - begin, significant_, to, step);
    alignas(8) std::byte gathered[kChunkWords * kWordBits * 8];
    uint64_t count = 0;
    for (int64_t k = begin; k < end; k += kChunkWords * kWordBits) {
      const int64_t n = std::min(kChunkWords * kWordBits, end - k);
      detail::GatherBytes(at(k), stride_, n, size_, gathered);
      count += pack_(gathered, n, significant_, to + (k - begin) / kWordBits * step, step);
    }
    return count;
  }

 private:
  static constexpr int64_t kChunkWords = 4;

  const std::byte* const data_;
  const int64_t size_;
  const uint64_t significant_;
  const int64_t stride_, d_;
  uint64_t (*const pack_)(const void*, size_t, uint64_t, uint64_t*, ptrdiff_t);
};

template <class T>
BitKernels::Finish<T> FinishOf(const BitKernels& kernels, const Recipe& recipe) {
  const bool share = recipe.form == Form::kTruth;
  const int finish = static_cast<int>(share ? BitFinish::kShare : BitFinish::kDiffer);
  if constexpr (std::is_same_v<T, float>) {
    return kernels.finish_float[finish];
  } else {
    return kernels.finish_double[finish];
  }
}

// Totals with all filled in that is the same for every tile.
BitTotals TotalsFor(const Recipe& recipe, int64_t d) {
  BitTotals totals{};
  totals.divisor = recipe.finish == Finish::kMean ? static_cast<double>(d) : 1;
  return totals;
}

// --------------------------------------------------------------------------------------- all pairs

// How the distances of all pairs are cut:
//
//   task      a block of columns (rows of y) × a chunk of rows of x, of one matrix of the batch
//     block   a few rows of x
//       range of the words, nearly always all; y's columns are packed for it, once per thread where
//             it holds all words
//         panel × tile
struct BitPlan {
  int64_t d, words;
  int64_t range;  // words packed at a time
  bool packed_once;
  int64_t block;  // rows of x that are packed at a time
  Split columns, rows;
  double total_ns;

  static BitPlan For(int64_t batch, int64_t m, int64_t n, int64_t d, const BitKernels& kernels) {
    const int64_t mr = kernels.mr, nr = BitKernels::nr, words = CeilDiv(d, kWordBits);
    const int64_t budget = PanelBytes() / 8;
    const int64_t most = budget / kFewestColumns;
    const bool packed_once = words <= most;
    const int64_t range = std::clamp<int64_t>(words, 1, most);
    const int64_t block = packed_once ? kBlock : kRepackedBlock;
    const int64_t at_most_columns = budget / std::max(range, packed_once ? 1 : block);
    // Of a core with a population count of 512 bits: 0.001 ns a pair of bits, 0.03 to pack one.
    const double total_ns = double(batch) * (double(m) * double(n) * (0.001 * double(d) + 0.7) +
                                             0.03 * double(m + n) * double(d));
    // Eight tasks for each thread, of neighbouring rows and the same columns where there are
    // enough.
    const int64_t threads = ThreadsFor(total_ns);
    const int64_t pieces = threads == 1 ? 1 : CeilDiv(8 * threads, batch);
    const Split few_rows(m, block, m, pieces);
    const Split columns(n, nr, at_most_columns, CeilDiv(pieces, few_rows.count));
    const Split rows(m, block, m, CeilDiv(pieces, columns.count));
    return {d, words, range, packed_once, RoundUp(std::min(block, m), mr), columns, rows, total_ns};
  }

 private:
  static constexpr int64_t kFewestColumns = 256, kBlock = 32, kRepackedBlock = 256;
};

// What a thread's scratch holds from its last task on.
struct HeldColumns {
  int64_t y_at = -1, columns = -1;
};

// The work of one task, in one thread's scratch.
template <class T>
class BitTask {
 public:
  struct Operands {
    BitRows x, y;
    int64_t x_row_stride, y_row_stride;
  };
  struct Place {
    int64_t x, y;  // offsets of one matrix of the batch
  };

  BitTask(const BitKernels& kernels, const Recipe& recipe, const BitPlan& plan,
          const Operands& operands, const Place& place, const Out<T>& out, Scratch scratch)
      : kernels_(kernels),
        finish_(FinishOf<T>(kernels, recipe)),
        plan_(plan),
        operands_(operands),
        place_(place),
        out_(out),
        mr_(kernels.mr),
        nr_(BitKernels::nr),
        tile_(TotalsFor(recipe, plan.d)),
        panels_(scratch.Take<uint64_t>(Columns(plan) * plan.range)),
        y_counts_(scratch.Take<uint64_t>(Columns(plan))),
        rows_(scratch.Take<uint64_t>(plan.block * plan.range)),
        x_counts_(scratch.Take<uint64_t>(plan.block)),
        totals_(scratch.Take<uint64_t>(TotalsCount(plan, mr_, nr_))),
        finished_(scratch.Take<T>(mr_ * nr_)) {}

  static size_t ScratchBytes(const BitPlan& plan, int64_t mr, int64_t nr) {
    return Scratch::Bytes<uint64_t>(Columns(plan) * plan.range) +
           Scratch::Bytes<uint64_t>(Columns(plan)) +
           Scratch::Bytes<uint64_t>(plan.block * plan.range) +
           Scratch::Bytes<uint64_t>(plan.block) +
           Scratch::Bytes<uint64_t>(TotalsCount(plan, mr, nr)) + Scratch::Bytes<T>(mr * nr);
  }

  // `packed` says that scratch holds these columns.
  void Run(int64_t row_begin, int64_t row_end, int64_t column_begin, int64_t column_end,
           bool packed) {
    for (int64_t i = row_begin; i < row_end; i += plan_.block) {
      const int64_t rows = std::min(plan_.block, row_end - i);
      for (int64_t first = 0; first == 0 || first < plan_.words; first += plan_.range) {
        const int64_t words = std::min(plan_.range, plan_.words - first);
        if (!packed) {
          PackAll(operands_.y, place_.y, operands_.y_row_stride, column_begin, column_end, first,
                  words, nr_, panels_, y_counts_);
        }
        packed = plan_.packed_once;
        PackAll(operands_.x, place_.x, operands_.x_row_stride, i, i + rows, first, words, mr_,
                rows_, x_counts_);
        const bool last = first + words == plan_.words;
        for (int64_t row = 0; row < rows; row += mr_) {
          for (int64_t j = column_begin; j < column_end; j += nr_) {
            uint64_t* totals = totals_;
            if (!plan_.packed_once) totals += (row * Columns(plan_) + (j - column_begin) * mr_);
            kernels_.count(rows_ + row * plan_.range, panels_ + (j - column_begin) * plan_.range,
                           words, totals, first == 0);
            if (!last) continue;
            tile_.rows = std::min(mr_, rows - row);
            tile_.n = std::min(nr_, column_end - j);
            tile_.totals = totals;
            tile_.x_counts = x_counts_ + row;
            tile_.y_counts = y_counts_ + (j - column_begin);
            Finish(i + row, j);
          }
        }
      }
    }
    if (out_.streams()) kernels_.flush();
  }

 private:
  static int64_t Columns(const BitPlan& plan) { return plan.columns.longest(); }
  static int64_t TotalsCount(const BitPlan& plan, int64_t mr, int64_t nr) {
    return plan.packed_once ? mr * nr : plan.block * Columns(plan);
  }

  // Rows [begin, end) as [width rows][word][width], with zeros in lanes past the end; panels are
  // `range` words long. The counts are those of all words from the first on.
  void PackAll(const BitRows& source, int64_t offset, int64_t row_stride, int64_t begin,
               int64_t end, int64_t first, int64_t words, int64_t width, uint64_t* to,
               uint64_t* counts) const {
    for (int64_t j = begin; j < end; j += width, to += width * plan_.range, counts += width) {
      const int64_t lanes = std::min(width, end - j);
      if (first == 0) std::fill_n(counts, width, 0);
      for (int64_t w = 0; w < words; w += source.chunk()) {
        const int64_t some = std::min(source.chunk(), words - w);
        for (int64_t lane = 0; lane < lanes; ++lane) {
          counts[lane] += source.Pack(offset + (j + lane) * row_stride, first + w, some, width,
                                      to + w * width + lane);
        }
      }
      for (int64_t w = 0; w < words && lanes < width; ++w) {
        std::fill(to + w * width + lanes, to + (w + 1) * width, 0);
      }
    }
  }

  void Finish(int64_t row, int64_t column) {
    if (T* to = out_.InPlace(row, column); to != nullptr) {
      tile_.stream = out_.Streams(to);
      return finish_(tile_, to, out_.row_stride());
    }
    finish_(tile_, finished_, nr_);
    out_.Write(finished_, nr_, row, tile_.rows, column, tile_.n);
  }

  const BitKernels& kernels_;
  const BitKernels::Finish<T> finish_;
  const BitPlan& plan_;
  const Operands& operands_;
  const Place place_;
  const Out<T>& out_;
  const int64_t mr_, nr_;
  BitTotals tile_;
  // Scratch. What is kept from task to task comes first.
  uint64_t *const panels_, *const y_counts_;  // [panel][word][NR], [column]
  uint64_t *const rows_, *const x_counts_;    // [tile][word][MR], [row]
  uint64_t* const totals_;                    // [tile][panel][MR][NR], or of one at a time
  T* const finished_;                         // for results that are not stored as they are
};

template <class T>
void RunPairwise(const TensorView& x, const TensorView& y, const Recipe& recipe,
                 const TensorView& out) {
  const auto& kernels = BitKernelsFor(ActiveTarget());
  const LeadingAxes batch = LeadingAxesOf(x, y, 2, out, 2);
  const int64_t m = x.shape[x.rank - 2], n = y.shape[y.rank - 2], d = x.shape[x.rank - 1];
  if (batch.count() == 0 || m == 0 || n == 0) return;

  const BitPlan plan = BitPlan::For(batch.count(), m, n, d, kernels);
  const Results<T> results(out);
  const Out<T> matrices(results, out, BitKernels::nr, batch.count() * m * n);
  const typename BitTask<T>::Operands operands{
      {x, kernels}, {y, kernels}, x.strides[x.rank - 2], y.strides[y.rank - 2]};
  const int64_t per_matrix = plan.columns.count * plan.rows.count;
  const Work work{batch.count() * per_matrix, plan.total_ns,
                  BitTask<T>::ScratchBytes(plan, kernels.mr, BitKernels::nr)};
  std::vector<HeldColumns> all_held(ThreadsFor(plan.total_ns));
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    const auto [x_at, y_at, out_at] = batch.OffsetsOf(index / per_matrix);
    const int64_t columns = index % per_matrix / plan.rows.count, rows = index % plan.rows.count;
    HeldColumns& held = all_held[scratch.thread()];
    const bool packed = plan.packed_once && held.y_at == y_at && held.columns == columns;
    held = {y_at, columns};
    const Out<T> to = matrices + out_at;
    BitTask<T> task(kernels, recipe, plan, operands, {x_at, y_at}, to, scratch);
    task.Run(plan.rows.begin(rows), plan.rows.end(rows), plan.columns.begin(columns),
             plan.columns.end(columns), packed);
  });
}

// ------------------------------------------------------------------------------------------- pairs

constexpr int64_t kPairWords = 64;                  // of a row, on the stack
constexpr int64_t kBitsPerTask = int64_t{1} << 20;  // some 50 µs

// The bits of two rows, and those that they have in common.
struct PairCounts {
  uint64_t x = 0, y = 0, both = 0;
};

PairCounts CountPair(const BitRows& x, int64_t x_at, const BitRows& y, int64_t y_at,
                     int64_t words) {
  PairCounts counts;
  uint64_t a[kPairWords], b[kPairWords];
  for (int64_t first = 0; first < words; first += kPairWords) {
    const int64_t some = std::min(kPairWords, words - first);
    counts.x += x.Pack(x_at, first, some, 1, a);
    counts.y += y.Pack(y_at, first, some, 1, b);
    for (int64_t w = 0; w < some; ++w) counts.both += __builtin_popcountll(a[w] & b[w]);
  }
  return counts;
}

// Up to NR pairs at a time.
template <class T>
class BitPairs {
 public:
  BitPairs(const BitKernels& kernels, const Recipe& recipe, const TensorView& x,
           const TensorView& y, const Results<T>& results)
      : finish_(FinishOf<T>(kernels, recipe)),
        totals_(TotalsFor(recipe, x.shape[x.rank - 1])),
        words_(CeilDiv(x.shape[x.rank - 1], kWordBits)),
        x_(x, kernels),
        y_(y, kernels),
        results_(results) {}

  // The distances at positions [begin, begin + count).
  void Run(const LeadingAxes& positions, int64_t begin, int64_t count) const {
    alignas(64) uint64_t x_counts[BitKernels::nr] = {}, y_counts[BitKernels::nr] = {};
    alignas(64) uint64_t both[BitKernels::nr] = {};
    int64_t lane = 0;
    positions.ForEachRun(begin, begin + count, [&](int64_t n, const auto& at) {
      for (int64_t i = 0; i < n; ++i, ++lane) {
        const int64_t x_at = at[0] + i * positions.inner_stride(0);
        const int64_t y_at = at[1] + i * positions.inner_stride(1);
        const PairCounts counts = CountPair(x_, x_at, y_, y_at, words_);
        x_counts[lane] = counts.x;
        y_counts[lane] = counts.y;
        both[lane] = counts.both;
      }
    });
    BitTotals totals = totals_;
    totals.rows = 1;
    totals.n = count;
    totals.totals = both;
    totals.x_counts = x_counts;
    totals.y_counts = y_counts;
    totals.pairs = true;
    T distances[BitKernels::nr];
    finish_(totals, distances, BitKernels::nr);
    const T* from = distances;
    positions.ForEachRun(begin, begin + count, [&](int64_t n, const auto& at) {
      results_.Write(from, n, at[2], positions.inner_stride(2));
      from += n;
    });
  }

 private:
  const BitKernels::Finish<T> finish_;
  const BitTotals totals_;
  const int64_t words_;
  const BitRows x_, y_;
  const Results<T>& results_;
};

template <class T>
void RunPaired(const TensorView& x, const TensorView& y, const Recipe& recipe,
               const TensorView& out) {
  const LeadingAxes positions = LeadingAxesOf(x, y, 1, out, 0);
  const int64_t d = x.shape[x.rank - 1], nr = BitKernels::nr;
  const Results<T> results(out);
  const BitPairs<T> pairs(BitKernelsFor(ActiveTarget()), recipe, x, y, results);
  const Split tasks(positions.count(), nr, std::max<int64_t>(1, kBitsPerTask / (d + kWordBits)));
  const double total_ns = double(positions.count()) * (0.05 * double(d) + 10);
  ParallelFor({tasks.count, total_ns, 0}, [&](int64_t task, Scratch) {
    for (int64_t begin = tasks.begin(task); begin < tasks.end(task); begin += nr) {
      pairs.Run(positions, begin, std::min(nr, tasks.end(task) - begin));
    }
  });
}

// The same array with its last two axes exchanged.
TensorView Transposed(TensorView view) {
  std::swap(view.shape[view.rank - 2], view.shape[view.rank - 1]);
  std::swap(view.strides[view.rank - 2], view.strides[view.rank - 1]);
  return view;
}

}  // namespace

bool CountsBits(const Recipe& recipe, DType x, DType y) {
  const bool bools = x == DType::kBool && y == DType::kBool;
  return recipe.form == Form::kTruth || (recipe.term == Term::kDiffers && bools);
}

void PairwiseBits(const TensorView& x, const TensorView& y, const Recipe& recipe,
                  const TensorView& out) {
  DispatchFloat(out.dtype, [&](auto zero) {
    using T = decltype(zero);
    // Both directions have the same distance, so results may be stored along either axis.
    const bool down = out.strides[out.rank - 1] != 1 && out.strides[out.rank - 2] == 1;
    down ? RunPairwise<T>(y, x, recipe, Transposed(out)) : RunPairwise<T>(x, y, recipe, out);
  });
}

void PairedBits(const TensorView& x, const TensorView& y, const Recipe& recipe,
                const TensorView& out) {
  DispatchFloat(out.dtype, [&](auto zero) { RunPaired<decltype(zero)>(x, y, recipe, out); });
}

}  // namespace lanewise::distance
