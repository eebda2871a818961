#pragma once

#include <cstddef>
#include <map>
#include <mutex>
#include <set>
#include <utility>

namespace sam3 {

// Memory for large tensors on the CPU, straight from the system, so that all that is free in it can be given back. In
// glibc's heap it cannot: malloc_trim() leaves what is free at the end of every arena but the first, and blocks as large
// as tensors make glibc keep up to 64 MiB there, in the arenas of all the process's threads.
//
// The free block that fits best is taken; free neighbours are joined. Thread-safe. What is taken when the heap is destroyed
// stays mapped.
class TensorHeap {
 public:
  // What is asked for is rounded up to this, and every block begins at a multiple of it.
  static constexpr std::size_t granule = std::size_t{64} << 10;
  // Blocks from this size on are mapped one by one and never kept, as in glibc: a large model's would add up.
  static constexpr std::size_t large = std::size_t{32} << 20;

  struct Load {
    std::size_t taken_bytes;
    std::size_t free_bytes;
  };

  TensorHeap() = default;
  ~TensorHeap() { trim(); }
  TensorHeap(const TensorHeap&) = delete;
  TensorHeap& operator=(const TensorHeap&) = delete;

  // nullptr where the system has no more.
  void* take(std::size_t bytes);
  // False where nothing of this heap was taken at that address. With the last block everything goes back to the system.
  bool give(void* data) noexcept;
  // Gives all that is free back to the system.
  void trim() noexcept;
  Load load() const;

 private:
  using Sizes = std::set<std::pair<std::size_t, char*>>;

  struct Block {
    std::size_t size;
    // Its entry of `free_` while it is taken, so that giving it back needs no memory.
    Sizes::node_type entry;
  };
  using Blocks = std::map<char*, Block>;

  Sizes::iterator grow(std::size_t size);
  Blocks::iterator add_free(char* start, std::size_t size);
  Blocks::iterator join(Blocks::iterator block);
  bool absorb(Blocks::iterator block, Blocks::iterator next);
  void unmap_free();

  mutable std::mutex mutex_;
  Blocks blocks_;  // by address
  Sizes free_;
};

// From here on libtorch takes large tensors on the CPU from one such heap, the process's. Changes nothing where the C
// library is not glibc. May be called more than once.
void use_tensor_heap();

// Gives all that is free in the process's heap back to the system.
void trim_tensor_heap() noexcept;

}  // namespace sam3
