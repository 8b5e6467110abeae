// As an adjoint convolution it has few output channels, which leave most lanes idle. Here lanes are
// pixels of dy, and taps and channels are the rows of one matrix product:
//
//   P[r, s, c][oh, j] = Σ_k w[r, s, c, k]·dy[oh, j, k]
//   dx[ih, iw, c]     = Σ_{r, s} P[r, s, c][oh, j]   where oh·stride + r·dilation = ih + before,
//                                                    and j likewise
//
// each a sum in the order of its indices. A task walks down a band of rows of dx, with the products
// of the rows of dy that these meet in a ring.
#include "ops/conv_backward/few_channels.h"

#include <algorithm>
#include <vector>

#include "kernels/kernels.h"
#include "ops/strided.h"
#include "runtime/buffer.h"
#include "runtime/parallel.h"
#include "runtime/target.h"

namespace lanewise {
namespace {

constexpr int64_t kAlign = 16;  // elements

// Columns of dx from `phase` on, `stride` apart: number q meets tap taps[i] at column q + shifts[i]
// of dy, if there is one.
struct ColumnPhase {
  int64_t count;
  std::vector<int64_t> taps, shifts;

  ColumnPhase(const WindowAxis& axis, int64_t phase)
      : count(std::max<int64_t>(0, CeilDiv(axis.in - phase, axis.stride))) {
    for (int64_t s = 0; s < axis.window && count > 0; ++s) {
      const int64_t distance = phase + axis.before - s * axis.dilation;
      if (distance % axis.stride != 0) continue;
      taps.push_back(s);
      shifts.push_back(distance / axis.stride);
    }
  }
};

// What follows from the shape.
template <class T>
struct Plan {
  ConvShape shape;
  int64_t nr, tile;                 // lanes, and rows of a tile of products
  int64_t rows;                     // of the product: taps and channels
  int64_t ring;                     // rows of dy that a row of dx may meet
  int64_t left, pitch;              // zeros in front of a row of products, and its length
  std::vector<ColumnPhase> phases;  // of the columns of dx
  struct Panel {
    int64_t begin, lanes;
  };
  std::vector<Panel> panels;  // of a row of dy: the last may overlap the one before

  Plan(const ConvShape& s, const ConvKernels<T>& kernels)
      : shape(s),
        nr(int64_t(kernels.nr)),
        rows(s.taps() * s.group_c),
        ring((s.h.window - 1) * s.h.dilation / s.h.stride + 1) {
    tile = CeilDiv(rows, CeilDiv(rows, int64_t(kernels.mr)));
    int64_t before = 0, past = s.w.out;
    for (int64_t phase = 0; phase < s.w.stride; ++phase) {
      phases.emplace_back(s.w, phase);
      for (const int64_t shift : phases.back().shifts) {
        before = std::max(before, -shift);
        past = std::max(past, phases.back().count + shift);
      }
    }
    left = RoundUp(before, kAlign);
    pitch = RoundUp(left + past, kAlign);
    const int64_t whole = s.w.out / nr, rest = s.w.out % nr, half = nr / 2;
    for (int64_t i = 0; i < whole; ++i) panels.push_back({i * nr, nr});
    if (rest > half && whole == 0) panels.push_back({0, half});
    if (rest > 0) {
      const int64_t lanes = rest > half && whole > 0 ? nr : half;
      panels.push_back({s.w.out - lanes, lanes});
    }
  }

  int64_t products() const { return ring * rows * pitch; }
  int64_t packed() const { return int64_t(panels.size()) * shape.group_k * nr; }
  int64_t filters() const { return CeilDiv(rows, tile) * shape.group_k * mr(); }
  int64_t mr() const { return int64_t(ConvKernelsFor<T>(ActiveTarget()).mr); }
  // Of a row of dx with its channels, to whole phases.
  int64_t line() const { return phases[0].count * shape.w.stride * shape.group_c; }
};

template <class T>
class Task {
 public:
  Task(const ConvKernels<T>& kernels, const ImageGradient<T>& gradient, const Plan<T>& plan,
       Scratch scratch)
      : kernels_(kernels), gradient_(gradient), plan_(plan), shape_(plan.shape) {
    EachPiece(gradient, plan, [&](auto piece, int64_t count) {
      scratch.TakeFor(this, piece, count);
    });
    std::fill_n(zeros_, plan.mr(), T(0));
    const int64_t behind = plan.left + shape_.w.out;
    for (int64_t i = 0; i < plan.ring * plan.rows; ++i) {
      T* const row = products_ + i * plan.pitch;
      std::fill_n(row, plan.left, T(0));
      std::fill_n(row + behind, plan.pitch - behind, T(0));
    }
  }
  static size_t Bytes(const ImageGradient<T>& gradient, const Plan<T>& plan) {
    size_t bytes = 0;
    EachPiece(gradient, plan, [&](auto piece, int64_t count) {
      bytes += Scratch::BytesFor(piece, count);
    });
    return bytes;
  }

  // Rows [begin, end) of dx.
  void Run(int64_t image, const T* filters, int64_t begin, int64_t end) {
    const WindowAxis& h = shape_.h;
    int64_t done = 0;  // rows of dy that have products, or are not needed
    for (int64_t ih = begin; ih < end; ++ih) {
      const int64_t first = ih + h.before - (h.window - 1) * h.dilation;
      done = std::max(done, CeilDiv(std::max<int64_t>(0, first), h.stride));
      for (; done < h.out && done * h.stride <= ih + h.before; ++done) {
        Pack(gradient_.dy + (image * gradient_.dy_strides.n + done * gradient_.dy_strides.h));
        Multiply(filters, products_ + done % plan_.ring * plan_.rows * plan_.pitch);
      }
      const ImageStrides& outs = gradient_.dx_strides;
      Store(ih, gradient_.dx + (image * outs.n + ih * outs.h));
    }
  }

 private:
  template <class F>
  static void EachPiece(const ImageGradient<T>& gradient, const Plan<T>& plan, const F& f) {
    const int64_t pixels = plan.shape.w.out;
    const bool across = gradient.dy_strides.c == 1;
    f(&Task::products_, plan.products());
    f(&Task::packed_, plan.packed());
    f(&Task::buffer_, across && gradient.dy.native() ? 0
                      : across                       ? pixels * plan.shape.group_k
                                                     : pixels);
    f(&Task::sums_, plan.line());
    f(&Task::line_, plan.line());
    f(&Task::zeros_, plan.mr());
    f(&Task::terms_, plan.shape.taps());
  }

  // A row of dy as [panel][k][lane].
  void Pack(const Source<T>& row) const {
    const ImageStrides& strides = gradient_.dy_strides;
    const int64_t k = shape_.group_k, pixels = shape_.w.out, nr = plan_.nr;
    T* to = packed_;
    if (strides.c == 1) {
      const T* from = row.InPlace();
      int64_t step = strides.w;
      if (!row.native()) {
        for (int64_t j = 0; j < pixels; ++j) (row + j * strides.w).Read(1, k, buffer_ + j * k);
        from = buffer_;
        step = k;
      }
      for (const auto& panel : plan_.panels) {
        kernels_.transpose(from + panel.begin * step, step, panel.lanes, k, to, nr);
        to += k * nr;
      }
      return;
    }
    for (int64_t i = 0; i < k; ++i, to += nr) {
      const T* const from = (row + i * strides.c).Line(strides.w, pixels, buffer_);
      T* at = to;
      for (const auto& panel : plan_.panels) {
        kernels_.copy(from + panel.begin, 0, 1, panel.lanes, at, 0);
        at += k * nr;
      }
    }
  }

  void Multiply(const T* filters, T* products) const {
    const int64_t k = shape_.group_k;
    const T* packed = packed_;
    for (const auto& panel : plan_.panels) {
      for (int64_t row = 0; row < plan_.rows; row += plan_.tile) {
        const ConvResults<T> to{products + row * plan_.pitch + plan_.left + panel.begin,
                                plan_.pitch, zeros_, false};
        kernels_.accumulate_packed(filters + row / plan_.tile * k * plan_.mr(),
                                   std::min(plan_.tile, plan_.rows - row), &packed, plan_.nr, 1, k,
                                   panel.lanes < plan_.nr, true, false, nullptr, &to);
      }
      packed += k * plan_.nr;
    }
  }

  // The sums of row ih, as rows of one channel of one phase.
  void Store(int64_t ih, const Sink<T>& to) const {
    const int64_t channels = shape_.group_c, stride = shape_.w.stride;
    const int64_t length = plan_.phases[0].count, width = shape_.w.in;
    const ImageStrides& outs = gradient_.dx_strides;
    const bool across = outs.c == 1;
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t p = 0; p < stride; ++p) {
        Sum(ih, c, plan_.phases[p],
            sums_ + (across ? p * channels + c : c * stride + p) * length);
      }
    }
    if (across) {
      const int64_t runs = stride * channels;
      const T* const line = Interleave(sums_, runs);
      if (outs.w == channels) return to.Write(line, width * channels, 1);
      for (int64_t j = 0; j < width; ++j) (to + j * outs.w).Write(line + j * channels, channels, 1);
      return;
    }
    for (int64_t c = 0; c < channels; ++c) {
      (to + c * outs.c).Write(Interleave(sums_ + c * stride * length, stride), width, outs.w);
    }
  }
  const T* Interleave(const T* rows, int64_t runs) const {
    if (runs == 1) return rows;
    const int64_t length = plan_.phases[0].count;
    kernels_.transpose(rows, length, runs, length, line_, runs);
    return line_;
  }

  void Sum(int64_t ih, int64_t c, const ColumnPhase& columns, T* to) const {
    const WindowAxis& h = shape_.h;
    size_t terms = 0;
    for (int64_t r = 0; r < h.window; ++r) {
      const int64_t at = ih + h.before - r * h.dilation, oh = at / h.stride;
      if (at < 0 || at % h.stride != 0 || oh >= h.out) continue;
      const T* const row = products_ + oh % plan_.ring * plan_.rows * plan_.pitch + plan_.left;
      for (size_t i = 0; i < columns.taps.size(); ++i) {
        const int64_t tap = r * shape_.w.window + columns.taps[i];
        terms_[terms++] = row + (tap * shape_.group_c + c) * plan_.pitch + columns.shifts[i];
      }
    }
    if (terms == 0) {
      std::fill_n(to, columns.count, T(0));
    } else {
      PoolKernelsFor<T>(ActiveTarget())
          .sum(terms_, terms, terms, terms, {1, size_t(columns.count), 0, 0, 0}, to);
    }
  }

  const ConvKernels<T>& kernels_;
  const ImageGradient<T>& gradient_;
  const Plan<T>& plan_;
  const ConvShape& shape_;
  T* products_;  // [row of dy modulo ring][tap][c][pitch]
  T* packed_;
  T* buffer_;  // values of dy that are not read in place
  T* sums_;
  T* line_;
  T* zeros_;
  const T** terms_;
};

// [bank][tile of (tap, c)][k][mr].
template <class T>
Buffer<T> PackFilters(const ImageGradient<T>& gradient, const Plan<T>& plan) {
  const ConvShape& shape = gradient.shape;
  const FilterStrides& strides = gradient.filter_strides;
  const int64_t k = shape.group_k, mr = plan.mr();
  Buffer<T> packed(gradient.banks * plan.filters());
  const double elements = double(gradient.banks) * double(plan.rows * k);
  ParallelFor({gradient.banks, elements, Scratch::Bytes<T>(k)}, [&](int64_t bank, Scratch scratch) {
    T* const line = scratch.Take<T>(k);
    for (int64_t row = 0; row < plan.rows; ++row) {
      const int64_t tap = row / shape.group_c, c = row % shape.group_c;
      const int64_t r = tap / shape.w.window, s = tap % shape.w.window;
      (gradient.filter + (bank * strides.n + r * strides.r + s * strides.s + c * strides.c))
          .Read(strides.k, k, line);
      T* const to = packed.get() + bank * plan.filters() + row / plan.tile * k * mr;
      for (int64_t i = 0; i < k; ++i) to[i * mr + row % plan.tile] = line[i];
    }
  });
  return packed;
}

constexpr int64_t kFewestFilters = 16, kMostOutputs = 16;  // of a pixel of dy
constexpr int64_t kMostProducts = 1 << 18, kMostPacked = 1 << 17;

}  // namespace

template <class T>
bool FewChannelsPay(const ConvShape& shape) {
  const int64_t outputs = shape.group_c * shape.h.stride * shape.w.stride;
  if (shape.groups != 1 || outputs > kMostOutputs || shape.group_k < kFewestFilters) return false;
  if (shape.taps() == 1) return false;
  const ConvKernels<T>& kernels = ConvKernelsFor<T>(ActiveTarget());
  if (shape.w.out < int64_t(kernels.nr) / 2) return false;
  const Plan<T> plan(shape, kernels);
  return plan.products() <= kMostProducts && plan.packed() <= kMostPacked;
}

template <class T>
void RunFewChannels(const ImageGradient<T>& gradient) {
  const ConvKernels<T>& kernels = ConvKernelsFor<T>(ActiveTarget());
  const ConvShape& shape = gradient.shape;
  const Plan<T> plan(shape, kernels);
  const Buffer<T> filters = PackFilters(gradient, plan);
  const double ns = 0.01 * double(gradient.batch) * double(shape.pixels()) *
                    double(plan.rows * shape.group_k);
  // The rows of dy at the border of two bands are multiplied for both.
  const int64_t bands = CeilDiv(4 * int64_t(ThreadsFor(ns)), gradient.batch);
  const Split rows(shape.h.in, 1, std::max(4 * plan.ring, CeilDiv(shape.h.in, bands)));
  ParallelFor({gradient.batch * rows.count, ns, Task<T>::Bytes(gradient, plan)},
              [&](int64_t index, Scratch scratch) {
                const int64_t image = index / rows.count, band = index % rows.count;
                const int64_t bank = gradient.banks == 1 ? 0 : image;
                Task<T>(kernels, gradient, plan, scratch)
                    .Run(image, filters.get() + bank * plan.filters(), rows.begin(band),
                         rows.end(band));
              });
}

template bool FewChannelsPay<float>(const ConvShape&);
template bool FewChannelsPay<double>(const ConvShape&);
template void RunFewChannels(const ImageGradient<float>&);
template void RunFewChannels(const ImageGradient<double>&);

}  // namespace lanewise
