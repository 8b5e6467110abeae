/// @file
/// Process-wide settings: the number of threads and the SIMD target. All functions are thread-safe.
#ifndef LANEWISE_RUNTIME_H_
#define LANEWISE_RUNTIME_H_

#include <string>
#include <vector>

namespace lanewise {

/// Lets ops use at most `n` threads from now on. The default is OMP_NUM_THREADS where that is set,
/// else the smaller of the CPU affinity and the cgroup's CPU quota. Never more than OpenMP's own
/// maximum for the calling thread, so omp_set_num_threads (and threadpoolctl) limit it too. Results
/// do not depend on it.
///
/// @throws std::invalid_argument  for n < 1
void SetNumThreads(int n);

/// The number of threads that a large enough op called by this thread would use.
int GetNumThreads();

/// Makes ops that start from now on run the kernels of one SIMD target. The default is the best one
/// this CPU has, or the one that the environment variable LANEWISE_SIMD names. Results of different
/// targets may differ in the last bits.
///
/// @param name  "avx512", "avx2", "sse4" or "neon"; an empty name returns to the default
/// @throws std::invalid_argument  for a name that is unknown or that this CPU or build does not
/// have
void SetSimdTarget(const std::string& name);

/// The name of the SIMD target in force.
///
/// @throws std::invalid_argument  if it is LANEWISE_SIMD's, and unknown or not there
std::string GetSimdTarget();

/// What this build was compiled for and this CPU has, best first.
std::vector<std::string> AvailableSimdTargets();

/// lanewise's version, "major.minor.patch".
std::string Version();

/// The compiler that built the library, and its version.
std::string Compiler();

}  // namespace lanewise

#endif  // LANEWISE_RUNTIME_H_
