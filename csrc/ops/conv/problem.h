// A convolution with every option resolved: the same for both layouts, one or two spatial axes, and
// a phase of a transposed convolution.
#ifndef LANEWISE_OPS_CONV_PROBLEM_H_
#define LANEWISE_OPS_CONV_PROBLEM_H_

#include <cstdint>
#include <type_traits>

#include "lanewise/conv.h"
#include "ops/conv/border.h"
#include "ops/elements.h"

namespace lanewise {

// Element strides of an image batch, by meaning instead of position.
struct ImageStrides {
  int64_t n, h, w, c;
};

// Element strides of filters: between banks (one per image, or 0), groups, taps, input channels and
// the filters of a group.
struct FilterStrides {
  int64_t n, g, r, s, c, k;
};

// The part that decides about the algorithm: one image, whatever its batch and strides.
struct ConvShape {
  int64_t groups, group_c, group_k;  // channels per group, in and out
  WindowAxis h, w;

  int64_t channels() const { return groups * group_c; }
  int64_t filters() const { return groups * group_k; }
  int64_t taps() const { return h.window * w.window; }
  int64_t terms() const { return taps() * group_c; }
  int64_t pixels() const { return h.out * w.out; }
};

class FilterForms;

// relu or relu6 of results of an integer type, in place, after they have wrapped around.
using Clamp = void (*)(std::byte* results, int64_t n, int64_t stride);

// T is the type that sums are computed in.
template <class T>
struct ConvProblem {
  ConvShape shape;
  Border rows, columns;  // of x
  int64_t batch, banks;  // banks of filters: 1, or one per image
  Source<T> x;
  ImageStrides x_strides;
  Source<T> filter;
  FilterStrides filter_strides;
  const T* bias;          // one per output channel, zeros where there is none
  int64_t bias_stride;    // between the biases of two images, 0 if they share one
  Activation activation;  // kNone for integers,
  Clamp clamp;            // which may have this instead
  Sink<T> out;
  ImageStrides out_strides;
  FilterForms* forms;  // where the filters' packed forms are kept; null: packed for this call
  // Channels are pairs of channels (Paired in pack.h), the last of which is a single one.
  bool last_is_single = false;

  // The operand at channel c of a group, which begins there.
  Source<T> Channel(const Source<T>& at, int64_t c) const {
    if constexpr (std::is_same_v<T, int32_t>) {
      if (last_is_single && c == shape.group_c - 1) return at.Single();
    }
    return at;
  }
  int64_t bank(int64_t image) const { return banks == 1 ? 0 : image; }

  // The same for images [begin, begin + count) only.
  ConvProblem Images(int64_t begin, int64_t count) const {
    ConvProblem part = *this;
    part.batch = count;
    part.banks = banks == 1 ? 1 : count;
    part.x = x + begin * x_strides.n;
    part.filter = filter + bank(begin) * filter_strides.n;
    part.bias = bias + begin * bias_stride;
    part.out = out + begin * out_strides.n;
    return part;
  }
  // The same for `groups` groups from group g on, and of each `count` filters from k on; not all of
  // a group's filters only where groups is 1.
  ConvProblem Filters(int64_t g, int64_t groups, int64_t k, int64_t count) const {
    const int64_t first = g * shape.group_k + k;
    ConvProblem part = *this;
    part.shape.groups = groups;
    part.shape.group_k = count;
    part.x = x + g * shape.group_c * x_strides.c;
    part.filter = filter + (g * filter_strides.g + k * filter_strides.k);
    part.bias = bias + first;
    part.out = out + first * out_strides.c;
    return part;
  }

  double flops() const {
    return 2.0 * double(batch) * double(shape.pixels()) * double(shape.terms()) *
           double(shape.filters());
  }
};

enum class ConvMethod : uint8_t { kDirect, kDepthwise, kGrouped, kWinograd };

template <class T>
void RunConv(const ConvProblem<T>& problem, ConvMethod method);

// These two compute the same chain of multiply-adds for each output, in the order (r, s, c), and so
// the same bits.
template <class T>
void RunDirect(const ConvProblem<T>& problem);
template <class T>
void RunGrouped(const ConvProblem<T>& problem);

// Another sum, for the windows of kWinogradTiles with stride 1.
void RunWinograd(const ConvProblem<float>& problem);

}  // namespace lanewise

#endif  // LANEWISE_OPS_CONV_PROBLEM_H_
