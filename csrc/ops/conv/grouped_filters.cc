#include "ops/conv/grouped_filters.h"

#include <algorithm>
#include <vector>

#include "runtime/buffer.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

constexpr double kNsPerPackedElement = 1;

// Packs n filters, of one group or of all, as [unit][term][lane].
template <class T>
class Packer {
 public:
  Packer(const ConvProblem<T>& problem, const ConvKernels<T>& kernels, int64_t n)
      : problem_(problem),
        kernels_(kernels),
        n_(n),
        unit_(shape_.terms() * static_cast<int64_t>(kernels.lanes)),
        tap_(shape_.w.window > 1 ? strides_.s : strides_.r),
        next_(k_ > 1 ? strides_.k : strides_.g) {
    const int64_t width = shape_.w.window;
    const bool even_taps = width == 1 || shape_.h.window == 1 || strides_.r == width * tap_;
    even_filters_ = k_ == 1 || n == k_ || strides_.g == k_ * next_;
    even_ = even_taps && even_filters_;
  }

  void Pack(const Source<T>& from, T* to) const {
    if (!from.native() || !even_) return PackTerms(from, to);
    const bool terms = c_ == 1 || shape_.taps() == 1 || tap_ == c_ * strides_.c;
    if (next_ == 1 && terms) {  // HWIO
      const int64_t step = c_ == 1 ? tap_ : strides_.c;
      kernels_.spread_channels(from.InPlace(), step, shape_.terms(), n_, to, unit_);
    } else if (tap_ == 1 && next_ > 0 && n_ >= lanes_) {  // OIHW
      PackPlanes(from, to);
    } else {
      PackTerms(from, to);
    }
  }

 private:
  void PackPlanes(const Source<T>& from, T* to) const {
    for (int64_t first = 0; first < n_; first += lanes_, to += unit_) {
      for (int64_t c = 0; c < c_; ++c) {
        const Source<T> rows = from + (std::min(first, n_ - lanes_) * next_ + c * strides_.c);
        kernels_.transpose(rows.InPlace(), next_, lanes_, shape_.taps(), to + c * lanes_,
                           c_ * lanes_);
      }
    }
  }

  // Of any strides and type.
  void PackTerms(const Source<T>& from, T* to) const {
    const int64_t width = shape_.w.window, at_once = even_filters_ ? n_ : k_;
    const Buffer<T> row(n_);
    for (int64_t t = 0; t < shape_.terms(); ++t, to += lanes_) {
      const int64_t tap = t / c_, c = t % c_;
      const Source<T> term =
          from + (tap / width * strides_.r + tap % width * strides_.s + c * strides_.c);
      for (int64_t i = 0; i < n_; i += at_once) {
        (term + i / k_ * strides_.g).Read(next_, at_once, row.get() + i);
      }
      kernels_.spread_channels(row.get(), 0, 1, n_, to, unit_);
    }
  }

  const ConvProblem<T>& problem_;
  const ConvKernels<T>& kernels_;
  const ConvShape& shape_ = problem_.shape;
  const FilterStrides& strides_ = problem_.filter_strides;
  const int64_t c_ = shape_.group_c, k_ = shape_.group_k;
  const int64_t lanes_ = static_cast<int64_t>(kernels_.lanes);
  const int64_t n_, unit_;
  const int64_t tap_, next_;  // distances of taps and of filters, where
  bool even_, even_filters_;  // these are equally spaced
};

template <class T>
Buffer<T> PackAll(const ConvProblem<T>& problem, const ConvKernels<T>& kernels,
                  const ChannelUnits<T>& units, int64_t bank) {
  const FilterStrides& strides = problem.filter_strides;
  const int64_t blocks = problem.shape.filters() / units.block(), block = bank / blocks;
  const double ns = kNsPerPackedElement * double(problem.banks) * double(bank);
  const Packer<T> packer(problem, kernels, units.block());
  Buffer<T> packed(problem.banks * bank + 1);
  std::vector<uint8_t> finite(problem.banks * blocks);
  ParallelFor({problem.banks * blocks, ns, 0}, [&](int64_t i, Scratch) {
    T* const to = packed.get() + i * block;
    packer.Pack(problem.filter + (i / blocks * strides.n + i % blocks * strides.g), to);
    finite[i] = kernels.finite(to, block);
  });
  const bool all = std::count(finite.begin(), finite.end(), 0) == 0;
  packed.get()[problem.banks * bank] = T(all);
  return packed;
}

}  // namespace

template <class T>
FilterVectors<T>::FilterVectors(const ConvProblem<T>& problem, const ConvKernels<T>& kernels,
                                const ChannelUnits<T>& units)
    : unit(problem.shape.terms() * static_cast<int64_t>(kernels.lanes)),
      bank(units.count() * unit),
      data(GetFilters(problem, FilterForm::kVectors, kernels, 0,
                      [&] { return PackAll(problem, kernels, units, bank); })),
      finite(data.get()[problem.banks * bank] != 0) {}

template struct FilterVectors<float>;
template struct FilterVectors<double>;
template struct FilterVectors<int32_t>;
template struct FilterVectors<int64_t>;

}  // namespace lanewise
