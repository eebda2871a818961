#include "core/memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "core/tensor_heap.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace sam3 {
namespace {

constexpr std::uint64_t kibi = 1024;

std::uint64_t read_number(const char* path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  return file >> value ? value : 0;  // "max" is no number: no limit
}

// The value of "key value" in a file of such lines.
std::uint64_t read_entry(const char* path, const std::string& wanted) {
  std::ifstream file(path);
  std::string key;
  for (std::string line; file >> key && std::getline(file, line);) {
    if (key == wanted) return std::strtoull(line.c_str(), nullptr, 10);
  }
  return 0;
}

// A control group's limit counts what it has in the page cache, too; that part can be had back.
void narrow_to_group(MemoryView& view, const char* limit_file, const char* used_file, const char* stat_file,
                     const char* cache_key) {
  const std::uint64_t limit = read_number(limit_file);
  if (limit == 0 || limit >= view.total_bytes) return;
  const std::uint64_t used = read_number(used_file);
  const std::uint64_t held = used - std::min(used, read_entry(stat_file, cache_key));
  view.total_bytes = limit;
  view.free_bytes = std::min(view.free_bytes, limit - std::min(limit, held));
}

MemoryView machine_memory() {
  MemoryView view;
  view.total_bytes = read_entry("/proc/meminfo", "MemTotal:") * kibi;
  view.free_bytes = read_entry("/proc/meminfo", "MemAvailable:") * kibi;
  narrow_to_group(view, "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat",
                  "inactive_file");
  narrow_to_group(view, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
                  "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file");
  return view;
}

}  // namespace

MemoryView memory_of(c10::Device device) {
  if (device.is_cpu()) return machine_memory();
  auto* const allocator = c10::getDeviceAllocator(device.type());
  MemoryView view;
  const auto [free_bytes, total_bytes] = allocator->getMemoryInfo(device.index());
  view.free_bytes = free_bytes;
  view.total_bytes = total_bytes;
  if (!allocator->initialized()) return view;
  const auto stats = allocator->getDeviceStats(device.index());
  constexpr auto all = static_cast<std::size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  view.allocated_bytes = static_cast<std::uint64_t>(stats.allocated_bytes[all].current);
  view.peak_bytes = static_cast<std::uint64_t>(stats.allocated_bytes[all].peak);
  view.cached_bytes = static_cast<std::uint64_t>(
      std::max<std::int64_t>(stats.reserved_bytes[all].current - stats.allocated_bytes[all].current, 0));
  return view;
}

std::int64_t working_budget(c10::Device device) {
  const MemoryView view = memory_of(device);
  const auto half = static_cast<std::int64_t>((view.free_bytes + view.cached_bytes) / 2);
  // A batch gains nothing on a CPU beyond what keeps its cores busy; on an accelerator a few pictures fill it.
  const std::int64_t most = std::int64_t{device.is_cpu() ? 1 : 8} << 30;
  return half == 0 ? most : std::min(half, most);
}

std::size_t fit_at_once(c10::Device device, std::int64_t bytes_each, std::size_t at_once) {
  const std::int64_t fitting = working_budget(device) / std::max<std::int64_t>(bytes_each, 1);
  return std::clamp<std::size_t>(static_cast<std::size_t>(std::max<std::int64_t>(fitting, 1)), 1,
                                 std::max<std::size_t>(at_once, 1));
}

void give_back_memory(c10::Device device) {
  if (!device.is_cpu()) {
    auto* const allocator = c10::getDeviceAllocator(device.type());
    allocator->emptyCache();
    allocator->resetPeakStats(device.index());
    return;
  }
  trim_tensor_heap();
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

}  // namespace sam3
