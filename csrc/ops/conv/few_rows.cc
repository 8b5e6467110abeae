// Lanes are output channels, as they lie in memory. The outputs of all images are the rows: few, so
// that time is what reading the filters takes. These are walked through in the order of memory, as
// many terms at a time as there may be streams; the sums of all outputs of a task wait in L1 or L2,
// and the rows' terms are packed again by each task.
#include "ops/conv/few_rows.h"

#include <algorithm>

#include "ops/conv/epilogue.h"
#include "ops/strided.h"
#include "runtime/parallel.h"

namespace lanewise {
namespace {

// With more rows packing pays. 1000 filters of 2048 channels take, read in place and packed (one
// core with AVX-512, ms): 1 row 0.29 and 0.40, 8 rows 0.35 and 0.52, 24 rows 0.71 and 0.83; 512 of
// 512 take for 16 rows 0.068 and 0.074, for 36 rows 0.138 and 0.123.
constexpr int64_t kMostRows = 12;
// Terms at a time, each a stream of memory.
constexpr int64_t kTerms = 32;
// Bounds a task's sums.
constexpr int64_t kMostFilters = 1024;
constexpr double kFlopsPerNs = 40, kBytesPerNs = 15;

template <class T>
int64_t Rows(const ConvProblem<T>& problem) {
  return problem.shape.pixels() * (problem.batch / problem.banks);
}

// Panels of filters begin at whole lines of memory, if rows of filters do, as an unaligned vector
// is two accesses of L1: 512 filters of 512 channels take 15 us instead of 24. So a group's first
// panel has this many places before its first filter.
template <class T>
int64_t PlacesBefore(const ConvProblem<T>& problem, int64_t nr) {
  const auto address = reinterpret_cast<uintptr_t>(problem.filter.InPlace());
  return static_cast<int64_t>(address / sizeof(T) % (64 / sizeof(T))) % nr;
}

// One task: places [begin, end) of a group for the images of a bank.
template <class T>
class FewRows {
 public:
  FewRows(const ConvKernels<T>& kernels, const ConvProblem<T>& problem, int64_t places,
          Scratch scratch)
      : kernels_(kernels),
        problem_(problem),
        rows_(Rows(problem)),
        before_(PlacesBefore(problem, nr_)),
        terms_(scratch.Take<T>(Terms(kernels, problem))),
        sums_(scratch.Take<T>(rows_ * places)) {}
  static size_t ScratchBytes(const ConvKernels<T>& kernels, const ConvProblem<T>& problem,
                             int64_t places) {
    return Scratch::Bytes<T>(Terms(kernels, problem)) + Scratch::Bytes<T>(Rows(problem) * places);
  }

  void Run(int64_t bank, int64_t group, int64_t begin, int64_t end) {
    const ConvShape& shape = problem_.shape;
    const FilterStrides& strides = problem_.filter_strides;
    const T* const filters = problem_.filter.InPlace() + (bank * strides.n + group * strides.g);
    std::fill_n(sums_, rows_ * RoundUp(end - begin, nr_), T(0));
    for (int64_t tap = 0; tap < shape.taps(); ++tap) {
      const int64_t r = tap / shape.w.window, s = tap % shape.w.window;
      for (int64_t c = 0; c < shape.group_c; c += kTerms) {
        const int64_t depth = std::min(kTerms, shape.group_c - c);
        PackRows(bank, group, r, s, c, depth);
        const T* const from = filters + (r * strides.r + s * strides.s + c * strides.c);
        T* sums = sums_;
        for (int64_t place = begin; place < end; place += nr_) {
          const T* const panel = from + FirstLane(place);
          for (int64_t i = 0; i < rows_; i += mr_) {
            const int64_t count = std::min(mr_, rows_ - i);
            kernels_.accumulate_packed(terms_ + i * kTerms, count, &panel, strides.c, 1, depth,
                                       false, false, false, sums, nullptr);
            sums += count * nr_;
          }
        }
      }
    }
    for (int64_t place = begin; place < end; place += nr_) {
      Finish(bank, group, place, sums_ + (place - begin) * rows_);
    }
  }

 private:
  static int64_t Terms(const ConvKernels<T>& kernels, const ConvProblem<T>& problem) {
    return RoundUp(Rows(problem), kernels.mr) * kTerms;
  }
  // The kernel reads nr filters: the group's first or last, where a panel has fewer.
  int64_t FirstLane(int64_t place) const {
    return std::clamp<int64_t>(place - before_, 0, problem_.shape.group_k - nr_);
  }

  // Image, row and column of an output.
  struct Output {
    int64_t image, oh, ow;
  };
  Output At(int64_t bank, int64_t row) const {
    const ConvShape& shape = problem_.shape;
    const int64_t pixel = row % shape.pixels();
    return {bank * (problem_.batch / problem_.banks) + row / shape.pixels(), pixel / shape.w.out,
            pixel % shape.w.out};
  }

  // The rows' inputs under a tap, channels [c, c + depth), as terms_[row / mr][term][mr].
  void PackRows(int64_t bank, int64_t group, int64_t r, int64_t s, int64_t c, int64_t depth) {
    const ConvShape& shape = problem_.shape;
    const ImageStrides& strides = problem_.x_strides;
    T row[kTerms];
    for (int64_t i = 0; i < rows_; ++i) {
      const Output output = At(bank, i);
      const int64_t ih = problem_.rows(shape.h.Input(output.oh, r));
      const int64_t iw = problem_.columns(shape.w.Input(output.ow, s));
      if (ih == Border::kNone || iw == Border::kNone) {
        std::fill_n(row, depth, T(0));
      } else {
        const int64_t channel = group * shape.group_c + c;
        (problem_.x +
         (output.image * strides.n + ih * strides.h + iw * strides.w + channel * strides.c))
            .Read(strides.c, depth, row);
      }
      Scatter(row, depth, terms_ + i / mr_ * mr_ * kTerms + i % mr_, mr_);
    }
  }

  void Finish(int64_t bank, int64_t group, int64_t place, T* sums) const {
    const ImageStrides& strides = problem_.out_strides;
    const int64_t k = std::max<int64_t>(0, place - before_);
    const int64_t count = std::min(problem_.shape.group_k, place - before_ + nr_) - k;
    const int64_t channel = group * problem_.shape.group_k + k;
    for (int64_t i = 0; i < rows_; ++i) {
      const Output output = At(bank, i);
      Epilogue<T>{kernels_, problem_}.PerLane(
          sums + i * nr_ + (k - FirstLane(place)), nr_, 1, count,
          problem_.bias + output.image * problem_.bias_stride + channel,
          problem_.out + (output.image * strides.n + output.oh * strides.h + output.ow * strides.w +
                          channel * strides.c),
          0, strides.c);
    }
  }

  const ConvKernels<T>& kernels_;
  const ConvProblem<T>& problem_;
  const int64_t mr_ = kernels_.mr, nr_ = kernels_.nr, rows_, before_;
  T* terms_;
  T* sums_;  // [panel][row][nr]
};

}  // namespace

template <class T>
bool HasFewRows(const ConvProblem<T>& problem, const ConvKernels<T>& kernels) {
  const FilterStrides& strides = problem.filter_strides;
  return problem.forms == nullptr && problem.filter.native() && strides.k == 1 && strides.c >= 0 &&
         problem.shape.group_k >= int64_t(kernels.nr) && Rows(problem) <= kMostRows;
}

template <class T>
void RunFewRows(const ConvProblem<T>& problem, const ConvKernels<T>& kernels) {
  const ConvShape& shape = problem.shape;
  const double bytes =
      sizeof(T) * double(problem.banks) * double(shape.terms()) * double(shape.filters());
  const double ns = std::max(problem.flops() / kFlopsPerNs, bytes / kBytesPerNs);
  const int64_t groups = problem.banks * shape.groups, threads = ThreadsFor(ns);
  const Split places(PlacesBefore(problem, kernels.nr) + shape.group_k, kernels.nr, kMostFilters,
                     CeilDiv(threads, groups));
  const Work work{groups * places.count, ns,
                  FewRows<T>::ScratchBytes(kernels, problem, places.longest())};
  ParallelFor(work, [&](int64_t index, Scratch scratch) {
    const int64_t group = index / places.count, piece = index % places.count;
    FewRows<T>(kernels, problem, places.longest(), scratch)
        .Run(group / shape.groups, group % shape.groups, places.begin(piece), places.end(piece));
  });
}

#define LANEWISE_INSTANTIATE(T)                                           \
  template bool HasFewRows(const ConvProblem<T>&, const ConvKernels<T>&); \
  template void RunFewRows(const ConvProblem<T>&, const ConvKernels<T>&);
LANEWISE_INSTANTIATE(float)
LANEWISE_INSTANTIATE(double)
#undef LANEWISE_INSTANTIATE

}  // namespace lanewise
