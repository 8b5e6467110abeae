#include "ops/conv/winograd_plan.h"

#include <algorithm>

#include "ops/conv/winograd_cost.h"
#include "runtime/cpu.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// More for a product of V and M beyond L2, and for one more parallel loop. 256 channels at 14² take
// 2.45 ms in two runs of 64 tiles, which outgrow L2, and 2.7 in four, which make the filters four
// times (8 images, two cores with AVX-512); 2.5 in one run, of which each core has half the panels.
constexpr double kFarProductNs = 0.002, kStartNs = 5e3;
// For a byte that another core has just written: 64 channels at 28² take 0.115 ms on two cores if
// each makes half of the filters, and 0.078 if each makes all.
constexpr double kOthersByteNs = 0.12;

// A set's tiles in runs, and its panels in shares: a task is one of each.
struct Cut {
  int64_t runs, shares;
  double ns;  // until the last task ends
};

// The fewest runs whose V, M and U take `room` bytes of scratch, and then as many more runs, or
// shares, as make the tasks end soonest. A task makes the filters that it needs, unless `made`.
Cut CutIntoTasks(const WinogradPlan& plan, const ConvShape& shape, int threads, size_t room,
                 bool made) {
  const int64_t used = made ? 0 : plan.u_block();
  const int64_t of_tile = plan.elements * (plan.blocks * plan.width + plan.nr);
  const int64_t most = std::max<int64_t>(1, (int64_t(room / sizeof(float)) - used) / of_tile);
  const int64_t fewest = std::max<int64_t>(1, CeilDiv(plan.set_tiles, most));
  const int64_t at_most = std::max(fewest, std::min(fewest + 4 * threads, plan.set_tiles));
  Cut best{0, 0, 0};
  for (int64_t runs = fewest; runs <= at_most; ++runs) {
    const int64_t count = CeilDiv(plan.set_tiles, runs);
    const double near = double(Caches().l2) * 3 / 4 / (double(count * of_tile) * sizeof(float));
    const double product_ns = kProductNs + std::max(0.0, 1 - near) * kFarProductNs;
    for (int64_t shares = 1; shares <= std::min<int64_t>(2 * threads, plan.panels); ++shares) {
      const double tiles = double(count), c = double(shape.group_c);
      const double k = double(CeilDiv(plan.panels, shares) * plan.nr);
      const double element_ns =
          tiles * c * kInputNs + tiles * c * k * product_ns + tiles * k * kOutputNs;
      const double task_ns =
          double(plan.elements) * element_ns + (made ? 0 : c * k * plan.filter_ns);
      const double ns = double(CeilDiv(plan.sets * runs * shares, threads)) * task_ns;
      if (best.runs == 0 || ns < best.ns) best = {runs, shares, ns};
    }
  }
  return best;
}

}  // namespace

WinogradPlan::WinogradPlan(const ConvProblem<float>& problem, const ConvKernels<float>& kernels,
                           const WinogradTile& tile)
    : mr(kernels.mr),
      nr(kernels.nr),
      elements(tile.elements()),
      rows(problem.shape.h, tile.rows),
      columns(problem.shape.w, tile.columns),
      panels(CeilDiv(problem.shape.group_k, nr)),
      blocks(CeilDiv(problem.shape.group_c, kWinogradBlock)),
      width(std::min(kWinogradBlock, RoundUp(problem.shape.group_c, 16))),
      sets(problem.shape.groups * problem.banks),
      set_tiles(problem.batch / problem.banks * rows.count * columns.count),
      in_place(problem.x.native() && problem.x_strides.c == 1) {
  const CacheSizes& caches = Caches();
  filter_ns = double(elements) * kFilterNs + double(taps()) * kTapNs;
  const double of_filters = double(u_set()) / double(elements) * filter_ns;
  total_ns = double(sets) * (of_filters + double(u_set()) * double(set_tiles) * kProductNs);
  const int threads = ThreadsFor(total_ns);
  const size_t far_room = 2 * caches.l2 + std::min(caches.l2, caches.l3 / 3 / size_t(threads));
  const Cut apart = CutIntoTasks(*this, problem.shape, threads, far_room, false);
  const Cut together = CutIntoTasks(*this, problem.shape, threads, caches.l2 / 2, true);
  const size_t u_bytes = size_t(u_set()) * sizeof(float);
  const bool near = u_bytes <= caches.l2 / 2;
  const bool kept = problem.forms != nullptr && u_bytes <= kWinogradSharedBytes;
  const double others = double(u_bytes) * (threads - 1) / threads;
  const double made_ns =
      kept ? 0 : kStartNs + double(sets) * of_filters / threads + others * kOthersByteNs;
  shared = kept || (near && together.ns + made_ns < apart.ns);
  const Cut& cut = near && shared ? together : apart;
  runs = cut.runs;
  shares = cut.shares;
}

}  // namespace lanewise
