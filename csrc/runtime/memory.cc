#include "lanewise/memory.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "runtime/cpu.h"

namespace lanewise {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
// Sizes of blocks are multiples of this. What is over after the last whole huge page is small
// pages.
constexpr size_t kGranule = size_t{64} << 10;
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
  void* memory;  // aligned to a huge page
  size_t bytes;
};

class Pool {
 public:
  void* Allocate(size_t bytes) {
    if (bytes > kLargest) return nullptr;
    bytes = (std::max<size_t>(bytes, 1) + kGranule - 1) / kGranule * kGranule;
    // What the lists need is allocated first, so that nothing fails once a block changes hands.
    waiting_.reserve(waiting_.size() + in_use_.size() + 1);
    auto entry = in_use_.extract(in_use_.emplace(nullptr, 0).first);
    Block block = TakeWaiting(bytes);
    if (block.memory == nullptr) block = {MapOrShrink(bytes), bytes};
    if (block.memory == nullptr) return nullptr;
    entry.key() = block.memory;
    entry.mapped() = block.bytes;
    in_use_.insert(std::move(entry));
    usage_.in_use += block.bytes;
    return block.memory;
  }

  bool Free(void* memory) {
    const auto found = in_use_.find(memory);
    if (found == in_use_.end()) return false;
    waiting_.push_back({memory, found->second});
    usage_.waiting += found->second;
    usage_.in_use -= found->second;
    in_use_.erase(found);
    Shrink(std::min(usage_.limit, MemoryAvailable() / 2));
    return true;
  }

  size_t Capacity(void* memory) const {
    const auto found = in_use_.find(memory);
    return found == in_use_.end() ? 0 : found->second;
  }

  void SetLimit(size_t bytes) {
    usage_.limit = bytes;
    Shrink(bytes);
  }

  // Until no more than so many bytes wait.
  void Shrink(size_t bytes) {
    auto block = waiting_.begin();
    for (; usage_.waiting > bytes; ++block) {
      munmap(block->memory, block->bytes);
      usage_.waiting -= block->bytes;
    }
    waiting_.erase(waiting_.begin(), block);
  }

  const PoolUsage& usage() const { return usage_; }

 private:
  // The smallest that is large enough and wastes no more than a quarter; null if there is none.
  Block TakeWaiting(size_t bytes) {
    auto best = waiting_.end();
    for (auto block = waiting_.begin(); block != waiting_.end(); ++block) {
      if (block->bytes < bytes || block->bytes - bytes > bytes / 4) continue;
      if (best == waiting_.end() || block->bytes <= best->bytes) best = block;
    }
    if (best == waiting_.end()) return {nullptr, 0};
    const Block block = *best;
    waiting_.erase(best);
    usage_.waiting -= block.bytes;
    return block;
  }

  void* MapOrShrink(size_t bytes) {
    if (MemoryAvailable() < bytes) Shrink(0);
    if (void* const memory = Map(bytes)) return memory;
    Shrink(0);
    return Map(bytes);
  }

  std::vector<Block> waiting_;      // the one unused for longest first
  std::map<void*, size_t> in_use_;  // and how many bytes each has
  PoolUsage usage_{MemoryLimit() / 8, 0, 0};
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
  return ThePool().usage();
}

}  // namespace lanewise
