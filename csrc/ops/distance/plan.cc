#include "ops/distance/plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lanewise/runtime.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise::distance {
namespace {

// Rows of x in a block: enough to amortise a panel's way from L3 into L1, or its packing where it
// is packed again for each block. Measured on an Intel server with AVX-512 as shares of what the
// tile reaches in L1, at d = 784: 93 %, against 70 % with 24 rows.
constexpr int64_t kFewestRows = 48, kMostRows = 240;

// What a sum must cost for its mirror image to be copied: 32 multiply-adds.
constexpr double kMirroredNs = 1.2;

}  // namespace

int64_t PanelBytes() {
  const int64_t l3_share = Caches().l3 / 2 / GetNumThreads();
  return std::clamp<int64_t>(l3_share, Caches().l2 / 2, int64_t{8} << 20);
}

template <class T>
Plan Plan::For(int64_t batch, int64_t m, int64_t n, int64_t d, const Recipe& recipe,
               const DistanceKernels<T>& kernels, bool same) {
  const int64_t mr = kernels.mr, nr = kernels.nr, size = sizeof(T);
  const int64_t budget = PanelBytes() / size;
  const bool packed_once = d <= budget / kFewestRows;
  const int64_t whole_blocks = budget / kMostRows / kSumBlock * kSumBlock;
  const int64_t terms = packed_once ? d : std::max<int64_t>(kSumBlock, whole_blocks);
  // A slice of a panel stays in half of L1 for all rows of a block, 24 KB / 128 B = 192 terms; the
  // block itself in half of L2, as far as these are not too few rows.
  const int64_t l1 = Caches().l1 / size;
  const int64_t slice = std::max<int64_t>(kSumBlock, l1 / 2 / nr / kSumBlock * kSumBlock);
  const int64_t rows_in_l2 = Caches().l2 / 2 / size / std::max<int64_t>(terms, 1);
  const int64_t most_rows =
      packed_once ? std::clamp(rows_in_l2, kFewestRows, kMostRows) : kMostRows;
  // Blocks begin on whole lines, so that mirrored results do as well.
  const int64_t unit = std::lcm(mr, 64 / size);
  const int64_t block = std::min(RoundUp(m, mr), most_rows / unit * unit);
  // The totals of all panels, where these are kept, are held to the same size; 1024 columns are
  // enough to amortise the packing of a block's rows.
  const int64_t per_column = packed_once ? terms : std::max(terms, block);
  const int64_t at_most_columns =
      std::clamp(budget / std::max<int64_t>(per_column, 1), nr, int64_t{1024});
  // 0.3 ns to store a result.
  const double sum_ns = recipe.term_ns * double(d);
  const bool mirrored = same && n >= 2 * nr && sum_ns > kMirroredNs;
  const double total_ns =
      double(batch) * double(m) * double(n) * ((mirrored ? 0.5 : 1) * sum_ns + 0.3);
  const int64_t threads = ThreadsFor(total_ns);
  if (mirrored) {  // the blocks of a triangle, at least 16 for each thread if 256 rows each
    const int64_t per_matrix = threads == 1 ? 1 : CeilDiv(16 * threads, batch);
    const int64_t side = static_cast<int64_t>(std::ceil(std::sqrt(2.0 * double(per_matrix))));
    const Split blocks(n, nr, at_most_columns, std::max<int64_t>(1, std::min(side, n / 256)));
    return {d, mr, nr, terms, slice, packed_once, blocks, blocks, true, block, total_ns};
  }
  // Two tasks for each thread, as far as 256 columns amortise the packing of the rows.
  const int64_t pieces = threads == 1 ? 1 : CeilDiv(2 * threads, batch);
  const Split columns(n, nr, at_most_columns, std::max<int64_t>(1, std::min(pieces, n / 256)));
  // Enough tasks to keep the threads level, but at least 512 rows to amortise that of the panels.
  const int64_t chunks =
      threads == 1 ? 1 : CeilDiv(8 * threads, std::max<int64_t>(1, batch * columns.count));
  const Split rows(m, mr, m, std::max<int64_t>(1, std::min(chunks, m / 512)));
  return {d, mr, nr, terms, slice, packed_once, columns, rows, false, block, total_ns};
}

template Plan Plan::For(int64_t, int64_t, int64_t, int64_t, const Recipe&,
                        const DistanceKernels<float>&, bool);
template Plan Plan::For(int64_t, int64_t, int64_t, int64_t, const Recipe&,
                        const DistanceKernels<double>&, bool);

}  // namespace lanewise::distance
