/// @file
/// Gradients of convolution, by its image, its filters and its bias.
#ifndef LANEWISE_CONV_BACKWARD_H_
#define LANEWISE_CONV_BACKWARD_H_

#include "lanewise/conv.h"
#include "lanewise/error.h"
#include "lanewise/tensor.h"

namespace lanewise {

/// Where the gradients go; null where one is not asked for. They must not overlap each other or an
/// argument, and may have any strides.
struct ConvGradients {
  const TensorView* x = nullptr;     ///< of x's shape
  const TensorView* w = nullptr;     ///< of w's shape
  const TensorView* bias = nullptr;  ///< of Conv2dBiasShape, or its like
};

/// The shape of a bias for filters of shape w, where x has shape x: (K,), or (N, K) where w has one
/// bank of filters per image.
///
/// @throws std::invalid_argument as Conv2dShape does.
Shape Conv2dBiasShape(const Shape& x, const Shape& w, const Conv2dOptions& options);
/// The same for Conv1d's axes.
Shape Conv1dBiasShape(const Shape& x, const Shape& w, const Conv2dOptions& options);

/// The gradients of a sum Σ dy·y by the arguments of y = Conv2d(x, w, bias), without activation:
///
///     dx[n, p, q, c]  = Σ dy[n, i, j, k]·w[r, s, c, k]
///     dw[r, s, c, k]  = Σ_{n,i,j} dy[n, i, j, k]·x[n, i·stride + r·dilation - before, …, c]
///     dbias[k]        = Σ_{n,i,j} dy[n, i, j, k]
///
/// The sum of dx is over all i, j, k, r, s where the window of (i, j) has pixel (p, q) under its
/// tap (r, s). Pixels outside the image are what pad_mode says: in dw they are multiplied; in dx,
/// what falls on one counts for the pixel that stands there, or for none with kConstant. Where w
/// has one bank of filters per image, so have dw and dbias.
///
/// dx has Conv2d's accuracy, with K / groups in place of C: its sums have R·S·K / groups terms,
/// plus those of the padding that a border mode adds. dw and dbias are sums over all images and
/// pixels, in blocks whose sums are added in order; the blocks' size is a function of the shapes
/// only. So no gradient's bits depend on threads, strides or the layout, nor those of dx on the
/// rest of the batch. options.algorithm says for dx and dw whether Winograd's may be used, as for
/// Conv2d; by it, dw is off by at most
///
///     A·(n + 29)·eps/2 · max|x| · Σ|dy|
///
/// (n outputs in all images, A as for Conv2d; by about 5e-6 of its size on random data), and an
/// infinity or NaN reaches just the elements that it does without.
///
/// The types of the gradients are one, which says what is computed, as Conv2d's out does; dy, x and
/// w may each have any type that NumPy casts to it "safely".
///
/// @param x,w of which only the shape is read where no gradient asks for the values (x's where
///     gradients.w is null, w's where gradients.x is null); `data` may then be null.
/// @param dy of Conv2dShape.
/// @param options as they were given to Conv2d; the activation must be kNone.
/// @throws DTypeError for types that do not go together, and what Conv2dShape throws; nothing is
///     written then.
///
/// Allocates for dx what Conv2d does for a convolution of dy, and at most 4·L2 for sums that wait
/// to be added to others or put in their places; for dw and dbias, at most 2·L2 of scratch for each
/// thread and 4 MB in all. Nothing is kept of a shape. Thread-safe.
void Conv2dBackward(const TensorView& dy, const TensorView& x, const TensorView& w,
                    const Conv2dOptions& options, const ConvGradients& gradients);
/// The same for Conv1d's axes.
void Conv1dBackward(const TensorView& dy, const TensorView& x, const TensorView& w,
                    const Conv2dOptions& options, const ConvGradients& gradients);

/// @{
/// The same for packed filters, of which the copy of w is read: the gradients need other forms,
/// which are not kept. The options must agree with those that w was packed with.
Shape Conv2dBiasShape(const Shape& x, const PackedFilter& w, const Conv2dOptions& options);
Shape Conv1dBiasShape(const Shape& x, const PackedFilter& w, const Conv2dOptions& options);
void Conv2dBackward(const TensorView& dy, const TensorView& x, const PackedFilter& w,
                    const Conv2dOptions& options, const ConvGradients& gradients);
void Conv1dBackward(const TensorView& dy, const TensorView& x, const PackedFilter& w,
                    const Conv2dOptions& options, const ConvGradients& gradients);
/// @}

/// The shape of ConvTranspose2d's bias: (K,).
Shape ConvTranspose2dBiasShape(const Shape& x, const Shape& w,
                               const ConvTranspose2dOptions& options);

/// The gradients of Σ dy·y by the arguments of y = ConvTranspose2d(x, w, bias):
///
///     dx[n, i, j, c]  = Σ_{r,s,k} dy[n, i·stride + r·dilation - before, …, k]·w[r, s, k, c]
///     dw[r, s, k, c]  = Σ_{n,i,j} dy[n, i·stride + r·dilation - before, …, k]·x[n, i, j, c]
///     dbias[k]        = Σ_{n,i,j} dy[n, i, j, k]
///
/// dx is Conv2d of dy. All else is as for Conv2dBackward; the bias has shape (K,).
void ConvTranspose2dBackward(const TensorView& dy, const TensorView& x, const TensorView& w,
                             const ConvTranspose2dOptions& options, const ConvGradients& gradients);

/// @{
/// The same for packed filters, with whose groups and layout the options must agree.
Shape ConvTranspose2dBiasShape(const Shape& x, const PackedFilter& w,
                               const ConvTranspose2dOptions& options);
void ConvTranspose2dBackward(const TensorView& dy, const TensorView& x, const PackedFilter& w,
                             const ConvTranspose2dOptions& options, const ConvGradients& gradients);
/// @}

}  // namespace lanewise

#endif  // LANEWISE_CONV_BACKWARD_H_
