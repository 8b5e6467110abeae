// Batched two-dimensional convolution (cross-correlation, as in every deep-learning library).
#ifndef LANEWISE_CONV_H_
#define LANEWISE_CONV_H_

#include "lanewise/error.h"
#include "lanewise/tensor.h"
#include "lanewise/window.h"

namespace lanewise {

// Applied to each output after the bias.
enum class Activation : uint8_t {
  kNone,
  kRelu,       // max(v, 0)
  kRelu6,      // min(max(v, 0), 6)
  kSilu,       // v / (1 + exp(-v))
  kGelu,       // v·Φ(v) = v·erfc(-v/√2)/2, exact, not the tanh approximation
  kLeakyRelu,  // v for v >= 0, else 0.01·v
  kSigmoid,    // 1 / (1 + exp(-v))
  kTanh,
};
constexpr int kActivations = 8;

struct Conv2dOptions {
  PerAxis<int64_t> stride{1, 1}, dilation{1, 1};
  Padding padding;  // with zeros
  int64_t groups = 1;
  Layout layout = Layout::kNHWC;
  Activation activation = Activation::kNone;
};

// The shape of the result.
//   kNHWC: x (N, H, W, C), w (R, S, C/groups, K), out (N, OH, OW, K)
//   kNCHW: x (N, C, H, W), w (K, C/groups, R, S), out (N, K, OH, OW)
// Throws std::invalid_argument for a wrong rank, channels or groups that do not fit, and whatever
// ResolveWindow refuses.
Shape Conv2dShape(const Shape& x, const Shape& w, const Conv2dOptions& options);

// out[n, oh, ow, k] = activation(bias[k] + Σ_{r,s,c} x[n, oh·stride + r·dilation - before, …,
// c]·w[r, s, c, k]), pixels outside the image being zero and c running over the input channels of
// k's group.
//
// x, w, bias (nullable, shape (K,)) and out are all float32 or all float64, in any strides; out
// must not overlap an input. The sum is one chain of multiply-adds in the order (r, s, c), so that
// integer-valued data whose sums fit in the mantissa is exact; each layout gives the same bits.
// Allocates a packed copy of w and, per thread, scratch of at most 2·L2 (kept for the thread's next
// call). Thread-safe.
void Conv2d(const TensorView& x, const TensorView& w, const TensorView* bias,
            const Conv2dOptions& options, const TensorView& out);

}  // namespace lanewise

#endif  // LANEWISE_CONV_H_
