// Process-wide settings: the number of threads and the SIMD target. All functions are thread-safe.
#ifndef LANEWISE_RUNTIME_H_
#define LANEWISE_RUNTIME_H_

#include <string>
#include <vector>

namespace lanewise {

// The number of threads an op may use. The default is OMP_NUM_THREADS where that is set, else the
// smaller of the CPU affinity and the cgroup's CPU quota. Never more than OpenMP's own maximum for
// the calling thread, so omp_set_num_threads (and threadpoolctl) limit it too. Results do not
// depend on it. Throws std::invalid_argument for n < 1.
void SetNumThreads(int n);
int GetNumThreads();

// The SIMD target that ops run: "avx512", "avx2", "sse4" or "neon". The default is the best one
// this CPU has, or the one that the environment variable LANEWISE_SIMD names. Results of different
// targets may differ in the last bits. An empty name returns to the default. Both throw
// std::invalid_argument for a name that is unknown or that this CPU or build does not have.
void SetSimdTarget(const std::string& name);
std::string GetSimdTarget();

// What this build was compiled for and this CPU has, best first.
std::vector<std::string> AvailableSimdTargets();

std::string Version();
std::string Compiler();

}  // namespace lanewise

#endif  // LANEWISE_RUNTIME_H_
