#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace c10 {
struct Device;
}

namespace sam3 {

struct DeviceInfo {
  std::string id;
  std::string name;
  // GPU-… or MIG-… as the CUDA driver says it; empty on the CPU and where the driver does not tell.
  std::string uuid;
  std::uint64_t total_bytes = 0;
  std::uint64_t free_bytes = 0;
};

// Devices that libtorch can use, the CPU first. Creates no CUDA context.
std::vector<DeviceInfo> list_devices();

// Throws DEVICE_UNKNOWN for what is not `cpu` or `cuda:N`, or does not exist here.
c10::Device parse_device(const std::string& id);

// Physical cores this process may use: the processor's, its affinity and its cgroup quota, whichever is least.
int usable_cores();

// Version of the libtorch that is loaded, not of the one compiled against.
std::string torch_version();

}  // namespace sam3
