// What the stages of Winograd's algorithm take, for the choice of it and for its schedule.
#ifndef LANEWISE_OPS_CONV_WINOGRAD_COST_H_
#define LANEWISE_OPS_CONV_WINOGRAD_COST_H_

namespace lanewise {

// Nanoseconds for an element of each tile and input channel, of each filter, of each tile and
// output channel, and of each product of a tile, a channel and a filter; and for each tap of a
// filter, which is read from far away. Measured on one core with AVX-512 at 240 GFLOP/s; only
// ratios count.
constexpr double kInputNs = 0.21, kFilterNs = 0.07, kOutputNs = 0.122, kProductNs = 0.0094,
                 kTapNs = 0.25;

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_WINOGRAD_COST_H_
