// Which windows cover a pixel, along one axis.
#ifndef LANEWISE_OPS_POOL_COVERING_H_
#define LANEWISE_OPS_POOL_COVERING_H_

#include <algorithm>
#include <cstdint>

#include "ops/pool/geometry.h"

namespace lanewise::pool {

// Pixels h whose places u = h + before in the padded image have begin <= u mod stride < end. They
// lie in the windows j + first + k·step, j = u / stride, k < terms, as far as these exist.
struct CoveredRun {
  int64_t begin, end;
  int64_t terms, first;
};

// Window o has its tap t at u = o·stride + t·dilation. So for u = j·stride + p the taps with
// t·dilation = p (mod stride) count: one in stride / gcd, which belong to windows that are
// dilation / gcd apart.
class Covering {
 public:
  explicit Covering(const WindowAxis& axis);

  const WindowAxis& axis() const { return axis_; }

  // u / stride of the first pixel, and one more than that of the last.
  int64_t begin() const { return axis_.before / axis_.stride; }
  int64_t end() const { return (axis_.before + axis_.in - 1) / axis_.stride + 1; }

  // Calls f for runs that together have each pixel once.
  template <class F>
  void ForEachRun(const F& f) const {
    const int64_t stride = axis_.stride, phases = std::min(stride, axis_.in);
    const int64_t first = phases == stride ? 0 : axis_.before % stride;
    for (int64_t done = 0; done < phases;) {
      CoveredRun run = RunFrom((first + done) % stride);
      run.end = std::min(run.end, run.begin + phases - done);
      f(run);
      done += run.end - run.begin;
    }
  }

 private:
  CoveredRun RunFrom(int64_t phase) const;
  // Without the first and last terms that are a window for no pixel.
  CoveredRun Clipped(CoveredRun run) const;

  WindowAxis axis_;
  int64_t gcd_, cycle_, inverse_;

 public:
  int64_t step;
  int64_t low = 0, high = 0;  // the windows of a pixel lie in [j + low, j + high]
  int64_t most = 0;           // terms of any pixel
};

}  // namespace lanewise::pool

#endif  // LANEWISE_OPS_POOL_COVERING_H_
