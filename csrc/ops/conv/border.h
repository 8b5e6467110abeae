// Which element of an axis stands at a position outside it.
#ifndef LANEWISE_OPS_CONV_BORDER_H_
#define LANEWISE_OPS_CONV_BORDER_H_

#include <cstdint>

#include "lanewise/window.h"

namespace lanewise {

// Whether a position along an axis of `size` is in the image rather than in the padding.
inline bool Inside(int64_t position, int64_t size) {
  return static_cast<uint64_t>(position) < static_cast<uint64_t>(size);
}

class Border {
 public:
  static constexpr int64_t kNone = -1;  // zero stands there

  Border(PadMode mode, int64_t size) : mode_(mode), size_(size) {}

  bool constant() const { return mode_ == PadMode::kConstant; }
  int64_t operator()(int64_t position) const {
    if (Inside(position, size_)) return position;
    return constant() ? kNone : Fold(position);
  }

 private:
  int64_t Fold(int64_t position) const {
    const auto modulo = [](int64_t i, int64_t n) { return i % n + (i % n < 0 ? n : 0); };
    switch (mode_) {
      case PadMode::kReflect: {
        if (size_ == 1) return 0;
        const int64_t period = 2 * (size_ - 1), i = modulo(position, period);
        return i < size_ ? i : period - i;
      }
      case PadMode::kSymmetric: {
        const int64_t i = modulo(position, 2 * size_);
        return i < size_ ? i : 2 * size_ - 1 - i;
      }
      case PadMode::kWrap:
        return modulo(position, size_);
      default:
        return position < 0 ? 0 : size_ - 1;
    }
  }

  PadMode mode_;
  int64_t size_;
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_BORDER_H_
