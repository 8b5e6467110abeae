#include "lanewise/window.h"

#include <algorithm>
#include <limits>

#include "ops/strided.h"
#include "runtime/error.h"

namespace lanewise {
namespace {

// Sums and products of 64-bit sizes, before it is known that they fit.
using Wide = __int128;

int64_t Narrow(const char* op, const char* axis, Wide value) {
  if (value > std::numeric_limits<int64_t>::max()) Fail(op, ": ", axis, " overflows 64 bits");
  return static_cast<int64_t>(value);
}

}  // namespace

WindowAxis ResolveWindow(const char* op, int axis, int64_t in, int64_t window, int64_t stride,
                         int64_t dilation, const Padding& padding, bool ceil_mode) {
  const char* const name = axis == 0 ? "height" : "width";
  const auto at_least = [&](const char* what, int64_t value, int64_t least) {
    if (value < least) {
      Fail(op, ": ", what, " is ", value, " along the ", name, ", expected at least ", least);
    }
  };
  at_least("window", window, 1);
  at_least("stride", stride, 1);
  at_least("dilation", dilation, 1);
  const Wide reach = Wide(dilation) * (window - 1);  // from the first tap to the last

  Wide before = 0, after = 0;
  switch (padding.rule) {
    case PaddingRule::kExplicit:
      at_least("padding", std::min(padding.before[axis], padding.after[axis]), 0);
      before = padding.before[axis];
      after = padding.after[axis];
      break;
    case PaddingRule::kFull:
      before = after = reach;
      break;
    case PaddingRule::kSame:
    case PaddingRule::kSameLower: {
      const Wide total = std::max<Wide>(0, Wide(CeilDiv(in, stride) - 1) * stride + reach + 1 - in);
      before = padding.rule == PaddingRule::kSame ? total / 2 : total - total / 2;
      after = total - before;
      if (in == 0) before = after = 0;
      break;
    }
  }

  const Wide padded = before + in + after;
  const bool same = padding.rule == PaddingRule::kSame || padding.rule == PaddingRule::kSameLower;
  Wide out = 0;
  if (!(same && in == 0)) {
    if (padded <= reach) {
      Fail(op, ": a window of ", window, " with dilation ", dilation, " is larger than the padded ",
           name, " ", Narrow(op, name, padded), " (", in, " and padding ", Narrow(op, name, before),
           ", ", Narrow(op, name, after), ")");
    }
    const Wide slack = padded - reach - 1;
    out = slack / stride + 1;
    if (ceil_mode && slack % stride != 0 && out * stride < before + in) ++out;
  }
  Narrow(op, name, padded + reach + stride);
  return {in,
          window,
          stride,
          dilation,
          Narrow(op, name, before),
          Narrow(op, name, after),
          Narrow(op, name, out)};
}

}  // namespace lanewise
