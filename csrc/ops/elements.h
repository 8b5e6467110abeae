// Memory of any element type, seen as the type C that an op computes in (runtime/dtype.h).
//
// Narrow and mixed operands are widened while they are packed, so none is ever copied whole for its
// type; results are rounded while they are stored.
#ifndef LANEWISE_OPS_ELEMENTS_H_
#define LANEWISE_OPS_ELEMENTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/kernels.h"
#include "ops/strided.h"
#include "runtime/dtype.h"
#include "runtime/target.h"

namespace lanewise {
namespace detail {

constexpr int64_t kConvertChunk = 256;  // elements on the stack, 2 KB at most

// to[i] = the `size` bytes at from + i·stride·size, and back.
void GatherBytes(const std::byte* from, int64_t stride, int64_t n, int64_t size, std::byte* to);
void ScatterBytes(const std::byte* from, int64_t n, int64_t size, std::byte* to, int64_t stride);

// Whether other types convert to C and back: it is what some of them are computed in. Memory of the
// remaining types is only seen as what it is.
template <class C>
constexpr bool kComputedIn = std::is_same_v<C, float> || std::is_same_v<C, double> ||
                             std::is_same_v<C, int32_t> || std::is_same_v<C, int64_t>;

template <class C>
typename ConvertKernels<C>::Read ReadOf(DType dtype) {
  if constexpr (kComputedIn<C>) {
    if (dtype != DTypeOf<C>::value) {
      return ConvertKernelsFor<C>(ActiveTarget()).read[static_cast<int>(dtype)];
    }
  }
  return nullptr;
}

template <class C>
typename ConvertKernels<C>::Write WriteOf(DType dtype) {
  if constexpr (kComputedIn<C>) {
    if (dtype != DTypeOf<C>::value) {
      return ConvertKernelsFor<C>(ActiveTarget()).write[static_cast<int>(dtype)];
    }
  }
  return nullptr;
}

// Null for types of more than 8 bits, and where C does not hold two.
template <class C>
const PairKernels::Read* PairsOf(DType dtype) {
  if constexpr (std::is_same_v<C, int32_t>) {
    const PairKernels::Read& read = PairKernelsFor(ActiveTarget()).read[static_cast<int>(dtype)];
    if (read.zip != nullptr) return &read;
  }
  return nullptr;
}

}  // namespace detail

// An operand. Its type must convert exactly to C.
//
// One of 8 bits may be seen in pairs (C is then int32_t): the value at an element is this one in
// the lower 16 bits, and the one at a distance from it in the upper.
template <class C>
class Source {
 public:
  Source() = default;
  explicit Source(const TensorView& view)
      : data_(static_cast<const std::byte*>(view.data)),
        size_(ItemSize(view.dtype)),
        read_(detail::ReadOf<C>(view.dtype)),
        pair_kernels_(detail::PairsOf<C>(view.dtype)) {}
  explicit Source(const C* data)
      : data_(reinterpret_cast<const std::byte*>(data)), size_(sizeof(C)) {}

  // Whether memory holds C itself.
  bool native() const { return read_ == nullptr; }
  // Whether its type has 8 bits, as pairs need.
  bool pairable() const { return pair_kernels_ != nullptr; }
  bool paired() const { return paired_; }
  const C* InPlace() const { return reinterpret_cast<const C*>(data_); }

  Source operator+(int64_t elements) const {
    Source moved = *this;
    moved.data_ += elements * size_;
    return moved;
  }
  Source Paired(int64_t distance) const {
    Source pairs = *this;
    pairs.paired_ = true;
    pairs.distance_ = distance;
    return pairs;
  }
  Source Unpaired() const {
    Source elements = *this;
    elements.paired_ = false;
    return elements;
  }
  // Pairs with 0 in the upper half.
  Source Single() const {
    Source single = *this;
    single.single_ = true;
    return single;
  }
  // Elements from one half of a pair to the other.
  int64_t distance() const { return distance_; }

  // to[i] = the value at element i·stride, i < n.
  void Read(int64_t stride, int64_t n, C* to) const {
    if constexpr (std::is_same_v<C, int32_t>) {
      if (paired_) return ReadPairs(stride, n, to);
    }
    if (native())
      return detail::GatherBytes(data_, stride, n, sizeof(C), reinterpret_cast<std::byte*>(to));
    if (stride == 1) return read_(data_, n, to);
    alignas(8) std::byte chunk[detail::kConvertChunk * 8];
    for (int64_t i = 0; i < n; i += detail::kConvertChunk) {
      const int64_t count = std::min(detail::kConvertChunk, n - i);
      detail::GatherBytes(data_ + i * stride * size_, stride, count, size_, chunk);
      read_(chunk, count, to + i);
    }
  }

  // The same values, not of pairs: in place if they are one after the other there, else in
  // `buffer`.
  [[gnu::noinline]] const C* Line(int64_t stride, int64_t n, C* buffer) const {
    if (native() && (stride == 1 || n == 1)) return InPlace();
    Read(stride, n, buffer);
    return buffer;
  }

  // Pairs: to[r·n + i] = the value at element r·step + i, r < runs, i < n.
  void ReadRuns(int64_t step, int64_t runs, int64_t n, C* to) const;

 private:
  void ReadPairs(int64_t stride, int64_t n, C* to) const;

  const std::byte* data_ = nullptr;
  int64_t size_ = 0;
  typename ConvertKernels<C>::Read read_ = nullptr;
  const PairKernels::Read* pair_kernels_ = nullptr;
  bool paired_ = false, single_ = false;
  int64_t distance_ = 0;
};

// A result. C must be what its type is computed in.
template <class C>
class Sink {
 public:
  Sink() = default;
  explicit Sink(const TensorView& view)
      : data_(static_cast<std::byte*>(view.data)),
        size_(ItemSize(view.dtype)),
        write_(detail::WriteOf<C>(view.dtype)) {}

  bool native() const { return write_ == nullptr; }
  C* InPlace() const { return reinterpret_cast<C*>(data_); }
  std::byte* bytes() const { return data_; }

  Sink operator+(int64_t elements) const {
    Sink moved = *this;
    moved.data_ += elements * size_;
    return moved;
  }

  // Element i·stride = from[i], i < n.
  void Write(const C* from, int64_t n, int64_t stride) const {
    if (native())
      return detail::ScatterBytes(reinterpret_cast<const std::byte*>(from), n, sizeof(C), data_,
                                  stride);
    if (stride == 1) return write_(from, n, data_);
    alignas(8) std::byte chunk[detail::kConvertChunk * 8];
    for (int64_t i = 0; i < n; i += detail::kConvertChunk) {
      const int64_t count = std::min(detail::kConvertChunk, n - i);
      write_(from + i, count, chunk);
      detail::ScatterBytes(chunk, count, size_, data_ + i * stride * size_, stride);
    }
  }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
  typename ConvertKernels<C>::Write write_ = nullptr;
};

}  // namespace lanewise

#endif  // LANEWISE_OPS_ELEMENTS_H_
