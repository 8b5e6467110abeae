// The choice of a convolution's method.
#ifndef LANEWISE_OPS_CONV_ALGORITHM_H_
#define LANEWISE_OPS_CONV_ALGORITHM_H_

#include <cstddef>
#include <cstdint>

#include "lanewise/conv.h"
#include "ops/conv/problem.h"
#include "runtime/target.h"

namespace lanewise {

struct ConvDecision {
  ConvMethod method;
  const char* reason;
};

// A function of the shape of one image, the result's type and what was asked for, so that results
// depend on neither batch nor threads. Throws std::invalid_argument, in the name of `op`, for
// kWinograd where it does not apply.
ConvDecision ChooseConvMethod(const char* op, const ConvShape& shape, DType result,
                              ConvAlgorithm asked);

// For how many images filters are packed at a time where each has its own, of so many bytes.
int64_t BanksAtATime(int64_t bytes);

// The tile of kWinogradTiles that takes least time, or kWinogradTileCount if none is for such
// windows; a function of the shape of one image and the target.
size_t ChooseWinogradTile(const ConvShape& shape, SimdTarget target);

// What kAuto stands for in this process: kAuto itself, or kDirect.
ConvAlgorithm ProcessConvAlgorithm();

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_ALGORITHM_H_
