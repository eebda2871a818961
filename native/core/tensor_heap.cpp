#include "core/tensor_heap.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <new>

#if defined(__GLIBC__)
#include <sys/mman.h>
#endif

namespace sam3 {
namespace {

// What is asked of the system at a time, at least.
constexpr std::size_t step = std::size_t{64} << 20;

#if defined(__GLIBC__)

// `size` bytes from a multiple of `granule` on; nullptr where there are none.
char* map_pages(std::size_t size) {
  const std::size_t wide = size + TensorHeap::granule;
  void* const got = mmap(nullptr, wide, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) return nullptr;
  char* const start = static_cast<char*>(got);
  const std::size_t before = (TensorHeap::granule - reinterpret_cast<std::uintptr_t>(start)) % TensorHeap::granule;
  if (before > 0) munmap(start, before);
  munmap(start + before + size, wide - before - size);
  return start + before;
}

bool unmap_pages(char* start, std::size_t size) {
  if (munmap(start, size) == 0) return true;
  // A process has so many mappings and no more, and a hole makes one: the addresses stay ours, without memory.
  madvise(start, size, MADV_DONTNEED);
  return false;
}

#else

char* map_pages(std::size_t) { return nullptr; }
bool unmap_pages(char*, std::size_t) { return false; }

#endif

// Never destroyed: tensors may outlive everything else.
TensorHeap& process_heap() {
  static auto* const heap = new TensorHeap();
  return *heap;
}

void release(void* data) {
  const bool ours = reinterpret_cast<std::uintptr_t>(data) % TensorHeap::granule == 0 && process_heap().give(data);
  if (!ours) c10::free_cpu(data);
}

class HeapAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* data = bytes < TensorHeap::granule ? nullptr : process_heap().take(bytes);
    // Where there is no more, this says so.
    if (data == nullptr) data = c10::alloc_cpu(bytes);
    return {data, data, &release, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { default_copy_data(to, from, bytes); }
};

}  // namespace

void* TensorHeap::take(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  const std::size_t size = std::max<std::size_t>((bytes + granule - 1) / granule, 1) * granule;
  const std::lock_guard lock(mutex_);
  try {
    auto best = size < large ? free_.lower_bound({size, nullptr}) : free_.end();
    if (best == free_.end()) best = grow(size);
    if (best == free_.end()) return nullptr;
    char* const start = best->second;
    Block& block = blocks_.at(start);
    if (block.size > size) {
      add_free(start + size, block.size - size);
      block.size = size;
    }
    block.entry = free_.extract(best);
    return start;
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

bool TensorHeap::give(void* data) noexcept {
  const std::lock_guard lock(mutex_);
  const auto block = blocks_.find(static_cast<char*>(data));
  if (block == blocks_.end() || !block->second.entry) return false;
  if (block->second.size >= large && unmap_pages(block->first, block->second.size)) {
    blocks_.erase(block);
  } else {
    block->second.entry.value() = {block->second.size, block->first};
    free_.insert(std::move(block->second.entry));
    join(block);
  }
  if (free_.size() == blocks_.size()) unmap_free();
  return true;
}

void TensorHeap::trim() noexcept {
  const std::lock_guard lock(mutex_);
  unmap_free();
}

TensorHeap::Load TensorHeap::load() const {
  const std::lock_guard lock(mutex_);
  Load load{0, 0};
  for (const auto& [start, block] : blocks_) (block.entry ? load.taken_bytes : load.free_bytes) += block.size;
  return load;
}

// The new free block, of at least `size`; the end of `free_` where the system has no more.
TensorHeap::Sizes::iterator TensorHeap::grow(std::size_t size) {
  for (const std::size_t wanted : {size < large ? step : size, size}) {
    char* const start = map_pages(wanted);
    if (start == nullptr) continue;
    try {
      auto block = add_free(start, wanted);
      if (size < large) block = join(block);
      return free_.find({block->second.size, block->first});
    } catch (...) {
      unmap_pages(start, wanted);
      throw;
    }
  }
  return free_.end();
}

// All or nothing.
TensorHeap::Blocks::iterator TensorHeap::add_free(char* start, std::size_t size) {
  Sizes entry{{size, start}};
  const auto block = blocks_.try_emplace(start, Block{size, {}}).first;
  free_.insert(entry.extract(entry.begin()));
  return block;
}

// With the free blocks right before and after it, to the one that is answered.
TensorHeap::Blocks::iterator TensorHeap::join(Blocks::iterator block) {
  if (const auto next = std::next(block); next != blocks_.end()) absorb(block, next);
  if (block == blocks_.begin()) return block;
  const auto before = std::prev(block);
  return absorb(before, block) ? before : block;
}

bool TensorHeap::absorb(Blocks::iterator block, Blocks::iterator next) {
  if (block->second.entry || next->second.entry || block->first + block->second.size != next->first) return false;
  auto entry = free_.extract({block->second.size, block->first});
  free_.erase({next->second.size, next->first});
  block->second.size += next->second.size;
  entry.value() = {block->second.size, block->first};
  free_.insert(std::move(entry));
  blocks_.erase(next);
  return true;
}

void TensorHeap::unmap_free() {
  for (auto it = free_.begin(); it != free_.end();) {
    const auto [size, start] = *it;
    if (unmap_pages(start, size)) {
      blocks_.erase(start);
      it = free_.erase(it);
    } else {
      ++it;
    }
  }
}

void use_tensor_heap() {
#if defined(__GLIBC__)
  alignas(HeapAllocator) static std::byte place[sizeof(HeapAllocator)];
  static std::once_flag once;
  // In place: never destroyed, as the heap.
  std::call_once(once, [] { c10::SetCPUAllocator(new (place) HeapAllocator()); });
#endif
}

void trim_tensor_heap() noexcept { process_heap().trim(); }

}  // namespace sam3
