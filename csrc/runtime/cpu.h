// Facts about this machine.
#ifndef LANEWISE_RUNTIME_CPU_H_
#define LANEWISE_RUNTIME_CPU_H_

#include <cstddef>

namespace lanewise {

struct CacheSizes {
  size_t l1;  // data, per core
  size_t l2;  // per core
  size_t l3;  // shared
};

// Bytes, read once; the sizes of a common server core where the system does not tell. They bound
// scratch and shape tiles, and never the order of a sum, so that results do not depend on them.
const CacheSizes& Caches();

// CPUs' worth of time that the cgroup grants, rounded up; a large number where there is no limit.
int CgroupCpuLimit();

// Bytes of memory that this process may have: the machine's, or the cgroup's limit if that is less.
size_t MemoryLimit();

// Bytes that the system could give out now without swapping; a large number where it does not tell.
// Asks anew each time (3 µs).
size_t MemoryAvailable();

// Whether the page of this address has memory behind it, as it has from its first use on. Where the
// system does not tell, it has.
bool IsResident(const void* address);

}  // namespace lanewise

#endif  // LANEWISE_RUNTIME_CPU_H_
