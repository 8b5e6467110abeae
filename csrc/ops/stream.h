// Whether results go past the caches, by non-temporal stores.
#ifndef LANEWISE_OPS_STREAM_H_
#define LANEWISE_OPS_STREAM_H_

#include <cstdint>

#include "runtime/cpu.h"

namespace lanewise {

// A store to a line that is not in a cache reads it first; a non-temporal store of the whole line
// does not. From about this size on hardly anything of a result is in the caches when its next
// reader comes, and it pays: 10000² distances of d = 2 in 12 instead of 45 ms. Not where the pages
// were never written, though: the system zeroes them, through the caches, and a non-temporal store
// then has to throw these lines out (39 instead of 27 ms). One page tells for all.
constexpr int64_t kStreamedBytes = int64_t{32} << 20;

inline bool StreamsPay(const void* out, int64_t bytes) {
  return bytes >= kStreamedBytes && IsResident(static_cast<const char*>(out) + bytes / 2);
}

}  // namespace lanewise

#endif  // LANEWISE_OPS_STREAM_H_
