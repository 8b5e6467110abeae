#include "ops/conv/algorithm.h"

#include <atomic>
#include <cstdlib>
#include <string>
#include <type_traits>

#include "runtime/error.h"

namespace lanewise {
namespace {

ConvAlgorithm Parse(const char* who, const std::string& name) {
  if (name == "auto") return ConvAlgorithm::kAuto;
  if (name == "direct") return ConvAlgorithm::kDirect;
  Fail(who, ": algorithm is '", name, "', expected 'auto' or 'direct'");
}

std::atomic<int> process_algorithm{-1};  // -1: as the environment says

bool WinogradApplies(const ConvShape& shape, DType result) {
  const auto three = [](const WindowAxis& axis) {
    return axis.window == 3 && axis.stride == 1 && axis.dilation == 1;
  };
  return three(shape.h) && three(shape.w) && shape.group_c > 0 && result == DType::kFloat32;
}

// Nanoseconds on one core of Zen 3 (AVX2, 100 GFLOP/s); only ratios count.
//
//   direct    2·9 flops for each output, at 88 % of the peak
//   Winograd  36 multiply-adds for each tile of 16 outputs; the transforms of tiles, 36 elements
//             each; and the transformed filters, 36 floats for each pair of channels, which every
//             image reads from L3 or memory
//
// Measured (one core, ms, direct and Winograd): 64 channels at 56² 2.46 and 0.87, 128 at 28² 2.49
// and 1.00, 256 at 14² 2.60 and 1.72, 512 at 12² 10.0 and 6.2, 256 at 7² 0.81 and 0.89, 16 at 56²
// 0.21 and 0.11, 64 at 6² 0.048 and 0.062.
constexpr double kDirectNs = 2 * 9 / 88.0;
constexpr double kWinogradNs = 2 * 36 / 85.0;
constexpr double kTransformNs = 36 * 0.13;
constexpr double kFilterNs = 36 * 4 / 12.0;

bool WinogradPays(const ConvShape& shape) {
  const double c = double(shape.group_c), k = double(shape.group_k);
  const auto tiles = [](int64_t outputs) { return double((outputs + 3) / 4); };
  const double count = tiles(shape.h.out) * tiles(shape.w.out);
  const double direct = kDirectNs * double(shape.pixels()) * c * k;
  const double winograd =
      count * (kWinogradNs * c * k + kTransformNs * (c + k)) + kFilterNs * c * k;
  return shape.group_c >= 8 && shape.group_k >= 8 && winograd < 0.9 * direct;
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
           ": algorithm 'winograd' is for 3x3 filters with stride 1 and dilation 1 and float32 "
           "results; this is ",
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
  if (!WinogradPays(shape)) {
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
