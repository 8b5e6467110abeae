#include "runtime/cpu.h"

#include <unistd.h>

#include <climits>
#include <cmath>
#include <fstream>
#include <string>

namespace lanewise {
namespace {

size_t CacheSize(int sysconf_name, size_t fallback) {
  const long bytes = sysconf(sysconf_name);
  return bytes > 0 ? static_cast<size_t>(bytes) : fallback;
}

int CpusOf(double quota, double period) {
  return quota > 0 && period > 0 ? static_cast<int>(std::ceil(quota / period)) : INT_MAX;
}

// cgroup v2: "<quota> <period>" or "max <period>", in every directory from the process's own up.
int LimitV2(std::string path) {
  int limit = INT_MAX;
  while (true) {
    std::ifstream file("/sys/fs/cgroup" + path + "/cpu.max");
    std::string quota;
    double period = 0;
    if (file >> quota >> period && quota != "max") {
      limit = std::min(limit, CpusOf(std::strtod(quota.c_str(), nullptr), period));
    }
    const size_t slash = path.rfind('/');
    if (slash == std::string::npos) return limit;
    path.resize(slash);
  }
}

int LimitV1(const std::string& path) {
  const std::string directory = "/sys/fs/cgroup/cpu" + path;
  double quota = 0, period = 0;
  std::ifstream(directory + "/cpu.cfs_quota_us") >> quota;
  std::ifstream(directory + "/cpu.cfs_period_us") >> period;
  return CpusOf(quota, period);
}

}  // namespace

const CacheSizes& Caches() {
  static const CacheSizes sizes{
      CacheSize(_SC_LEVEL1_DCACHE_SIZE, size_t{32} << 10),
      CacheSize(_SC_LEVEL2_CACHE_SIZE, size_t{1} << 20),
      CacheSize(_SC_LEVEL3_CACHE_SIZE, size_t{16} << 20),
  };
  return sizes;
}

int CgroupCpuLimit() {
  // Lines are "hierarchy:controllers:path"; v2 has the single line "0::path".
  std::ifstream file("/proc/self/cgroup");
  int limit = INT_MAX;
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) limit = std::min(limit, LimitV2(path == "/" ? "" : path));
    if (("," + controllers + ",").find(",cpu,") != std::string::npos) {
      limit = std::min(limit, LimitV1(path == "/" ? "" : path));
    }
  }
  return limit;
}

}  // namespace lanewise
