#include "ops/distance/exact.h"

#include <cmath>

namespace lanewise::distance {
namespace {

// f(x, y) for each pair of coordinates, in float64.
template <class T, class F>
void ForEachPair(const Row<T>& x, const Row<T>& y, int64_t d, const F& f) {
  for (int64_t first = 0; first < d; first += kChunk) {
    const int64_t terms = std::min(kChunk, d - first);
    x.ForEachChunk(first, terms, [&](const T* a, int64_t n) {
      y.ForEachChunk(first, n, [&](const T* b, int64_t) {
        for (int64_t k = 0; k < n; ++k) f(double(a[k]), double(b[k]));
      });
    });
  }
}

// The differences of two rows times a power of two, such that the largest, unless it is 0, inf or
// NaN, is in [1, 2), or in [2^-74, 2) where it was subnormal.
template <class T>
class ScaledDifferences {
 public:
  ScaledDifferences(const Row<T>& x, const Row<T>& y, int64_t d) : x_(x), y_(y), d_(d) {
    // Halves, so that the difference of two large numbers does not overflow.
    factor_ = 0.5;
    largest_ = Largest();
    // Below 2^-1022 a half is not exact; there the differences themselves cannot overflow.
    if (largest_ < std::ldexp(1.0, -960)) {
      factor_ = 1;
      largest_ = Largest();
    }
    scale_ = ScaleFor(largest_);
    largest_ *= scale_;
  }

  double largest() const { return largest_; }
  template <class F>
  double Sum(const F& f) const {
    double sum = 0;
    ForEachPair(x_, y_, d_, [&](double a, double b) { sum += f(Difference(a, b) * scale_); });
    return sum;
  }
  // The result for differences as they are, out of that for scaled ones.
  T Restored(double distance) const { return static_cast<T>(distance / scale_ / factor_); }

 private:
  double Difference(double a, double b) const { return std::abs(factor_ * a - factor_ * b); }
  double Largest() const {
    double largest = 0;
    ForEachPair(x_, y_, d_,
                [&](double a, double b) { largest = std::max(largest, Difference(a, b)); });
    return largest;
  }

  const Row<T>&x_, &y_;
  const int64_t d_;
  double factor_, scale_, largest_;
};

template <class T>
T Euclidean(const Row<T>& x, const Row<T>& y, int64_t d) {
  const ScaledDifferences<T> differences(x, y, d);
  return differences.Restored(std::sqrt(differences.Sum([](double t) { return t * t; })));
}

// largest · (Σ (|x-y| / largest)^p)^(1/p): powers of at most 1, one of which is 1.
template <class T>
T Minkowski(const Row<T>& x, const Row<T>& y, int64_t d, double p) {
  const ScaledDifferences<T> differences(x, y, d);
  const double largest = differences.largest();
  if (largest == 0 || std::isinf(largest)) return static_cast<T>(largest);
  const double sum = differences.Sum([&](double t) { return std::pow(t / largest, p); });
  return differences.Restored(largest * std::pow(sum, 1 / p));
}

template <class T>
T Cosine(const Row<T>& x, const Row<T>& y, int64_t d) {
  const double x_scale = ScaleFor(LargestOf(x, d)), y_scale = ScaleFor(LargestOf(y, d));
  double dot = 0, x2 = 0, y2 = 0;
  ForEachPair(x, y, d, [&](double a, double b) {
    a *= x_scale;
    b *= y_scale;
    dot += a * b;
    x2 += a * a;
    y2 += b * b;
  });
  const double distance = 1 - dot / std::sqrt(x2 * y2);
  return static_cast<T>(distance < 0 ? 0 : distance > 2 ? 2 : distance);
}

template <class T>
T Canberra(const Row<T>& x, const Row<T>& y, int64_t d) {
  double sum = 0;
  ForEachPair(x, y, d, [&](double a, double b) {
    if (std::isinf(std::abs(a) + std::abs(b))) {
      a *= 0.5;
      b *= 0.5;
    }
    const double size = std::abs(a) + std::abs(b);
    if (size != 0) sum += std::abs(a - b) / size;  // also for NaN
  });
  return static_cast<T>(sum);
}

template <class T>
T BrayCurtis(const Row<T>& x, const Row<T>& y, int64_t d) {
  const double scale = ScaleFor(4.0 * double(d));  // a sum of 2d numbers then has room
  double difference = 0, sum = 0;
  ForEachPair(x, y, d, [&](double a, double b) {
    difference += std::abs(a * scale - b * scale);
    sum += std::abs(a * scale + b * scale);
  });
  return static_cast<T>(difference / sum);
}

}  // namespace

template <class T>
T ExactDistance(const Recipe& recipe, const Row<T>& x, const Row<T>& y, int64_t d) {
  switch (recipe.finish) {
    case Finish::kSqrt:
      return Euclidean(x, y, d);
    case Finish::kRoot:
      return Minkowski(x, y, d, recipe.p);
    case Finish::kCosine:
      return Cosine(x, y, d);
    case Finish::kCopySafe:
      return Canberra(x, y, d);
    default:
      return BrayCurtis(x, y, d);
  }
}

template float ExactDistance(const Recipe&, const Row<float>&, const Row<float>&, int64_t);
template double ExactDistance(const Recipe&, const Row<double>&, const Row<double>&, int64_t);

}  // namespace lanewise::distance
