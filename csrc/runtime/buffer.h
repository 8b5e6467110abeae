// Uninitialised, 64-byte aligned memory for packed operands. From malloc, since glibc's
// aligned_alloc goes past the lists of free pieces of the thread (0.2 µs more for a small one).
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
    memory_.reset(static_cast<char*>(std::malloc(bytes + 63)));
    if (memory_ == nullptr) throw std::bad_alloc();
    data_ =
        reinterpret_cast<T*>(memory_.get() + (-reinterpret_cast<uintptr_t>(memory_.get()) & 63));
    bytes_ = bytes;
  }
  T* get() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  std::unique_ptr<char, Free> memory_;
  T* data_ = nullptr;  // in it
  size_t bytes_ = 0;
};

}  // namespace lanewise

#endif  // LANEWISE_RUNTIME_BUFFER_H_
