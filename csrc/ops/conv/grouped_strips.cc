#include "ops/conv/grouped_strips.h"

#include <algorithm>

namespace lanewise {
namespace {

int64_t RingCount(const GroupedPlan& plan) { return plan.most_units() * plan.ring(); }

// Of a row of x.
int64_t StagePixels(const ConvShape& shape, const GroupedPlan& plan) {
  return std::min(shape.w.in, plan.length * shape.w.stride);
}

// Channels that are read under so many lanes, at most.
int64_t ChannelsUnder(const ConvShape& shape, int64_t lanes) {
  return (CeilDiv(lanes, shape.group_k) + 1) * shape.group_c;
}

// Pixels are staged for all units of a task, or transposed for one.
template <class T>
int64_t StageCount(const ConvProblem<T>& problem, const GroupedPlan& plan) {
  const ConvShape& shape = problem.shape;
  if (plan.in_place() || (problem.x.native() && !plan.from_planes)) return 0;
  const int64_t units = plan.from_planes ? 1 : plan.most_units();
  return StagePixels(shape, plan) * std::max(plan.lanes, ChannelsUnder(shape, units * plan.lanes));
}

// Whether the kernel can transpose planes where they are.
template <class T>
bool ReadsPlanesInPlace(const Source<T>& x, const ImageStrides& strides) {
  return x.native() && strides.w == 1 && strides.c > 0;
}

template <class T>
int64_t PlaneCount(const ConvProblem<T>& problem, const GroupedPlan& plan) {
  if (plan.in_place() || !plan.from_planes) return 0;
  if (ReadsPlanesInPlace(problem.x, problem.x_strides)) return 0;
  return StagePixels(problem.shape, plan) * ChannelsUnder(problem.shape, plan.lanes);
}

}  // namespace

template <class T>
StripRing<T>::StripRing(const ConvProblem<T>& problem, const ConvKernels<T>& kernels,
                        const GroupedPlan& plan, const ChannelUnits<T>& units, Scratch& scratch)
    : problem_(problem),
      kernels_(kernels),
      plan_(plan),
      channels_(units),
      part_{problem.x, 0, 0, 0, 0},
      ring_(scratch.Take<T>(RingCount(plan))),
      stage_(scratch.Take<T>(StageCount(problem, plan))),
      planes_(scratch.Take<T>(PlaneCount(problem, plan))) {}

template <class T>
size_t StripRing<T>::ScratchBytes(const ConvProblem<T>& problem, const GroupedPlan& plan) {
  return Scratch::Bytes<T>(RingCount(plan)) + Scratch::Bytes<T>(StageCount(problem, plan)) +
         Scratch::Bytes<T>(PlaneCount(problem, plan));
}

template <class T>
void StripRing<T>::Fill(int64_t n, int64_t ih, int64_t s, int64_t taps) {
  const WindowAxis& w = problem_.shape.w;
  if (ih == Border::kNone) {
    for (int64_t u = 0; u < part_.units; ++u) std::fill_n(At(u, n), plan_.strip(), T(0));
    return;
  }
  const Source<T> row = part_.x + ih * problem_.x_strides.h;
  const int64_t first = w.Input(part_.column, s);
  const int64_t last = w.Input(part_.column + part_.columns - 1, s + taps - 1);
  const int64_t length = Phases(w, taps, part_.columns, false).length;
  FillInside(row, n, first, last, length);
  if (!problem_.columns.constant()) FillBorder(row, n, first, length);
}

// The columns of x in [first, last], and zeros for those outside.
template <class T>
void StripRing<T>::FillInside(const Source<T>& row, int64_t n, int64_t first, int64_t last,
                              int64_t length) {
  const int64_t in = problem_.shape.w.in;
  const int64_t begin = std::clamp<int64_t>(first, 0, in), end = std::clamp(last + 1, begin, in);
  if (!plan_.from_planes) {
    const Pixels pixels = Convert(row, begin, end - begin);
    return FillPhases(pixels, {n, 0, part_.units, 0}, first, begin, end, length);
  }
  for (int64_t u = 0; u < part_.units; ++u) {
    const Pixels pixels = Transpose(row, u, begin, end - begin);
    FillPhases(pixels, {n, u, 1, 0}, first, begin, end, length);
  }
}

// From pixels of the columns [begin, end).
template <class T>
void StripRing<T>::FillPhases(const Pixels& pixels, Place to, int64_t first, int64_t begin,
                              int64_t end, int64_t length) {
  const int64_t stride = problem_.shape.w.stride;
  for (int64_t phase = 0; phase < plan_.phases.count; ++phase) {
    const int64_t start = first + plan_.phases.Input(phase, 0), at = phase * plan_.length;
    const Interior inside(start, stride, length, end);
    const Pixels from{pixels.first + (start + inside.begin * stride - begin) * pixels.step,
                      stride * pixels.step};
    const auto place = [&](int64_t i) { return Place{to.n, to.u, to.units, at + i}; };
    Clear(place(0), inside.begin);
    Spread(from, inside.end - inside.begin, place(inside.begin));
    Clear(place(inside.end), length - inside.end);
  }
}

// The columns outside x, from those that stand for them.
template <class T>
void StripRing<T>::FillBorder(const Source<T>& row, int64_t n, int64_t first, int64_t length) {
  for (int64_t phase = 0; phase < plan_.phases.count; ++phase) {
    for (int64_t i = 0; i < length; ++i) {
      const int64_t position = first + plan_.phases.Input(phase, i);
      if (Inside(position, problem_.shape.w.in)) continue;
      const int64_t column = problem_.columns(position), at = phase * plan_.length + i;
      if (!plan_.from_planes) {
        Spread(Convert(row, column, 1), 1, {n, 0, part_.units, at});
        continue;
      }
      for (int64_t u = 0; u < part_.units; ++u) {
        Spread(Transpose(row, u, column, 1), 1, {n, u, 1, at});
      }
    }
  }
}

template <class T>
void StripRing<T>::Clear(const Place& to, int64_t count) {
  if (count == 0) return;
  for (int64_t u = to.u; u < to.u + to.units; ++u) {
    for (int64_t c = 0; c < plan_.depth; ++c) {
      T* const first = At(u, to.n) + c * plan_.plane() + to.position * plan_.lanes;
      std::fill_n(first, count * plan_.lanes, T(0));
    }
  }
}

template <class T>
void StripRing<T>::Spread(const Pixels& pixels, int64_t count, const Place& to) {
  if (count == 0) return;
  const int64_t first = part_.unit + to.u, base = channels_.FirstIn(first);
  T* const strip = At(to.u, to.n) + to.position * plan_.lanes;
  if (channels_.identity()) {
    const int64_t n = channels_.FirstIn(first + to.units - 1) + channels_.Out() - base;
    return kernels_.spread_channels(pixels.first, pixels.step, count, n, strip, plan_.ring());
  }
  for (int64_t i = 0; i < to.units; ++i) {
    const int64_t unit = first + i;
    const T* const from = pixels.first + channels_.FirstIn(unit) - base;
    if (plan_.access == GroupedAccess::kLookup) {
      kernels_.spread_channels(from, pixels.step, count, channels_.In(unit),
                               strip + i * plan_.ring(), plan_.ring());
    } else {
      kernels_.spread_groups(from, pixels.step, count, channels_.Map(unit),
                             strip + i * plan_.ring(), plan_.plane());
    }
  }
}

// `count` pixels of all channels that the part's units read, where these are neighbours.
template <class T>
auto StripRing<T>::Convert(const Source<T>& row, int64_t column, int64_t count) -> Pixels {
  const int64_t step = problem_.x_strides.w, first = channels_.FirstIn(part_.unit);
  const int64_t last = part_.unit + part_.units - 1;
  const int64_t channels = channels_.FirstIn(last) + channels_.In(last) - first;
  const Source<T> from = row + (column * step + first);
  if (from.native()) return {from.InPlace(), step};
  if (step == channels) {
    from.Read(1, count * channels, stage_);
  } else {
    for (int64_t i = 0; i < count; ++i) (from + i * step).Read(1, channels, stage_ + i * channels);
  }
  return {stage_, channels};
}

// `count` pixels of the channels that one unit reads.
template <class T>
auto StripRing<T>::Transpose(const Source<T>& row, int64_t u, int64_t column, int64_t count)
    -> Pixels {
  const ImageStrides& strides = problem_.x_strides;
  const int64_t channels = channels_.In(part_.unit + u);
  const Source<T> from = row + (column * strides.w + channels_.FirstIn(part_.unit + u) * strides.c);
  const bool in_place = ReadsPlanesInPlace(from, strides);
  if (!in_place) {
    for (int64_t c = 0; c < channels; ++c) {
      (from + c * strides.c).Read(strides.w, count, planes_ + c * count);
    }
  }
  const T* const planes = in_place ? from.InPlace() : planes_;
  const int64_t stride = in_place ? strides.c : count;
  if (channels <= plan_.lanes) {
    kernels_.transpose(planes, stride, channels, count, stage_, plan_.lanes);
    return {stage_, plan_.lanes};
  }
  kernels_.transpose(planes, stride, channels, count, stage_, channels);
  return {stage_, channels};
}

template class StripRing<float>;
template class StripRing<double>;
template class StripRing<int32_t>;
template class StripRing<int64_t>;

}  // namespace lanewise
