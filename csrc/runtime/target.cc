#include "runtime/target.h"

#include <hwy/targets.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <vector>

#include "lanewise/runtime.h"
#include "runtime/error.h"

namespace lanewise {
namespace {

struct TargetName {
  SimdTarget target;
  const char* name;
};
constexpr TargetName kNames[] = {{SimdTarget::kAvx512, "avx512"},
                                 {SimdTarget::kAvx2, "avx2"},
                                 {SimdTarget::kSse4, "sse4"},
                                 {SimdTarget::kNeon, "neon"}};

// The baseline that everything is compiled for needs no detection.
bool IsAvailable(SimdTarget target) {
  switch (target) {
#if HWY_ARCH_X86
    case SimdTarget::kAvx512:
      return (hwy::SupportedTargets() & HWY_AVX3) != 0;
    case SimdTarget::kAvx2:
      return (hwy::SupportedTargets() & HWY_AVX2) != 0;
    case SimdTarget::kSse4:
      return true;
#elif HWY_ARCH_ARM_A64
    case SimdTarget::kNeon:
      return true;
#endif
    default:
      return false;
  }
}

SimdTarget Best() {
  for (const TargetName& entry : kNames) {
    if (IsAvailable(entry.target)) return entry.target;
  }
  Fail("lanewise: this build has no SIMD target for this CPU");
}

SimdTarget Parse(const char* source, const std::string& name) {
  if (name.empty()) return Best();
  for (const TargetName& entry : kNames) {
    if (name == entry.name && IsAvailable(entry.target)) return entry.target;
  }
  std::string available;
  for (const std::string& target : AvailableSimdTargets()) available += " '" + target + "'";
  Fail(source, ": SIMD target '", name, "' is not available here; these are:", available);
}

SimdTarget FromEnvironment() {
  const char* name = std::getenv("LANEWISE_SIMD");
  return Parse("LANEWISE_SIMD", name ? name : "");
}

constexpr int kUnset = -1;
std::atomic<int> active{kUnset};

}  // namespace

SimdTarget ActiveTarget() {
  int target = active.load(std::memory_order_relaxed);
  if (target == kUnset) active.store(target = static_cast<int>(FromEnvironment()));
  return static_cast<SimdTarget>(target);
}

void SetSimdTarget(const std::string& name) {
  active.store(static_cast<int>(name.empty() ? FromEnvironment() : Parse("set_simd_target", name)));
}

std::string GetSimdTarget() {
  for (const TargetName& entry : kNames) {
    if (entry.target == ActiveTarget()) return entry.name;
  }
  return "";
}

std::vector<std::string> AvailableSimdTargets() {
  std::vector<std::string> names;
  for (const TargetName& entry : kNames) {
    if (IsAvailable(entry.target)) names.push_back(entry.name);
  }
  return names;
}

std::string Version() { return LANEWISE_VERSION; }

std::string Compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

}  // namespace lanewise
