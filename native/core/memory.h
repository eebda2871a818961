#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>

namespace sam3 {

// A device's memory as this process sees it.
struct MemoryView {
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;
  // Taken from the device by this process's tensors, and the most there was since memory was last given back; unknown on
  // the CPU.
  std::optional<std::uint64_t> allocated_bytes;
  std::optional<std::uint64_t> peak_bytes;
  // Not free, but kept by libtorch for its own next need.
  std::uint64_t cached_bytes = 0;
};

// Thread-safe. On the CPU the machine's memory, or the control group's where that is less.
MemoryView memory_of(c10::Device device);

// What one forward may take for its intermediate results.
std::int64_t working_budget(c10::Device device);

// How many items of `bytes_each` a forward may take on: at least one.
std::size_t fit_at_once(c10::Device device, std::int64_t bytes_each, std::size_t at_once);

// Gives memory that libtorch or the C library keeps for later back to the device.
void give_back_memory(c10::Device device);

}  // namespace sam3
