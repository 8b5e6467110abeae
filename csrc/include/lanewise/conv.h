/// @file
/// Batched convolution (cross-correlation, as in every deep-learning library), and its adjoint.
#ifndef LANEWISE_CONV_H_
#define LANEWISE_CONV_H_

#include <string>

#include "lanewise/error.h"
#include "lanewise/tensor.h"
#include "lanewise/window.h"

namespace lanewise {

/// Applied to each output after the bias.
enum class Activation : uint8_t {
  kNone,       ///< v
  kRelu,       ///< max(v, 0)
  kRelu6,      ///< min(max(v, 0), 6)
  kSilu,       ///< v / (1 + exp(-v))
  kGelu,       ///< v·Φ(v) = v·erfc(-v/√2)/2, exact, not the tanh approximation
  kLeakyRelu,  ///< v for v >= 0, else 0.01·v
  kSigmoid,    ///< 1 / (1 + exp(-v))
  kTanh,       ///< tanh(v)
};
/// The number of activations.
constexpr int kActivations = 8;

/// How a convolution is computed.
enum class ConvAlgorithm : uint8_t {
  kAuto,      ///< what is fastest for the shape of one image, unless SetConvAlgorithm("direct")
  kDirect,    ///< one chain of multiply-adds for each output, in the order (r, s, c)
  kWinograd,  ///< F(4×4, 3×3): 3×3 filters of stride 1 into float32, by a quarter of the products
};

/// The options of Conv2d and Conv1d.
struct Conv2dOptions {
  PerAxis<int64_t> stride{1, 1};              ///< pixels from one output to the next
  PerAxis<int64_t> dilation{1, 1};            ///< pixels from one tap to the next
  Padding padding;                            ///< rows and columns around the image
  int64_t groups = 1;                         ///< of channels that do not mix
  Layout layout = Layout::kNHWC;              ///< of x, w and out
  Activation activation = Activation::kNone;  ///< applied after the bias
  PadMode pad_mode = PadMode::kConstant;      ///< what the padding holds
  bool flip = false;  ///< the mathematical convolution: w's taps in reverse order
  ConvAlgorithm algorithm = ConvAlgorithm::kAuto;  ///< what sums are computed by
};

/// The shape of Conv2d's result.
///
///     kNHWC: x (N, H, W, C), w (R, S, C/groups, K), out (N, OH, OW, K)
///     kNCHW: x (N, C, H, W), w (K, C/groups, R, S), out (N, K, OH, OW)
///
/// x may lack the batch axis, and out then lacks it too. w may have one more leading axis of length
/// N: one bank of filters per image.
///
/// @throws std::invalid_argument for a wrong number of axes, channels, groups or banks that do not
///     fit, a border mode on an image without pixels, and whatever ResolveWindow refuses.
Shape Conv2dShape(const Shape& x, const Shape& w, const Conv2dOptions& options);

/// Batched two-dimensional convolution.
///
///     out[n, i, j, k] = activation(bias[k] + Σ_{r,s,c} x[n, i·stride + r·dilation - before, …, c]
///                                                      · w[r, s, c, k])
///
/// Pixels outside the image are what pad_mode says; c runs over the input channels of k's group.
/// Each layout gives the same bits. By the direct algorithm the sum is one chain of multiply-adds
/// in the order (r, s, c), so that integer-valued data whose sums fit in the mantissa is exact. By
/// Winograd's, an output is off by at most
///
///     158·(C + 20)·eps/2 · max|x in the tile of 6×6 pixels| · Σ|w|
///
/// (C input channels per group; by about 5e-6 of the outputs' size on random data), and an infinity
/// or NaN reaches just the outputs whose windows hold it: such tiles are computed directly.
///
/// The type of `out` says what is computed: float16, bfloat16 and float32 in float32, rounded once;
/// float64 in itself; integers modulo 2^bits. x and w may each have any type that NumPy casts to it
/// "safely". Integers take the activations kNone, kRelu and kRelu6, applied after the wrap-around.
///
/// @param bias nullable, of out's type: shape (K,), or (N, K) where w has one bank per image.
/// @param out of Conv2dShape; it must not overlap another argument. Any strides, as all arguments.
/// @throws DTypeError for types that do not go together, and what Conv2dShape throws.
///
/// Allocates, per thread, scratch of at most 2·L2 or 36·(C + 32) elements, kept for the thread's
/// next call; by Winograd's algorithm also transformed filters of 4 times w's size, 10 MB of them
/// at a time, and for depthwise layers a packed copy of w (of a few banks at a time where there are
/// many). Thread-safe.
void Conv2d(const TensorView& x, const TensorView& w, const TensorView* bias,
            const Conv2dOptions& options, const TensorView& out);

/// What Conv2d would do for one image, and why.
struct ConvChoice {
  std::string name;    ///< "direct", "depthwise" (the same sum) or "winograd"
  std::string reason;  ///< one sentence
};

/// The choice for x and w of these shapes and a result of this type. Only the shape of one image,
/// the type and the options decide, so that results depend on neither batch nor threads.
///
/// @throws std::invalid_argument as Conv2dShape does, and where options.algorithm asks for what
/// does
///     not apply.
ConvChoice Conv2dChoice(const Shape& x, const Shape& w, DType dtype, const Conv2dOptions& options);

/// What kAuto means in this process: "auto", or "direct" for the ordered sum everywhere. The
/// default is the environment variable LANEWISE_CONV, else "auto". Thread-safe.
///
/// @throws std::invalid_argument for any other name.
void SetConvAlgorithm(const std::string& name);

/// The shape of Conv1d's result: x (N, W, C) or (N, C, W), w (S, C/groups, K) or (K, C/groups, S),
/// out (N, OW, K) or (N, K, OW). Of options that are given per axis, the second, the width's,
/// counts.
Shape Conv1dShape(const Shape& x, const Shape& w, const Conv2dOptions& options);

/// Batched one-dimensional convolution: Conv2d in every respect, along one axis. Arguments have
/// Conv1dShape's shapes.
void Conv1d(const TensorView& x, const TensorView& w, const TensorView* bias,
            const Conv2dOptions& options, const TensorView& out);

/// The options of ConvTranspose2d.
struct ConvTranspose2dOptions {
  PerAxis<int64_t> stride{1, 1};          ///< pixels from one input's window to the next
  PerAxis<int64_t> dilation{1, 1};        ///< pixels from one tap to the next
  Padding padding;                        ///< of the convolution whose adjoint this is
  PerAxis<int64_t> output_padding{0, 0};  ///< rows and columns more, at the end
  int64_t groups = 1;                     ///< of channels that do not mix
  Layout layout = Layout::kNHWC;          ///< of x, w and out
};

/// The shape of ConvTranspose2d's result.
///
///     kNHWC: x (N, H, W, C), w (R, S, K/groups, C), out (N, OH, OW, K)
///     kNCHW: x (N, C, H, W), w (C, K/groups, R, S), out (N, K, OH, OW)
///     OH = (H - 1)·stride + dilation·(R - 1) + 1 - before - after + output_padding
///
/// kSame and kSameLower give OH = H·stride, and take no output_padding. x may lack the batch axis.
///
/// @throws std::invalid_argument as Conv2dShape does, for an output_padding that is negative or not
///     below max(stride, dilation), and where OH would be below 1.
Shape ConvTranspose2dShape(const Shape& x, const Shape& w, const ConvTranspose2dOptions& options);

/// The adjoint of Conv2d with zero padding, as gradients and decoders use it:
///
///     out[n, i·stride + r·dilation - before, …, k] += x[n, i, …, c]·w[r, s, k, c], from bias[k] on
///
/// computed as one convolution for each phase of the output modulo stride, without zeros between
/// the pixels of x. Types, aliasing, allocation and thread-safety are Conv2d's; bias has shape
/// (K,).
void ConvTranspose2d(const TensorView& x, const TensorView& w, const TensorView* bias,
                     const ConvTranspose2dOptions& options, const TensorView& out);

}  // namespace lanewise

#endif  // LANEWISE_CONV_H_
