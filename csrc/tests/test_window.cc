#include <stdexcept>

#include "lanewise/window.h"
#include "testing.h"

namespace lanewise {

namespace {
WindowAxis Resolve(int64_t in, int64_t window, int64_t stride, PaddingRule rule,
                   bool ceil = false) {
  return ResolveWindow("op", 0, in, window, stride, 1, {rule, {1, 0}, {2, 0}}, ceil);
}
}  // namespace

TEST_CASE("window: every padding rule") {
  CHECK(Resolve(10, 3, 1, PaddingRule::kExplicit).out == 11);
  CHECK(Resolve(10, 3, 1, PaddingRule::kFull).out == 12);
  for (const auto rule : {PaddingRule::kSame, PaddingRule::kSameLower}) {
    for (int64_t in = 1; in < 12; ++in) {
      for (int64_t window = 1; window < 5; ++window) {
        for (int64_t stride = 1; stride < 5; ++stride) {
          const WindowAxis axis = Resolve(in, window, stride, rule);
          CHECK(axis.out == (in + stride - 1) / stride);
          const int64_t odd = axis.after - axis.before;
          CHECK((rule == PaddingRule::kSame ? odd : -odd) >= 0);
          CHECK((rule == PaddingRule::kSame ? odd : -odd) <= 1);
        }
      }
    }
  }
}

TEST_CASE("window: ceil_mode adds a window only if it starts inside") {
  const Padding none;
  CHECK(ResolveWindow("op", 0, 10, 3, 2, 1, none, false).out == 4);
  CHECK(ResolveWindow("op", 0, 10, 3, 2, 1, none, true).out == 5);
  CHECK(ResolveWindow("op", 0, 4, 1, 3, 1, none, true).out == 2);
  CHECK(ResolveWindow("op", 0, 3, 1, 3, 1, none, true).out == 1);
}

TEST_CASE("window: errors name the op, the axis and what was seen") {
  CHECK_THROWS_WITH_AS(ResolveWindow("conv2d", 1, 4, 5, 1, 1, {}),
                       doctest::Contains("conv2d: a window of 5 with dilation 1 is larger than the "
                                         "padded width 4"),
                       std::invalid_argument);
  CHECK_THROWS_WITH_AS(ResolveWindow("conv2d", 0, 4, 3, 0, 1, {}),
                       doctest::Contains("stride is 0 along the height"), std::invalid_argument);
  const int64_t huge = INT64_MAX;
  CHECK_THROWS_AS(ResolveWindow("op", 0, 4, 3, 1, huge, {PaddingRule::kFull, {}, {}}),
                  std::invalid_argument);
}

}  // namespace lanewise
