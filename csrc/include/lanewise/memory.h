/// @file
/// Recycled memory for large results.
///
/// The pages of a large new piece of memory are zeroed one by one as they are first written, which
/// takes longer than most ops need to fill them. malloc gives pieces above 32 MB back to the system
/// when they are freed, and smaller ones where several die together, and so pays again each time.
/// Blocks of this pool are huge pages where the system has them, and wait to be used again. All
/// functions are thread-safe, also in a forked child.
#ifndef LANEWISE_MEMORY_H_
#define LANEWISE_MEMORY_H_

#include <cstddef>

namespace lanewise {

/// What the Python package takes from the pool: results of at least so many bytes, a huge page.
/// Four maxima of 2, 8 and 31 MB that live at once take 53, 260 and 3200 µs each, and 290, 1970 and
/// 3340 in malloc's memory; below, a block's own cost of some µs begins to show.
constexpr size_t kPoolThreshold = size_t{2} << 20;

/// A block of at least `bytes`, uninitialised, aligned to 64 bytes; null where memory runs out. Of
/// the waiting blocks it is the smallest that is large enough and wastes no more than a quarter; or
/// else a new one, for which waiting blocks are given up if memory would not suffice otherwise.
void* AllocateBlock(size_t bytes);

/// Takes back what AllocateBlock returned: `block` waits to be used again. Of the blocks that wait,
/// those unused for longest go back to the system while all together exceed the limit, or half of
/// what the system says is available. Does nothing, and returns false, for other memory.
bool FreeBlock(void* block);

/// The bytes that fit in what AllocateBlock returned; 0 for other memory.
size_t BlockCapacity(void* block);

/// How many bytes may wait. The default is an eighth of the machine's or the cgroup's memory,
/// whichever is less. 0: nothing waits.
void SetPoolLimit(size_t bytes);

/// Gives all waiting blocks back to the system.
void ReleasePool();

/// Bytes of blocks.
struct PoolUsage {
  size_t limit;    ///< that may wait
  size_t waiting;  ///< that wait now
  size_t in_use;   ///< that AllocateBlock returned and nobody freed yet
};
/// How the pool stands now.
PoolUsage GetPoolUsage();

}  // namespace lanewise

#endif  // LANEWISE_MEMORY_H_
