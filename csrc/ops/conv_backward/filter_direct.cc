#include "ops/conv_backward/filter_direct.h"

#include <type_traits>

namespace lanewise {
namespace {

template <class T>
T ReadOne(const Source<T>& at) {
  T value;
  at.Read(1, 1, &value);
  return value;
}

}  // namespace

template <class T>
void RunFilterDirect(const FilterGradient<T>& g) {
  using U = std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>, std::common_type<T>>;
  const ConvShape& shape = g.shape;
  const int64_t images = g.batch / g.banks;
  for (int64_t bank = 0; bank < g.banks; ++bank)
    for (int64_t r = 0; r < shape.h.window; ++r)
      for (int64_t s = 0; s < shape.w.window; ++s)
        for (int64_t group = 0; group < shape.groups; ++group)
          for (int64_t c = 0; c < shape.group_c; ++c)
            for (int64_t k = 0; k < shape.group_k; ++k) {
              typename U::type sum = 0;
              for (int64_t n = bank * images; n < (bank + 1) * images; ++n)
                for (int64_t i = 0; i < shape.h.out; ++i)
                  for (int64_t j = 0; j < shape.w.out; ++j) {
                    const int64_t p = g.rows(shape.h.Input(i, r));
                    const int64_t q = g.columns(shape.w.Input(j, s));
                    const bool none = p == Border::kNone || q == Border::kNone;
                    const T x = none ? T(0)
                                     : ReadOne(g.x + (n * g.x_strides.n + p * g.x_strides.h +
                                                      q * g.x_strides.w +
                                                      (group * shape.group_c + c) * g.x_strides.c));
                    const T dy = ReadOne(g.dy + (n * g.dy_strides.n + i * g.dy_strides.h +
                                                 j * g.dy_strides.w +
                                                 (group * shape.group_k + k) * g.dy_strides.c));
                    sum += static_cast<typename U::type>(x) * static_cast<typename U::type>(dy);
                  }
              const T value = static_cast<T>(sum);
              (g.dw + (bank * g.dw_strides.n + group * g.dw_strides.g + r * g.dw_strides.r +
                       s * g.dw_strides.s + c * g.dw_strides.c + k * g.dw_strides.k))
                  .Write(&value, 1, 1);
            }
}

template void RunFilterDirect(const FilterGradient<float>&);
template void RunFilterDirect(const FilterGradient<double>&);
template void RunFilterDirect(const FilterGradient<int32_t>&);
template void RunFilterDirect(const FilterGradient<int64_t>&);

}  // namespace lanewise
