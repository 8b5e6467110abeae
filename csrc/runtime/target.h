// Which instruction set the kernels of the next op use. Highway only detects the CPU; its own
// process-wide choice is neither used nor changed.
#ifndef LANEWISE_RUNTIME_TARGET_H_
#define LANEWISE_RUNTIME_TARGET_H_

#include <cstdint>

namespace lanewise {

enum class SimdTarget : uint8_t { kAvx512, kAvx2, kSse4, kNeon };

// The target in force. Throws std::invalid_argument if LANEWISE_SIMD names one that is not there.
SimdTarget ActiveTarget();

}  // namespace lanewise

#endif  // LANEWISE_RUNTIME_TARGET_H_
