#include "ops/distance/exact.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lanewise {
namespace {

// A power of two near 1/largest, such that products with it are exact and their squares normal.
double ScaleFor(double largest) {
  return largest > 0 && std::isfinite(largest) ? std::ldexp(1.0, -std::ilogb(largest)) : 1.0;
}

template <class T>
double Largest(Row<T> x, int64_t d) {
  double largest = 0;
  for (int64_t k = 0; k < d; ++k) largest = std::max(largest, std::abs(static_cast<double>(x[k])));
  return largest;
}

}  // namespace

template <class T>
T ExactEuclidean(Row<T> x, Row<T> y, int64_t d) {
  // Halves, so that the difference of two large float64 does not overflow.
  const auto half_difference = [&](int64_t k) {
    return 0.5 * static_cast<double>(x[k]) - 0.5 * static_cast<double>(y[k]);
  };
  double largest = 0;
  for (int64_t k = 0; k < d; ++k) largest = std::max(largest, std::abs(half_difference(k)));
  // Below 2^-1022 a half is not exact; there the differences themselves cannot overflow.
  if (largest < std::ldexp(1.0, -960)) {
    double sum = 0;
    for (int64_t k = 0; k < d; ++k) {
      const double t = std::ldexp(static_cast<double>(x[k]) - static_cast<double>(y[k]), 600);
      sum += t * t;
    }
    return static_cast<T>(std::ldexp(std::sqrt(sum), -600));
  }
  const double scale = ScaleFor(largest);
  double sum = 0;
  for (int64_t k = 0; k < d; ++k) {
    const double t = half_difference(k) * scale;
    sum += t * t;
  }
  return static_cast<T>(2 * (std::sqrt(sum) / scale));
}

template <class T>
T ExactCosine(Row<T> x, Row<T> y, int64_t d) {
  // Twice, since one power of two need not bring the smallest denormals up to 1.
  const double x_largest = Largest(x, d), y_largest = Largest(y, d);
  const auto scaled = [](double value, double largest) {
    if (largest < std::ldexp(1.0, -1000)) {
      return std::ldexp(value, 900) * ScaleFor(std::ldexp(largest, 900));
    }
    return value * ScaleFor(largest);
  };
  double dot = 0, x2 = 0, y2 = 0;
  for (int64_t k = 0; k < d; ++k) {
    const double a = scaled(x[k], x_largest), b = scaled(y[k], y_largest);
    dot += a * b;
    x2 += a * a;
    y2 += b * b;
  }
  const double distance = 1 - dot / std::sqrt(x2 * y2);
  return static_cast<T>(distance < 0 ? 0 : distance > 2 ? 2 : distance);
}

template float ExactEuclidean(Row<float>, Row<float>, int64_t);
template double ExactEuclidean(Row<double>, Row<double>, int64_t);
template float ExactCosine(Row<float>, Row<float>, int64_t);
template double ExactCosine(Row<double>, Row<double>, int64_t);

}  // namespace lanewise
