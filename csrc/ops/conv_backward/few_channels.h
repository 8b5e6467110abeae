// The gradient of a convolution by an image of few channels.
#ifndef LANEWISE_OPS_CONV_BACKWARD_FEW_CHANNELS_H_
#define LANEWISE_OPS_CONV_BACKWARD_FEW_CHANNELS_H_

#include "ops/conv_backward/gradients.h"

namespace lanewise {

// Whether it applies to convolutions of this shape with zero padding, and is faster than the
// adjoint convolution.
template <class T>
bool FewChannelsPay(const ConvShape& shape);

// Floating-point types, where it pays. Its sums are not the ordered ones: those over the filters
// come first, and then their sums over the taps.
template <class T>
void RunFewChannels(const ImageGradient<T>& gradient);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_BACKWARD_FEW_CHANNELS_H_
