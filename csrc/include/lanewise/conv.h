/// @file
/// Batched convolution (cross-correlation, as in every deep-learning library), and its adjoint.
#ifndef LANEWISE_CONV_H_
#define LANEWISE_CONV_H_

#include <cstddef>
#include <memory>
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
  kWinograd,  ///< fewer products, for float32 and windows of 3×3, 5×5, or 3, 5, 7 in line, stride 1
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
///     A·(C + 29)·eps/2 · max|x in the tile| · Σ|w|
///
/// (C input channels per group; A = 158 for windows of 3×3 and 5×5, whose tiles are of 6×6 pixels
/// at most, 13 for 3 and 5 taps in line, in tiles of 6, and 40 for 7, in tiles of 8; by 2e-6 to
/// 9e-6 of the outputs' size on random data), and an infinity or NaN reaches just the outputs whose
/// windows hold it: such tiles are computed directly.
///
/// The type of `out` says what is computed: float16, bfloat16 and float32 in float32, rounded once;
/// float64 in itself; integers modulo 2^bits. x and w may each have any type that NumPy casts to it
/// "safely". Integers take the activations kNone, kRelu and kRelu6, applied after the wrap-around.
///
/// @param bias nullable, of out's type: shape (K,), or (N, K) where w has one bank per image.
/// @param out of Conv2dShape; it must not overlap another argument. Any strides, as all arguments.
/// @throws DTypeError for types that do not go together, and what Conv2dShape throws.
///
/// Allocates a packed copy of w for grouped layers (of a few banks at a time where there are many),
/// or by Winograd's algorithm a transformed one of at most 10 MB, or where windows of planes reach
/// far into the padding one in another order; a PackedFilter keeps these instead. Beyond them, at
/// most 2·L2 of scratch for each thread, which the calling thread keeps for its next call, and a
/// third of L3 in all (Winograd's algorithm: as far as 72·(C + 64) elements fit there). Nothing is
/// kept of a shape. Thread-safe.
void Conv2d(const TensorView& x, const TensorView& w, const TensorView* bias,
            const Conv2dOptions& options, const TensorView& out);

/// @cond
class FilterForms;
/// @endcond

/// Filters that are packed once, for many calls. It is taken wherever `w` is, and gives the same
/// bits; a call then packs nothing.
///
/// It holds a copy of w and, from the first call on that reads it, the form in which that call's
/// algorithm reads filters; each form once for every element type that is computed in and every
/// SIMD target. Such a form is as large as w in that type, with the output channels of each group
/// padded to a whole panel (of 64 at most), or 4 times as large for Winograd's algorithm.
///
/// Thread-safe: several threads may use one object at once, the first use included, of which one
/// packs and the others wait. A child that was forked meanwhile packs for itself.
class PackedFilter {
 public:
  /// Copies w, which has the axes that Conv2d, Conv1d or ConvTranspose2d expect. Calls must have
  /// the same groups, layout and flip.
  ///
  /// @throws std::invalid_argument for a w that has not 3 to 5 axes, or groups below 1.
  explicit PackedFilter(const TensorView& w, int64_t groups = 1, Layout layout = Layout::kNHWC,
                        bool flip = false);
  ~PackedFilter();                                   ///< frees the copy and all forms
  PackedFilter(PackedFilter&&) noexcept;             ///< leaves an object without filters
  PackedFilter& operator=(PackedFilter&&) noexcept;  ///< leaves an object without filters

  const TensorView& filters() const;  ///< the copy of w, contiguous; never changes
  int64_t groups() const;             ///< of the calls
  Layout layout() const;              ///< of the calls
  bool flip() const;                  ///< of the calls
  size_t bytes() const;               ///< of the copy and of all forms until now

  /// @cond
  FilterForms& forms() const { return *forms_; }
  /// @endcond

 private:
  std::unique_ptr<FilterForms> forms_;
};

/// Conv2dShape for packed filters, with whose groups, layout and flip the options must agree.
Shape Conv2dShape(const Shape& x, const PackedFilter& w, const Conv2dOptions& options);

/// Conv2d with packed filters, with whose groups, layout and flip the options must agree.
void Conv2d(const TensorView& x, const PackedFilter& w, const TensorView* bias,
            const Conv2dOptions& options, const TensorView& out);

/// Packs now what Conv2d would on its first use, for contiguous images of shape x and a contiguous
/// result of this type.
///
/// @throws what Conv2d does.
void PackForConv2d(const PackedFilter& w, const Shape& x, DType dtype,
                   const Conv2dOptions& options);

/// What Conv2d would do for one image, and why.
struct ConvChoice {
  std::string name;    ///< "direct", "depthwise", "grouped" (the same sum) or "winograd"
  std::string reason;  ///< one sentence
};

/// The choice for x and w of these shapes and a result of this type. Only the shape of one image,
/// the type and the options decide, so that results depend on neither batch nor threads.
///
/// @throws std::invalid_argument as Conv2dShape does, and where options.algorithm asks for what
///     does not apply.
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

/// @{
/// Conv1d with packed filters: as Conv2d's functions.
Shape Conv1dShape(const Shape& x, const PackedFilter& w, const Conv2dOptions& options);
void Conv1d(const TensorView& x, const PackedFilter& w, const TensorView* bias,
            const Conv2dOptions& options, const TensorView& out);
void PackForConv1d(const PackedFilter& w, const Shape& x, DType dtype,
                   const Conv2dOptions& options);
/// @}

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

/// @{
/// ConvTranspose2d with packed filters, of the axes that it expects and packed without flip. There
/// is a form for each phase.
Shape ConvTranspose2dShape(const Shape& x, const PackedFilter& w,
                           const ConvTranspose2dOptions& options);
void ConvTranspose2d(const TensorView& x, const PackedFilter& w, const TensorView* bias,
                     const ConvTranspose2dOptions& options, const TensorView& out);
/// @}

}  // namespace lanewise

#endif  // LANEWISE_CONV_H_
