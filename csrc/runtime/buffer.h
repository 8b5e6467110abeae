// Uninitialised, 64-byte aligned memory for packed operands.
#ifndef LANEWISE_RUNTIME_BUFFER_H_
#define LANEWISE_RUNTIME_BUFFER_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace lanewise {

template <class T>
class Buffer {
 public:
  Buffer() = default;
  // Throws std::bad_alloc, also where the number of bytes overflows.
  explicit Buffer(int64_t count) {
    size_t bytes = 0;
    if (__builtin_mul_overflow(static_cast<size_t>(count), sizeof(T), &bytes) ||
        bytes > SIZE_MAX - 63) {
      throw std::bad_alloc();
    }
    data_.reset(static_cast<T*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
    if (data_ == nullptr && bytes > 0) throw std::bad_alloc();
    bytes_ = bytes;
  }
  T* get() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T, Free> data_;
  size_t bytes_ = 0;
};

}  // namespace lanewise

#endif  // LANEWISE_RUNTIME_BUFFER_H_
