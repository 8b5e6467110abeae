#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "lanewise/memory.h"
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

TEST_CASE("blocks: recycled, bounded, told from other memory") {
  constexpr size_t kMegabyte = size_t{1} << 20;
  ReleasePool();
  void* const block = AllocateBlock(40 * kMegabyte - 1);
  REQUIRE(block != nullptr);
  std::memset(block, 1, 40 * kMegabyte - 1);
  CHECK(reinterpret_cast<uintptr_t>(block) % 64 == 0);
  CHECK(BlockCapacity(block) == 40 * kMegabyte);
  CHECK(GetPoolUsage().in_use == 40 * kMegabyte);
  CHECK(FreeBlock(block));
  CHECK(!FreeBlock(block));
  CHECK(BlockCapacity(block) == 0);
  CHECK(GetPoolUsage().waiting == 40 * kMegabyte);
  CHECK(AllocateBlock(33 * kMegabyte) == block);

  int elsewhere = 0;
  CHECK(!FreeBlock(&elsewhere));
  CHECK(!FreeBlock(nullptr));
  CHECK(AllocateBlock(SIZE_MAX) == nullptr);
  CHECK(AllocateBlock(SIZE_MAX / 4) == nullptr);

  const size_t limit = GetPoolUsage().limit;
  SetPoolLimit(0);
  CHECK(FreeBlock(block));
  CHECK(GetPoolUsage().waiting == 0);
  SetPoolLimit(limit);
  CHECK(GetPoolUsage().in_use == 0);
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
