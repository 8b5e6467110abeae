// What convolutions and searches allocate: every allocation of the process goes through the
// counters below.
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "lanewise/conv.h"
#include "lanewise/conv_backward.h"
#include "lanewise/memory.h"
#include "lanewise/neighbors.h"
#include "lanewise/runtime.h"
#include "testing.h"

// glibc's allocator under the names that it keeps when a program brings its own malloc.
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* memory, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void* memory);
}

namespace {

std::atomic<int64_t> live_bytes{0}, live_blocks{0}, most_bytes{0};

void* Count(void* memory) {
  if (memory == nullptr) return nullptr;
  ++live_blocks;
  const int64_t size = malloc_usable_size(memory), now = live_bytes += size;
  for (int64_t most = most_bytes; now > most && !most_bytes.compare_exchange_weak(most, now);) {
  }
  return memory;
}

void Uncount(void* memory) {
  if (memory == nullptr) return;
  --live_blocks;
  live_bytes -= malloc_usable_size(memory);
}

}  // namespace

// Visible, so that shared libraries find them, too.
#pragma GCC visibility push(default)
extern "C" {
void* malloc(size_t bytes) { return Count(__libc_malloc(bytes)); }
void* calloc(size_t count, size_t bytes) { return Count(__libc_calloc(count, bytes)); }
void* aligned_alloc(size_t alignment, size_t bytes) {
  return Count(__libc_memalign(alignment, bytes));
}
void* memalign(size_t alignment, size_t bytes) { return Count(__libc_memalign(alignment, bytes)); }
int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  *memory = Count(__libc_memalign(alignment, bytes));
  return *memory == nullptr ? ENOMEM : 0;
}
void* realloc(void* memory, size_t bytes) {
  Uncount(memory);
  return Count(__libc_realloc(memory, bytes));
}
void free(void* memory) {
  Uncount(memory);
  __libc_free(memory);
}
}
#pragma GCC visibility pop

namespace lanewise {
namespace {

struct Layer {
  const char* name;
  int64_t n, size, c, k, window, stride, groups;
  ConvAlgorithm algorithm;
};
constexpr ConvAlgorithm kDirect = ConvAlgorithm::kDirect, kWinograd = ConvAlgorithm::kWinograd;
constexpr Layer kLayers[] = {
    {"stem", 1, 224, 3, 64, 7, 2, 1, kDirect},
    {"3x3 of 64", 1, 56, 64, 64, 3, 1, 1, kDirect},
    {"3x3 of 64", 1, 56, 64, 64, 3, 1, 1, kWinograd},
    {"3x3 of 256, batch", 8, 14, 256, 256, 3, 1, 1, kDirect},
    {"3x3 of 256, batch", 8, 14, 256, 256, 3, 1, 1, kWinograd},
    {"3x3 of 512", 1, 28, 512, 512, 3, 1, 1, kDirect},
    {"3x3 of 512", 1, 28, 512, 512, 3, 1, 1, kWinograd},
    {"3x3 of 2048", 1, 8, 2048, 64, 3, 1, 1, kWinograd},
    {"3x3 in groups", 2, 56, 128, 128, 3, 1, 32, kDirect},
    {"3x3 in groups", 2, 28, 128, 128, 3, 1, 4, kWinograd},
    {"1x1 up", 1, 56, 64, 256, 1, 1, 1, kDirect},
    {"1x1 down", 1, 14, 1024, 256, 1, 1, 1, kDirect},
    {"wide rows", 1, 700, 8, 16, 5, 1, 1, kDirect},
    {"wide rows", 1, 700, 8, 16, 3, 1, 1, kWinograd},
    {"31x31", 1, 64, 16, 16, 31, 1, 1, kDirect},
    {"depthwise 3x3", 2, 112, 96, 96, 3, 2, 96, kDirect},
    {"depthwise 7x7", 1, 56, 384, 384, 7, 1, 384, kDirect},
    {"depthwise 31x31", 1, 56, 64, 64, 31, 1, 64, kDirect},
    {"depthwise, wide rows", 1, 900, 4, 4, 3, 1, 4, kDirect},
};

int64_t CacheSize(int name, int64_t fallback) {
  const long bytes = sysconf(name);
  return bytes > 0 ? bytes : fallback;
}

// The arrays of a layer, and its convolution.
class Call {
 public:
  Call(const Layer& layer, Layout layout) : last_(layout == Layout::kNHWC) {
    options_.padding.before = options_.padding.after = {layer.window / 2, layer.window / 2};
    options_.stride = {layer.stride, layer.stride};
    options_.groups = layer.groups;
    options_.layout = layout;
    options_.algorithm = layer.algorithm;
    const int64_t out = (layer.size - 1) / layer.stride + 1;  // windows are odd
    x_ = Image(x_data_, layer.n, layer.size, layer.c);
    y_ = Image(y_data_, layer.n, out, layer.k);
    const int64_t r = layer.window, c = layer.c / layer.groups, k = layer.k;
    w_data_.resize(r * r * c * k);
    w_ =
        last_ ? TensorView(w_data_.data(), {r, r, c, k}) : TensorView(w_data_.data(), {k, c, r, r});
  }

  PackedFilter Packed() const {
    PackedFilter packed(w_, options_.groups, options_.layout);
    PackForConv2d(packed, x_.sizes(), DType::kFloat32, options_);
    return packed;
  }
  void Run() const { Conv2d(x_, w_, nullptr, options_, y_); }
  void Run(const PackedFilter& packed) const { Conv2d(x_, packed, nullptr, options_, y_); }
  // The gradients, in the place of x and w.
  void RunImageGradient() const {
    Conv2dBackward(y_, Sizes(x_), w_, options_, {&x_, nullptr, nullptr});
  }
  void RunFilterGradient() const {
    Conv2dBackward(y_, x_, Sizes(w_), options_, {nullptr, &w_, nullptr});
  }

 private:
  TensorView Image(std::vector<float>& data, int64_t n, int64_t size, int64_t c) {
    data.resize(n * size * size * c);
    return last_ ? TensorView(data.data(), {n, size, size, c})
                 : TensorView(data.data(), {n, c, size, size});
  }

  static TensorView Sizes(TensorView of) {
    of.data = nullptr;
    return of;
  }

  bool last_;
  Conv2dOptions options_;
  std::vector<float> x_data_, w_data_, y_data_;
  TensorView x_, w_, y_;
};

// The most bytes that `call` had at a time, in a thread of its own: one that has not kept any
// scratch for its next call.
template <class F>
int64_t MostBytesOf(const F& call) {
  int64_t most = 0;
  std::thread([&] {
    const int64_t before = most_bytes = live_bytes.load();
    call();
    most = most_bytes - before;
  }).join();
  return most;
}

// Number i of 10,000 different layers.
Call SmallCall(int64_t i) {
  const int64_t size = 3 + i % 10, c = 1 + i / 10 % 10, k = 1 + i / 100 % 10;
  const int64_t window = 1 + i / 1000 % 5 * 2, stride = 1 + i / 5000;
  const ConvAlgorithm algorithm = window == 3 && stride == 1 ? kWinograd : kDirect;
  const Layer layer{"", 1, size, c, k, window, stride, c == k ? c : 1, algorithm};
  return Call(layer, i % 3 == 0 ? Layout::kNCHW : Layout::kNHWC);
}

}  // namespace

TEST_CASE("nothing is kept of a shape: memory after 10,000 shapes is what it was after one") {
  // The first test: teams of threads that others leave behind give their memory back later.
  SetNumThreads(1);
  const auto blocks_after = [](int64_t shapes) {
    int64_t blocks = 0;
    std::thread([&] {
      for (int64_t i = 0; i < shapes; ++i) {
        const Call call = SmallCall(i);
        call.Run();
        call.Run(call.Packed());
      }
      blocks = live_blocks;
    }).join();
    return blocks;
  };
  const int64_t after_one = blocks_after(1), bytes = live_bytes;
  CHECK(blocks_after(10000) == after_one);
  CHECK(live_bytes.load() == bytes);
}

TEST_CASE("scratch of a convolution is bounded by the caches, as conv.h says") {
  const int64_t l2 = CacheSize(_SC_LEVEL2_CACHE_SIZE, 1 << 20);
  // A huge L3 is no reason to use more than a common one would allow.
  const int64_t l3 = std::min<int64_t>(CacheSize(_SC_LEVEL3_CACHE_SIZE, 16 << 20), 32 << 20);
  for (int threads = 1; threads <= 3; ++threads) {
    SetNumThreads(threads);
    const int64_t bound = GetNumThreads() * 2 * l2 + l3 / 3;
    for (const Layer& layer : kLayers) {
      for (const Layout layout : {Layout::kNHWC, Layout::kNCHW}) {
        CAPTURE(layer.name);
        CAPTURE(int(layout));
        CAPTURE(threads);
        const Call call(layer, layout);
        const PackedFilter packed = call.Packed();
        const int64_t packed_bytes = packed.bytes();
        CHECK(MostBytesOf([&] { call.Run(packed); }) <= bound);
        CHECK(packed.bytes() == packed_bytes);
        CHECK(MostBytesOf([&] { call.Run(); }) <= bound + packed_bytes);
        CHECK(MostBytesOf([&] { call.RunImageGradient(); }) <= bound + packed_bytes);
        CHECK(MostBytesOf([&] { call.RunFilterGradient(); }) <= bound);
      }
    }
  }
}

TEST_CASE("scratch of a search does not grow with its sizes, as neighbors.h says") {
  const int64_t l2 = CacheSize(_SC_LEVEL2_CACHE_SIZE, 1 << 20);
  const int64_t l3 = std::min<int64_t>(CacheSize(_SC_LEVEL3_CACHE_SIZE, 16 << 20), 32 << 20);
  constexpr int64_t kMB = 1 << 20;
  struct Size {
    int64_t m, n, d, k;
  };
  for (const auto [m, n, d, k] : {Size{2000, 9000, 16, 10}, Size{200, 9000, 3, 9000},
                                  Size{4, 200000, 3, 500}, Size{40, 400, 9000, 3}}) {
    const std::vector<float> x(m * d, 1), y(n * d, 2);
    std::vector<float> distances(m * k);
    std::vector<int64_t> indices(m * k);
    for (int threads = 1; threads <= 3; ++threads) {
      CAPTURE(n);
      CAPTURE(k);
      CAPTURE(threads);
      SetNumThreads(threads);
      const int64_t bytes = MostBytesOf([&] {
        NearestNeighbors({x.data(), {m, d}}, {y.data(), {n, d}}, k, Metric::kEuclidean,
                         {distances.data(), {m, k}}, {indices.data(), {m, k}});
      });
      CHECK(bytes <= threads * (2 * std::max(l2, l3 / threads) + 4 * kMB) + 4 * kMB);
    }
  }
}

TEST_CASE("a block is given back without an allocation: there may be no memory left for one") {
  void* const block = AllocateBlock(size_t{4} << 20);
  REQUIRE(block != nullptr);
  const int64_t before = most_bytes = live_bytes.load();
  CHECK(FreeBlock(block));
  CHECK(most_bytes == before);
}

}  // namespace lanewise
