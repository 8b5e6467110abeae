#include "ops/conv/algorithm.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>
#include <type_traits>

#include "kernels/kernels.h"
#include "ops/conv/inside.h"
#include "ops/conv/winograd_cost.h"
#include "runtime/error.h"
#include "runtime/target.h"

namespace lanewise {
namespace {

ConvAlgorithm Parse(const char* who, const std::string& name) {
  if (name == "auto") return ConvAlgorithm::kAuto;
  if (name == "direct") return ConvAlgorithm::kDirect;
  Fail(who, ": algorithm is '", name, "', expected 'auto' or 'direct'");
}

std::atomic<int> process_algorithm{-1};  // -1: as the environment says

// What either algorithm takes for one image, in ns of one core; only ratios count. Fitted to 20
// layers on a server core with AVX-512 (240 GFLOP/s), and with AVX2 on the same core (120), whose
// row stands for the narrower targets too.
//
//   direct    a product of a tap for each output, input channel and filter, the filters in whole
//             vectors, of which one alone does not keep the multipliers busy; each tap of a filter
//             to pack; no products of the padding, where they are left out
//   Winograd  a product for each of a tile's elements, input channel and filter, the latter in
//             panels of two vectors; the elements of each tile and channel to transform on the way
//             in and out, and of each filter
//
// Measured there (AVX-512, ms, direct, F(4×4, 3×3) and F(2×2, 3×3)): 64 channels at 56² 1.18, 0.46
// and 0.71, 16 at 56² 0.12, 0.09 and 0.16, 256 at 14² 1.28, 0.79 and 0.86, 128 at 10² 0.16, 0.12
// and 0.11, 256 at 7² 0.39, 0.44 and 0.42, 512 at 7² 1.6, 1.9 and 1.7 (AVX2: 3.1, 2.7 and 2.2), 64
// at 7² 0.030, 0.030 and 0.028. Direct and the only tile: 5×5 of 64 channels at 28² 0.83 and 0.42,
// of 16-32 0.13 and 0.09, of 8-16 at 56² 0.14 and 0.28; 1×3 of 256 at 12² 0.30 and 0.20, 1×5 of 64
// at 28² 0.18 and 0.14, 1×7 of 192 at 17² 0.78 and 0.61, of 64 at 64² 1.23 and 0.93.
struct Costs {
  int64_t lanes;
  double direct, product, filter;  // ns of a product, and of an element of a filter
};
constexpr Costs kAvx512Costs{16, 0.01, kProductNs, kFilterNs}, kOtherCosts{8, 0.0175, 0.018, 0.13};
// For each tap of a filter that is packed for direct products.
constexpr double kPackedTapNs = 0.2;
// Beginning and end of a tile of sums take as long as so many channels.
constexpr int64_t kTileChannels = 6;
// Products take so much longer where neither the transformed inputs nor the filters fit L2: 256
// channels at 33² with dilation 12 take 5.7 ms, and directly 4.6.
constexpr double kNearElements = 4e5, kFar = 1.3;
// Winograd rounds more, so it has to be faster by this.
constexpr double kWorthwhile = 0.9;

const Costs& CostsOf(SimdTarget target) {
  return target == SimdTarget::kAvx512 ? kAvx512Costs : kOtherCosts;
}

double RoundedUp(int64_t n, int64_t unit) { return double((n + unit - 1) / unit * unit); }

double DirectNs(const ConvShape& shape, const Costs& costs) {
  const double lanes = double(costs.lanes), vectors = RoundedUp(shape.group_k, costs.lanes);
  const double terms = double(shape.h.window * shape.w.window) * double(shape.group_c);
  return terms * (costs.direct * DirectShare(shape) * double(shape.pixels()) *
                      std::max(vectors, 1.5 * lanes) +
                  kPackedTapNs * vectors);
}

double WinogradNs(const ConvShape& shape, const WinogradTile& tile, const Costs& costs) {
  const auto along = [](const WindowAxis& axis, const WinogradAxis& f) {
    const int64_t per_phase = (axis.out + axis.dilation - 1) / axis.dilation;
    return RoundedUp(per_phase, f.outputs) / double(f.outputs) *
           double(std::min(axis.dilation, axis.out));
  };
  const double c = double(shape.group_c), elements = double(tile.elements());
  const double vectors = RoundedUp(shape.group_k, costs.lanes);
  const double panels = RoundedUp(shape.group_k, 2 * costs.lanes);
  const double tiles = along(shape.h, tile.rows) * along(shape.w, tile.columns);
  const bool far = std::min(tiles, panels) * c * elements > kNearElements;
  const double of_tile = kInputNs * RoundedUp(shape.group_c, costs.lanes) + kOutputNs * vectors +
                         costs.product * (far ? kFar : 1) * (c + kTileChannels) * panels;
  const double of_filter =
      elements * costs.filter + double(tile.rows.taps * tile.columns.taps) * kTapNs;
  return elements * tiles * of_tile + c * panels * of_filter;
}

bool TileApplies(const ConvShape& shape, const WinogradTile& tile) {
  const auto fits = [](const WindowAxis& axis, const WinogradAxis& f) {
    return axis.window == int64_t(f.taps) && axis.stride == 1;
  };
  return fits(shape.h, tile.rows) && fits(shape.w, tile.columns) && shape.group_c > 0;
}

bool WinogradPays(const ConvShape& shape, const WinogradTile& tile, const Costs& costs) {
  return shape.group_c >= 8 && shape.group_k >= 8 &&
         WinogradNs(shape, tile, costs) < kWorthwhile * DirectNs(shape, costs);
}

// Why kWinogradTiles[i] was chosen.
constexpr const char* kTileReasons[] = {
    "F(4x4, 3x3): 2.25 products for each output instead of 9, which outweighs the transforms",
    "F(2x2, 3x3): 4 products for each output instead of 9, which outweighs the transforms",
    "F(2x2, 5x5): 9 products for each output instead of 25, which outweighs the transforms",
    "F(4, 3): 1.5 products for each output instead of 3, which outweighs the transforms",
    "F(4, 3): 1.5 products for each output instead of 3, which outweighs the transforms",
    "F(2, 5): 3 products for each output instead of 5, which outweighs the transforms",
    "F(2, 5): 3 products for each output instead of 5, which outweighs the transforms",
    "F(2, 7): 4 products for each output instead of 7, which outweighs the transforms",
    "F(2, 7): 4 products for each output instead of 7, which outweighs the transforms"};
static_assert(sizeof(kTileReasons) / sizeof(const char*) == kWinogradTileCount);

// Up to 16 channels per group the grouped kernel is ahead of the direct one, with the same bits,
// and of Winograd. Measured (one core with AVX-512, ms; NHWC and NCHW grouped, then direct): 3×3
// with groups of 4, 128 channels at 56² 0.38, 0.44 and 3.16, 1.28; of 8, 256 at 28² 0.29, 0.32
// and 1.33, 0.77; of 16, 512 at 14² 0.22, 0.26 and 0.35, 0.63; of 32, 1024 at 14² 0.90, 1.00 and
// 0.87, 1.55. Winograd takes 0.70 for groups of 8 and 0.41 for 16. With AVX2 groups of 16 take
// 0.39, 0.43 and 0.35, 0.80.
bool GroupsAreSmall(const ConvShape& shape) {
  return shape.groups > 1 && shape.group_c > 0 && shape.group_c <= 16 && shape.group_k <= 16;
}

template <class T>
void RunMethod(const ConvProblem<T>& problem, ConvMethod method) {
  switch (method) {
    case ConvMethod::kDirect:
      return RunDirect(problem);
    case ConvMethod::kDepthwise:
    case ConvMethod::kGrouped:
      return RunGrouped(problem);
    case ConvMethod::kWinograd:
      if constexpr (std::is_same_v<T, float>) return RunWinograd(problem);
  }
}

}  // namespace

size_t ChooseWinogradTile(const ConvShape& shape, SimdTarget target) {
  size_t best = kWinogradTileCount;
  double best_ns = 0;
  for (size_t i = 0; i < kWinogradTileCount; ++i) {
    if (!TileApplies(shape, kWinogradTiles[i])) continue;
    const double ns = WinogradNs(shape, kWinogradTiles[i], CostsOf(target));
    if (best == kWinogradTileCount || ns < best_ns) {
      best = i;
      best_ns = ns;
    }
  }
  return best;
}

ConvDecision ChooseConvMethod(const char* op, const ConvShape& shape, DType result,
                              ConvAlgorithm asked) {
  const SimdTarget target = ActiveTarget();
  const size_t tile = ChooseWinogradTile(shape, target);
  const bool applies = tile < kWinogradTileCount && result == DType::kFloat32;
  if (asked == ConvAlgorithm::kWinograd) {
    if (!applies) {
      Fail(op,
           ": algorithm 'winograd' is for windows of 3x3, 5x5, or 3, 5 or 7 in a row or column, "
           "with "
           "stride 1, and float32 results; this is ",
           shape.h.window, "x", shape.w.window, " with stride (", shape.h.stride, ", ",
           shape.w.stride, "), dilation (", shape.h.dilation, ", ", shape.w.dilation, ") and ",
           ToString(result));
    }
    return {ConvMethod::kWinograd, "asked for"};
  }
  if (shape.group_c == 1 && shape.group_k == 1) {
    return {ConvMethod::kDepthwise, "one channel per group, in and out"};
  }
  if (GroupsAreSmall(shape)) {
    return {ConvMethod::kGrouped,
            "few channels per group: the ordered sum, several groups a vector"};
  }
  if (asked == ConvAlgorithm::kDirect) return {ConvMethod::kDirect, "asked for"};
  if (!applies) {
    return {ConvMethod::kDirect,
            "Winograd is for windows of 3x3, 5x5, or 3, 5 or 7 in line, stride 1 and float32"};
  }
  if (!WinogradPays(shape, kWinogradTiles[tile], CostsOf(target))) {
    return {ConvMethod::kDirect,
            "for so few channels or pixels Winograd's transforms cost more than they save"};
  }
  return {ConvMethod::kWinograd, kTileReasons[tile]};
}

ConvAlgorithm ProcessConvAlgorithm() {
  const int set = process_algorithm.load(std::memory_order_relaxed);
  if (set >= 0) return static_cast<ConvAlgorithm>(set);
  const char* const name = std::getenv("LANEWISE_CONV");
  const ConvAlgorithm parsed =
      name == nullptr ? ConvAlgorithm::kAuto : Parse("LANEWISE_CONV", name);
  process_algorithm.store(static_cast<int>(parsed));
  return parsed;
}

void SetConvAlgorithm(const std::string& name) {
  process_algorithm.store(static_cast<int>(Parse("set_conv_algorithm", name)));
}

int64_t BanksAtATime(int64_t bytes) {
  constexpr int64_t kAll = int64_t{4} << 20;  // half of a small L3
  return std::max<int64_t>(1, kAll / std::max<int64_t>(1, bytes));
}

template <class T>
void RunConv(const ConvProblem<T>& problem, ConvMethod method) {
  if (problem.banks == 1 || problem.forms != nullptr) return RunMethod(problem, method);
  const ConvShape& shape = problem.shape;
  const int64_t bytes = shape.filters() * shape.terms() * int64_t{sizeof(T)};
  const int64_t at_a_time = BanksAtATime(bytes);
  for (int64_t image = 0; image < problem.batch; image += at_a_time) {
    RunMethod(problem.Images(image, std::min(at_a_time, problem.batch - image)), method);
  }
}

template void RunConv(const ConvProblem<float>&, ConvMethod);
template void RunConv(const ConvProblem<double>&, ConvMethod);
template void RunConv(const ConvProblem<int32_t>&, ConvMethod);
template void RunConv(const ConvProblem<int64_t>&, ConvMethod);

}  // namespace lanewise
