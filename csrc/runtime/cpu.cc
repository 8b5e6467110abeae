#include "runtime/cpu.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
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

// Calls found(directory, 2) for every directory of the process's cgroup of version 2, from its own
// up to the root, and found(directory, 1) for that of a controller of version 1.
template <class F>
void ForEachCgroup(const std::string& controller, const F& found) {
  // Lines are "hierarchy:controllers:path"; version 2 has the single line "0::path".
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    std::string path = line.substr(second + 1);
    if (path == "/") path.clear();
    if (controllers == ",,") {
      for (size_t end = path.size(); end != std::string::npos;
           end = end == 0 ? std::string::npos : path.rfind('/', end - 1)) {
        found("/sys/fs/cgroup" + path.substr(0, end), 2);
      }
    } else if (controllers.find("," + controller + ",") != std::string::npos) {
      found("/sys/fs/cgroup/" + controller + path, 1);
    }
  }
}

// "<quota> <period>" or "max <period>".
int CpuLimitV2(const std::string& directory) {
  std::ifstream file(directory + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max") return INT_MAX;
  return CpusOf(std::strtod(quota.c_str(), nullptr), period);
}

int CpuLimitV1(const std::string& directory) {
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
  int limit = INT_MAX;
  ForEachCgroup("cpu", [&](const std::string& directory, int version) {
    limit = std::min(limit, version == 2 ? CpuLimitV2(directory) : CpuLimitV1(directory));
  });
  return limit;
}

size_t MemoryLimit() {
  size_t limit = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  ForEachCgroup("memory", [&](const std::string& directory, int version) {
    std::ifstream file(directory + (version == 2 ? "/memory.max" : "/memory.limit_in_bytes"));
    size_t bytes = 0;
    if (file >> bytes) limit = std::min(limit, bytes);  // not where it says "max"
  });
  return limit;
}

size_t MemoryAvailable() {
  const int file = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
  if (file < 0) return SIZE_MAX;
  char text[512];  // its first lines, of which this is the third
  const ssize_t length = read(file, text, sizeof(text) - 1);
  close(file);
  text[std::max<ssize_t>(length, 0)] = 0;
  const char* const line = std::strstr(text, "MemAvailable:");
  return line == nullptr ? SIZE_MAX : std::strtoull(line + 13, nullptr, 10) << 10;
}

bool IsResident(const void* address) {
  const uintptr_t page = sysconf(_SC_PAGESIZE);
  unsigned char resident = 1;
  void* const begin = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(address) / page * page);
  return mincore(begin, page, &resident) != 0 || (resident & 1) != 0;
}

}  // namespace lanewise
