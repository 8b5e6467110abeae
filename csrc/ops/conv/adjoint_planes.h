// Depthwise transposed convolution with a stride along rows, where pixels are neighbours (NCHW).
//
// The phases of a row are a plane each as well, whose pixels would be written to every stride-th
// place: each phase would go through all lines of the result. Here they are computed together from
// one padded plane of x, with pixels in the lanes as in grouped_planes.h, and their rows
// interleaved while they are in L1. The image's gradient of 3×3, 96 channels at 112² with stride 2,
// takes 1.6 ms instead of 6.2 (8 images, two cores with AVX-512).
#ifndef LANEWISE_OPS_CONV_ADJOINT_PLANES_H_
#define LANEWISE_OPS_CONV_ADJOINT_PLANES_H_

#include "ops/conv/adjoint.h"
#include "ops/conv/problem.h"

namespace lanewise {

// Whether that is possible, and pays.
template <class T>
bool AdjointPlanesPay(const ConvProblem<T>& problem, const AdjointAxis& h, const AdjointAxis& w);

// As RunAdjoint, and the same chain of multiply-adds as phase by phase, and so the same bits.
template <class T>
void RunAdjointPlanes(const ConvProblem<T>& problem, const AdjointAxis& h, const AdjointAxis& w);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_ADJOINT_PLANES_H_
