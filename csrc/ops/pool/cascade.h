// Long windows made of shorter ones, so that an output costs the same for any window.
#ifndef LANEWISE_OPS_POOL_CASCADE_H_
#define LANEWISE_OPS_POOL_CASCADE_H_

#include <algorithm>
#include <cstdint>

#include "lanewise/window.h"
#include "ops/strided.h"

namespace lanewise::pool {

// Level 0 are the taps. An element of level k reduces kRadix of level k - 1 that follow one
// another, Width(k) = kRadix^k taps in all; a window is a few pieces of these. 101 taps are two
// elements of level 3 that overlap, or for sums 64 + 2·16 + 4 + 1 taps. A function of the axis
// alone, as sums follow it.
struct Cascade {
  static constexpr int64_t kRadix = 4;
  // Longer windows would need rows beyond the caches.
  static constexpr int64_t kMaxRows = 128;

  int levels = 0;  // 0: the window is reduced tap by tap
  int64_t window = 0, dilation = 1;

  Cascade() = default;
  // `copies` is what each element costs in loads and stores before the first level.
  Cascade(const WindowAxis& axis, int64_t copies) : window(axis.window), dilation(axis.dilation) {
    if (Span(window) > axis.in) {
      window = 0;  // it bounds scratch
      return;
    }
    int64_t least = window;
    for (int k = 1; Width(k) <= window; ++k) {
      const int64_t cost = axis.stride * (copies + (kRadix + 1) * k) + CeilDiv(window, Width(k));
      if (cost < least) {
        least = cost;
        levels = k;
      }
    }
  }

  explicit operator bool() const { return levels > 0; }
  static int64_t Width(int level) { return int64_t{1} << (2 * level); }
  // Elements from the first to the last of `taps`, and itself.
  int64_t Span(int64_t taps) const { return dilation * (taps - 1) + 1; }

  // f(level, offset in elements) of the pieces, in this order. Those of a sum do not overlap.
  template <class F>
  void ForEachPiece(bool sum, const F& f) const {
    int64_t tap = 0;
    for (int k = levels; k >= 0; --k) {
      for (; tap + Width(k) <= window; tap += Width(k)) f(k, tap * dilation);
      if (!sum && tap < window) return f(k, (window - Width(k)) * dilation);
    }
  }
};

}  // namespace lanewise::pool

#endif  // LANEWISE_OPS_POOL_CASCADE_H_
