// parallel_for with per-thread scratch. parallel.cc holds the only OpenMP pragma of the library.
#ifndef LANEWISE_RUNTIME_PARALLEL_H_
#define LANEWISE_RUNTIME_PARALLEL_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace lanewise {

// The loop ahead: how many independent tasks, what all of them cost together, and the scratch that
// one task needs. The cost need only be right within a factor of a few: it decides whether waking
// other threads pays.
struct Work {
  int64_t tasks;
  double total_ns;
  size_t scratch_bytes;
};

// A run of scratch memory, handed out in 64-byte aligned pieces. It is its thread's own: what a
// task leaves there the thread's next task of the same loop finds.
class Scratch {
 public:
  Scratch(std::byte* memory, int thread) : next_(memory), thread_(thread) {}

  // Of the threads of this loop, from 0; less than ThreadsFor(total_ns).
  int thread() const { return thread_; }

  template <class T>
  T* Take(int64_t count) {
    T* piece = reinterpret_cast<T*>(next_);
    next_ += Bytes<T>(count);
    return piece;
  }

  // What Take<T>(count) uses up.
  template <class T>
  static size_t Bytes(int64_t count) {
    return (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
  }

  // The same for a pointer among an object's members. A class of many pieces lists them once, as
  // calls of f(&Class::piece, count), to take them and to say what they use up.
  template <class Object, class T>
  void TakeFor(Object* object, T* Object::*piece, int64_t count) {
    object->*piece = Take<T>(count);
  }
  template <class Object, class T>
  static size_t BytesFor(T* Object::*, int64_t count) {
    return Bytes<T>(count);
  }

 private:
  std::byte* next_;
  int thread_;
};

namespace detail {
using Body = void (*)(const void* context, int64_t task, Scratch scratch);
void ParallelFor(const Work& work, Body body, const void* context);
}  // namespace detail

// How many threads ParallelFor would use for work of this cost: 1 where it is too small to share.
int ThreadsFor(double total_ns);

// Calls body(task, scratch) for every task in [0, work.tasks), each exactly once, on up to
// GetNumThreads() threads. Each begins with a run of neighbouring tasks, the same in every call, so
// that what one task or call leaves in a core's cache serves the next; who is done helps others.
// Scratch is allocated before the first task runs (std::bad_alloc) and comes uninitialised; body
// must not throw. Each output element must belong to one task and no task may read what another
// writes, so results do not depend on the threads.
template <class F>
void ParallelFor(const Work& work, const F& body) {
  static_assert(std::is_invocable_v<const F&, int64_t, Scratch>);
  detail::ParallelFor(
      work,
      [](const void* context, int64_t task, Scratch scratch) {
        (*static_cast<const F*>(context))(task, scratch);
      },
      &body);
}

}  // namespace lanewise

#endif  // LANEWISE_RUNTIME_PARALLEL_H_
