#include "lanewise/memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <mutex>
#include <new>
#include <vector>

#include "runtime/cpu.h"

namespace lanewise {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kLargest = std::numeric_limits<ptrdiff_t>::max() - kHugePage;

// Null where the system refuses.
void* Map(size_t bytes) {
  void* const mapped =
      mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  // Cut off what lies before the first huge page's border, and what is over at the end.
  char* const begin = static_cast<char*>(mapped);
  const size_t before = -reinterpret_cast<uintptr_t>(begin) % kHugePage;
  if (before > 0) munmap(begin, before);
  munmap(begin + before + bytes, kHugePage - before);
#ifdef MADV_HUGEPAGE
  madvise(begin + before, bytes, MADV_HUGEPAGE);  // where it fails small pages do
#endif
  return begin + before;
}

struct Block {
  void* memory;    // aligned to a huge page
  size_t bytes;    // of whole huge pages
  uint64_t freed;  // when it was, as a count of all that were; 0: it is in use

  bool waits() const { return freed > 0; }
};

// All blocks, in a list: each holds megabytes, so there are few.
class Pool {
 public:
  void* Allocate(size_t bytes) {
    if (bytes > kLargest) return nullptr;
    bytes = (std::max<size_t>(bytes, 1) + kHugePage - 1) / kHugePage * kHugePage;
    if (Block* const block = FindWaiting(bytes)) {
      block->freed = 0;
      return block->memory;
    }
    if (MemoryAvailable() < bytes) Shrink(0);
    blocks_.reserve(blocks_.size() + 1);
    void* memory = Map(bytes);
    if (memory == nullptr) {
      Shrink(0);
      memory = Map(bytes);
    }
    if (memory != nullptr) blocks_.push_back({memory, bytes, 0});
    return memory;
  }

  bool Free(void* memory) {
    Block* const block = Find(memory);
    if (block == nullptr) return false;
    block->freed = ++frees_;
    Shrink(std::min(limit_, MemoryAvailable() / 2));
    return true;
  }

  size_t Capacity(void* memory) {
    const Block* const block = Find(memory);
    return block == nullptr ? 0 : block->bytes;
  }

  void SetLimit(size_t bytes) { Shrink(limit_ = bytes); }

  // Until no more than so many bytes wait.
  void Shrink(size_t bytes) {
    while (Usage().waiting > bytes) {
      const auto oldest =
          std::min_element(blocks_.begin(), blocks_.end(), [](const Block& a, const Block& b) {
            return a.waits() && (!b.waits() || a.freed < b.freed);
          });
      munmap(oldest->memory, oldest->bytes);
      blocks_.erase(oldest);
    }
  }

  PoolUsage Usage() const {
    PoolUsage usage{limit_, 0, 0};
    for (const Block& block : blocks_) {
      (block.waits() ? usage.waiting : usage.in_use) += block.bytes;
    }
    return usage;
  }

 private:
  // In use.
  Block* Find(void* memory) {
    for (Block& block : blocks_) {
      if (block.memory == memory && !block.waits()) return &block;
    }
    return nullptr;
  }
  // The smallest that is large enough and wastes no more than a quarter.
  Block* FindWaiting(size_t bytes) {
    Block* best = nullptr;
    for (Block& block : blocks_) {
      if (!block.waits() || block.bytes < bytes || block.bytes - bytes > bytes / 4) continue;
      if (best == nullptr || block.bytes < best->bytes) best = &block;
    }
    return best;
  }

  std::vector<Block> blocks_;
  uint64_t frees_ = 0;
  size_t limit_ = MemoryLimit() / 8;
};

// Never destroyed: arrays may outlive every other static object.
Pool& ThePool() {
  static Pool& pool = *new Pool;
  return pool;
}

// Held while the process forks, so that the child finds the pool whole.
std::mutex lock;
[[maybe_unused]] const int fork_handler =
    pthread_atfork([] { lock.lock(); }, [] { lock.unlock(); }, [] { lock.unlock(); });

}  // namespace

void* AllocateBlock(size_t bytes) {
  const std::lock_guard<std::mutex> guard(lock);
  try {
    return ThePool().Allocate(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

bool FreeBlock(void* block) {
  const std::lock_guard<std::mutex> guard(lock);
  return ThePool().Free(block);
}

size_t BlockCapacity(void* block) {
  const std::lock_guard<std::mutex> guard(lock);
  return ThePool().Capacity(block);
}

void SetPoolLimit(size_t bytes) {
  const std::lock_guard<std::mutex> guard(lock);
  ThePool().SetLimit(bytes);
}

void ReleasePool() {
  const std::lock_guard<std::mutex> guard(lock);
  ThePool().Shrink(0);
}

PoolUsage GetPoolUsage() {
  const std::lock_guard<std::mutex> guard(lock);
  return ThePool().Usage();
}

}  // namespace lanewise
