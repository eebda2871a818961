#include "core/devices.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <c10/core/Device.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/memory.h"

#if defined(__linux__)
#include <dlfcn.h>
#include <sched.h>
#include <unistd.h>
#endif

namespace sam3 {
namespace {

#if defined(__linux__)

// "key : value" lines of a /proc file.
template <class Visit>
void visit_lines(const char* path, const Visit& visit) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) {
      visit("", "");
      continue;
    }
    auto key = line.substr(0, colon);
    while (!key.empty() && (key.back() == '\t' || key.back() == ' ')) key.pop_back();
    const auto start = line.find_first_not_of(" \t", colon + 1);
    visit(key, start == std::string::npos ? std::string() : line.substr(start));
  }
}

std::string processor_name() {
  std::string name;
  visit_lines("/proc/cpuinfo", [&](const std::string& key, const std::string& value) {
    if (name.empty() && key == "model name") name = value;
  });
  return name.empty() ? "CPU" : name;
}

int physical_cores() {
  std::set<std::pair<std::string, std::string>> cores;
  std::string package;
  visit_lines("/proc/cpuinfo", [&](const std::string& key, const std::string& value) {
    if (key == "physical id") package = value;
    if (key == "core id") cores.emplace(package, value);
  });
  return static_cast<int>(cores.size());
}

// cgroup v2 writes "<quota or max> <period>" in microseconds.
double cgroup_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::strtod(quota.c_str(), nullptr) / period;
}


// A shared library that may be absent. Not thread-safe; closed when it goes.
class Library {
 public:
  explicit Library(const char* name) : handle_(dlopen(name, RTLD_LAZY | RTLD_LOCAL)) {}
  ~Library() {
    if (handle_) dlclose(handle_);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  template <class F>
  F* find(const char* symbol) const {
    return handle_ ? reinterpret_cast<F*>(dlsym(handle_, symbol)) : nullptr;
  }

 private:
  void* handle_;
};

using Uuid = std::array<unsigned char, 16>;

std::string uuid_text(const char* kind, const Uuid& bytes) {
  std::string text = kind;
  constexpr char digits[] = "0123456789abcdef";
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

// Name and total memory from the driver, which numbers devices as libtorch does; free memory from NVML, which asks the
// driver without making a context. Both are opened by name, so the addon needs neither to load.
DeviceInfo cuda_device(int index) {
  DeviceInfo info{"cuda:" + std::to_string(index), "CUDA device", "", 0, 0};
  const Library driver("libcuda.so.1");
  const auto init = driver.find<int(unsigned)>("cuInit");
  const auto get = driver.find<int(int*, int)>("cuDeviceGet");
  const auto name = driver.find<int(char*, int, int)>("cuDeviceGetName");
  const auto total = driver.find<int(std::size_t*, int)>("cuDeviceTotalMem_v2");
  const auto gpu_uuid = driver.find<int(unsigned char*, int)>("cuDeviceGetUuid");
  const auto own_uuid = driver.find<int(unsigned char*, int)>("cuDeviceGetUuid_v2");
  int device = 0;
  if (!init || !get || !name || !total || init(0) != 0 || get(&device, index) != 0) return info;
  char text[256] = {};
  if (name(text, sizeof(text) - 1, device) == 0) info.name = text;
  std::size_t bytes = 0;
  if (total(&bytes, device) == 0) info.total_bytes = bytes;
  info.free_bytes = info.total_bytes;

  // The first says which GPU it is; the second, on a slice of one, which slice.
  Uuid gpu{};
  if (!gpu_uuid || gpu_uuid(gpu.data(), device) != 0) return info;
  Uuid own = gpu;
  if (!own_uuid || own_uuid(own.data(), device) != 0) own = gpu;
  info.uuid = uuid_text(own == gpu ? "GPU-" : "MIG-", own);

  const Library nvml("libnvidia-ml.so.1");
  struct Memory {
    unsigned long long total, free, used;
  };
  const auto nvml_init = nvml.find<int()>("nvmlInit_v2");
  const auto nvml_shutdown = nvml.find<int()>("nvmlShutdown");
  const auto by_uuid = nvml.find<int(const char*, void**)>("nvmlDeviceGetHandleByUUID");
  const auto memory_info = nvml.find<int(void*, Memory*)>("nvmlDeviceGetMemoryInfo");
  if (!nvml_init || !nvml_shutdown || !by_uuid || !memory_info || nvml_init() != 0) {
    return info;
  }
  void* handle = nullptr;
  Memory memory{};
  if (by_uuid(info.uuid.c_str(), &handle) == 0 && memory_info(handle, &memory) == 0) info.free_bytes = memory.free;
  nvml_shutdown();
  return info;
}

#else  // Windows, macOS: untested

int physical_cores() { return 0; }
double cgroup_quota() { return 0; }
std::string processor_name() { return "CPU"; }
DeviceInfo cuda_device(int index) { return {"cuda:" + std::to_string(index), "CUDA device", "", 0, 0}; }

#endif

DeviceInfo processor() {
  const MemoryView memory = memory_of(c10::Device(c10::kCPU));
  return {"cpu", processor_name(), "", memory.total_bytes, memory.free_bytes};
}

int cuda_count() { return at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0; }

}  // namespace

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> devices{processor()};
  const int count = cuda_count();
  for (int index = 0; index < count; ++index) devices.push_back(cuda_device(index));
  return devices;
}

c10::Device parse_device(const std::string& id) {
  if (id == "cpu") return c10::Device(c10::kCPU);
  const int count = cuda_count();
  if (id.starts_with("cuda:")) {
    int index = -1;
    const char* end = id.data() + id.size();
    const auto [stop, failure] = std::from_chars(id.data() + 5, end, index);
    if (failure == std::errc() && stop == end && index >= 0 && index < count) {
      return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
    }
  }
  std::string known = "cpu";
  for (int index = 0; index < count; ++index) known += ", cuda:" + std::to_string(index);
  throw Error("DEVICE_UNKNOWN", "There is no device \"" + id + "\" here. Use one of: " + known + ".");
}

int usable_cores() {
  int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (const int physical = physical_cores(); physical > 0) cores = std::min(cores, physical);
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cores = std::min(cores, CPU_COUNT(&set));
#endif
  if (const double quota = cgroup_quota(); quota > 0) cores = std::min(cores, static_cast<int>(std::ceil(quota)));
  return std::max(1, cores);
}

std::string torch_version() {
  // at::show_config() is made when libtorch is built, unlike TORCH_VERSION, which is what this file was compiled with.
  const std::string config = at::show_config();
  const std::string mark = "TORCH_VERSION=";
  const auto at = config.find(mark);
  if (at == std::string::npos) return TORCH_VERSION;
  const auto end = config.find_first_of(", \n", at);
  return config.substr(at + mark.size(), end - at - mark.size());
}

}  // namespace sam3
