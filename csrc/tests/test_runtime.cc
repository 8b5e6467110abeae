#include <algorithm>
#include <stdexcept>

#include "lanewise/roofline.h"
#include "lanewise/runtime.h"
#include "testing.h"

namespace lanewise {

TEST_CASE("threads: at least one, remembered, never more than OpenMP allows") {
  SetNumThreads(1);
  CHECK(GetNumThreads() == 1);
  SetNumThreads(100000);
  CHECK(GetNumThreads() >= 1);
  CHECK(GetNumThreads() < 100000);
  CHECK_THROWS_AS(SetNumThreads(0), std::invalid_argument);
}

TEST_CASE("SIMD target: every available one can be forced, others are refused") {
  const auto available = AvailableSimdTargets();
  REQUIRE(!available.empty());
  testing::EverywhereDo([] {});
  CHECK(GetSimdTarget() == available.front());
  CHECK_THROWS_WITH_AS(SetSimdTarget("avx1024"),
                       doctest::Contains("SIMD target 'avx1024' is not available"),
                       std::invalid_argument);
  CHECK(GetSimdTarget() == available.front());
}

TEST_CASE("version and compiler are known") {
  const std::string version = Version();
  CHECK(std::count(version.begin(), version.end(), '.') == 2);
  CHECK(!Compiler().empty());
}

TEST_CASE("roofline: both are speeds that a machine can have") {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    const double flops = MeasureFmaPeak(dtype);
    CHECK(flops > 1e7);
    CHECK(flops < 1e14);
  }
  CHECK(MeasureBandwidth(1 << 16) > 1e8);
  CHECK_THROWS_AS(MeasureFmaPeak(DType::kInt64), DTypeError);
}

}  // namespace lanewise
