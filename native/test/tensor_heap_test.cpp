#include "core/tensor_heap.h"

#include <c10/core/CPUAllocator.h>
#include <torch/script.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>
#include <vector>

#include "check.h"

using sam3::TensorHeap;

namespace {

constexpr std::size_t granule = TensorHeap::granule;

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

bool all_are(const void* data, int value, std::size_t bytes) {
  const auto* const at = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < bytes; ++i) {
    if (at[i] != value) return false;
  }
  return true;
}

}  // namespace

TEST("tensor heap: blocks are aligned and keep what is written to them") {
  TensorHeap heap;
  std::vector<void*> blocks;
  for (int i = 0; i < 40; ++i) {
    const std::size_t size = 1 + static_cast<std::size_t>(i) * 50'000;
    blocks.push_back(heap.take(size));
    EXPECT(blocks.back() != nullptr && reinterpret_cast<std::uintptr_t>(blocks.back()) % granule == 0);
    std::memset(blocks.back(), i, size);
  }
  for (int i = 0; i < 40; ++i) {
    EXPECT(all_are(blocks[static_cast<std::size_t>(i)], i, 1 + static_cast<std::size_t>(i) * 50'000));
    EXPECT(heap.give(blocks[static_cast<std::size_t>(i)]));
  }
}

TEST("tensor heap: the block that fits best is taken, and free neighbours become one, in whatever order they are freed") {
  TensorHeap heap;
  char* const first = static_cast<char*>(heap.take(3 * granule));
  char* const second = static_cast<char*>(heap.take(2 * granule));
  char* const third = static_cast<char*>(heap.take(granule));
  char* const last = static_cast<char*>(heap.take(granule));
  EXPECT(second == first + 3 * granule && third == second + 2 * granule && last == third + granule);
  EXPECT(heap.give(first));
  EXPECT(heap.give(third));
  EXPECT(heap.take(granule) == third);  // not of the larger one before it
  EXPECT(heap.give(third));
  EXPECT(heap.give(second));
  EXPECT(heap.take(6 * granule) == first);
  EXPECT(heap.load().taken_bytes == 7 * granule);
  EXPECT(heap.give(first));
  EXPECT(heap.give(last));
}

TEST("tensor heap: what is not its own, or was given back, is refused") {
  TensorHeap heap;
  int own = 0;
  EXPECT(!heap.give(&own));
  EXPECT(!heap.give(nullptr));
  char* const block = static_cast<char*>(heap.take(3 * granule));
  void* const other = heap.take(granule);
  EXPECT(!heap.give(block + granule));
  EXPECT(heap.give(block));
  EXPECT(!heap.give(block));
  EXPECT(heap.give(other));
  EXPECT(!heap.give(other));
}

TEST("tensor heap: more than there is gives nothing, and the next block is had") {
  TensorHeap heap;
  EXPECT(heap.take(std::size_t{1} << 60) == nullptr);
  EXPECT(heap.take(SIZE_MAX) == nullptr);
  void* const block = heap.take(1);
  EXPECT(block != nullptr);
  EXPECT(heap.load().taken_bytes == granule);
  EXPECT(heap.give(block));
}

TEST("tensor heap: what is free goes back to the system, at once with the last block, and what is taken stays") {
  constexpr std::size_t size = std::size_t{24} << 20;
  TensorHeap heap;
  void* const kept = heap.take(granule);
  std::memset(kept, 5, granule);
  std::vector<void*> blocks;
  for (int i = 0; i < 4; ++i) {
    blocks.push_back(heap.take(size));
    std::memset(blocks.back(), 7, size);
  }
  for (void* block : blocks) EXPECT(heap.give(block));
  const std::size_t full = resident_bytes();
  EXPECT(heap.load().free_bytes >= 4 * size);
  heap.trim();
  EXPECT(heap.load().free_bytes == 0);
  EXPECT(heap.load().taken_bytes == granule);
  EXPECT_LE(resident_bytes() + 4 * size * 9 / 10, full);  // a tenth for what the process takes meanwhile
  EXPECT(all_are(kept, 5, granule));

  void* const again = heap.take(size);
  EXPECT(again != nullptr && all_are(again, 0, size));  // pages fresh from the system
  EXPECT(heap.give(again));
  EXPECT(heap.load().free_bytes >= size);
  EXPECT(heap.give(kept));
  EXPECT(heap.load().taken_bytes == 0 && heap.load().free_bytes == 0);
}

TEST("tensor heap: a large block is never kept") {
  TensorHeap heap;
  void* const kept = heap.take(granule);
  const auto before = heap.load();
  void* const block = heap.take(TensorHeap::large);
  std::memset(block, 7, TensorHeap::large);
  EXPECT(heap.load().taken_bytes == before.taken_bytes + TensorHeap::large);
  EXPECT(heap.load().free_bytes == before.free_bytes);
  const std::size_t full = resident_bytes();
  EXPECT(heap.give(block));
  EXPECT(heap.load().taken_bytes == before.taken_bytes && heap.load().free_bytes == before.free_bytes);
  EXPECT_LE(resident_bytes() + TensorHeap::large * 9 / 10, full);
  EXPECT(!heap.give(block));
  EXPECT(heap.give(kept));
}

TEST("tensor heap: many threads take, fill, free and trim at random, and no block is two's") {
  TensorHeap heap;
  std::vector<std::string> failures(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < failures.size(); ++t) {
    threads.emplace_back([&, t] {
      struct Held {
        void* data;
        std::size_t size;
        int value;
      };
      std::mt19937 random(static_cast<unsigned>(t + 1));
      std::vector<Held> held;
      const auto drop = [&](std::size_t i) {
        if (!all_are(held[i].data, held[i].value, 512)) failures[t] = "overwritten";
        const auto* const end = static_cast<const char*>(held[i].data) + held[i].size - 512;
        if (!all_are(end, held[i].value, 512)) failures[t] = "overwritten at its end";
        if (!heap.give(held[i].data)) failures[t] = "not taken back";
        held[i] = held.back();
        held.pop_back();
      };
      for (int i = 0; i < 3000; ++i) {
        if (random() % 500 == 0) heap.trim();
        if (held.size() < 20 && random() % 2 == 0) {
          const std::size_t size = 1024 + random() % (12 * granule);
          const Held taken{heap.take(size), size, static_cast<int>(random() % 256)};
          std::memset(taken.data, taken.value, 512);
          std::memset(static_cast<char*>(taken.data) + size - 512, taken.value, 512);
          held.push_back(taken);
        } else if (!held.empty()) {
          drop(random() % held.size());
        }
      }
      while (!held.empty()) drop(0);
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& failure : failures) EXPECT(failure.empty());
  EXPECT(heap.load().taken_bytes == 0 && heap.load().free_bytes == 0);
}

TEST("tensor heap: libtorch's large tensors come from it, small ones do not, and a lack of memory is told as before") {
  sam3::use_tensor_heap();
  const auto is_of_heap = [](const at::Tensor& tensor) {
    return reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()) % granule == 0;
  };
  std::vector<at::Tensor> large;
  for (int i = 0; i < 5; ++i) large.push_back(at::full({1 << 18}, i, at::kInt));
  std::vector<at::Tensor> small;
  for (int i = 0; i < 5; ++i) small.push_back(at::full({100}, i, at::kInt));
  for (int i = 0; i < 5; ++i) {
    EXPECT(is_of_heap(large[static_cast<std::size_t>(i)]));
    EXPECT(large[static_cast<std::size_t>(i)].eq(i).all().item<bool>());
    EXPECT(small[static_cast<std::size_t>(i)].eq(i).all().item<bool>());
  }
  EXPECT(!is_of_heap(small[0]) || !is_of_heap(small[1]));
  std::string told;
  try {
    at::empty({std::int64_t{1} << 56});
  } catch (const c10::Error& error) {
    told = error.what_without_backtrace();
  }
  EXPECT(told.find("can't allocate memory") != std::string::npos);
  sam3::trim_tensor_heap();
  EXPECT(large[4].eq(4).all().item<bool>());
  // The tests after this one are to find what is written past a tensor's end, which a heap of its own would hide.
  c10::SetCPUAllocator(c10::GetDefaultCPUAllocator());
  EXPECT(at::equal(large[3].clone(), large[3]));
}
