#include "ops/conv/algorithm.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>
#include <type_traits>

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

bool WinogradApplies(const ConvShape& shape, DType result) {
  const auto three = [](const WindowAxis& axis) { return axis.window == 3 && axis.stride == 1; };
  return three(shape.h) && three(shape.w) && shape.group_c > 0 && result == DType::kFloat32;
}

// What either algorithm takes for one image, in ns of one core; only ratios count. Fitted to 20
// layers on a server core with AVX-512 (240 GFLOP/s), and with AVX2 on the same core (120), whose
// row stands for the narrower targets too.
//
//   direct    a product of a tap for each output, input channel and filter, the filters in whole
//             vectors, of which one alone does not keep the multipliers busy; not those of the
//             padding, where they are left out
//   Winograd  a product for each of a tile's 36 elements, input channel and filter, the latter in
//             panels of two vectors; 36 elements of each tile and channel to transform on the way
//             in and out, and of each filter
//
// Measured there (AVX-512, ms, direct and Winograd): 64 channels at 28² 0.289 and 0.109, 16 at 56²
// 0.112 and 0.073, 8-64 at 112² 0.58 and 0.75, 256 at 14² 1.19 and 0.72, 256 at 7² 0.32 and 0.39,
// 512 at 7² 1.47 and 1.77 (AVX2: 3.0 and 2.4), 64 at 6² 0.016 and 0.022.
struct Costs {
  int64_t lanes;
  double direct, product;
};
constexpr Costs kAvx512Costs{16, 0.09, kProductNs}, kOtherCosts{8, 0.157, 0.65};
// Beginning and end of a tile of sums take as long as so many channels.
constexpr int64_t kTileChannels = 6;
// Winograd rounds more, so it has to be faster by this.
constexpr double kWorthwhile = 0.9;

bool WinogradPays(const ConvShape& shape, SimdTarget target) {
  const Costs& costs = target == SimdTarget::kAvx512 ? kAvx512Costs : kOtherCosts;
  const auto round_up = [](int64_t n, int64_t unit) {
    return double((n + unit - 1) / unit * unit);
  };
  const auto tiles = [](const WindowAxis& axis) {
    const int64_t per_phase = (axis.out + axis.dilation - 1) / axis.dilation;
    return double((per_phase + 3) / 4 * std::min(axis.dilation, axis.out));
  };
  const double c = double(shape.group_c);
  const double vectors = round_up(shape.group_k, costs.lanes);
  const double panels = round_up(shape.group_k, 2 * costs.lanes);
  const double direct = costs.direct * DirectShare(shape) * double(shape.pixels()) * c *
                        std::max(vectors, 1.5 * double(costs.lanes));
  const double of_tile = kInputNs * round_up(shape.group_c, costs.lanes) + kOutputNs * vectors +
                         costs.product * (c + kTileChannels) * panels;
  const double winograd = tiles(shape.h) * tiles(shape.w) * of_tile + kFilterNs * c * panels;
  return shape.group_c >= 8 && shape.group_k >= 8 && winograd < kWorthwhile * direct;
}

// Up to 16 channels per group the grouped kernel is ahead of the direct one, with the same bits,
// and of Winograd. Measured (one core with AVX-512, ms; NHWC and NCHW grouped, then direct): 3×3
// with groups of 4, 128 channels at 56² 0.38, 0.44 and 3.16, 1.28; of 8, 256 at 28² 0.29, 0.32
// and 1.33, 0.77; of 16, 512 at 14² 0.22, 0.26 and 0.35, 0.63; of 32, 1024 at 14² 0.90, 1.00 and
// 0.87, 1.55. Winograd takes 0.70 for groups of 8 and 0.41 for 16. With AVX2 groups of 16 take
// 0.39, 0.43 and 0.35, 0.80.
bool GroupsAreSmall(const ConvShape& shape) {
  return shape.groups > 1 && shape.group_c > 0 && shape.group_c <= 16 && shape.group_k <= 16;
}

}  // namespace

ConvDecision ChooseConvMethod(const char* op, const ConvShape& shape, DType result,
                              ConvAlgorithm asked) {
  const bool applies = WinogradApplies(shape, result);
  if (asked == ConvAlgorithm::kWinograd) {
    if (!applies) {
      Fail(op,
           ": algorithm 'winograd' is for 3x3 filters with stride 1 and float32 results; this is ",
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
    return {ConvMethod::kDirect, "Winograd is for 3x3 filters with stride 1 into float32"};
  }
  if (!WinogradPays(shape, ActiveTarget())) {
    return {ConvMethod::kDirect,
            "for so few channels or pixels Winograd's transforms cost more than they save"};
  }
  return {ConvMethod::kWinograd,
          "3x3 filters with stride 1: a quarter of the products, which outweighs the transforms"};
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

template <class T>
void RunConv(const ConvProblem<T>& problem, ConvMethod method) {
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

template void RunConv(const ConvProblem<float>&, ConvMethod);
template void RunConv(const ConvProblem<double>&, ConvMethod);
template void RunConv(const ConvProblem<int32_t>&, ConvMethod);
template void RunConv(const ConvProblem<int64_t>&, ConvMethod);

}  // namespace lanewise
