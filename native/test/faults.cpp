// faults.node: makes the parts of the bundle <fixtures>/faults/bundle fail when a test says so. Loaded by tests only,
// after libtorch and before that bundle; what it says to JavaScript is described in test/native/faults.ts.

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <napi.h>
#include <torch/library.h>

#include <chrono>
#include <limits>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

// What happens to calls number `from` to `from + count - 1` of a part, counted since it was armed.
struct Plan {
  std::string kind;
  std::int64_t from = 0;
  std::int64_t count = 0;
  std::int64_t ms = 0;
};

// Of the whole process: a bundle's operations know no environment. Thread-safe.
class Board {
 public:
  void arm(const std::string& part, Plan plan) {
    std::lock_guard lock(mutex_);
    plans_[part] = std::move(plan);
    calls_[part] = 0;
  }
  void reset() {
    std::lock_guard lock(mutex_);
    plans_.clear();
    calls_.clear();
  }
  std::int64_t calls(const std::string& part) {
    std::lock_guard lock(mutex_);
    return calls_[part];
  }
  // The plan for this call; its kind is empty where nothing is to happen.
  Plan next(const std::string& part) {
    std::lock_guard lock(mutex_);
    const std::int64_t call = calls_[part]++;
    const auto plan = plans_.find(part);
    if (plan == plans_.end()) return {};
    return call >= plan->second.from && call - plan->second.from < plan->second.count ? plan->second : Plan();
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Plan> plans_;
  std::map<std::string, std::int64_t> calls_;
};

Board& board() {
  static Board board;
  return board;
}

// The messages are those of libtorch: the interpreter of a part passes on nothing else of what was thrown.
at::Tensor watch(const at::Tensor& x, std::string_view part) {
  const Plan plan = board().next(std::string(part));
  if (plan.kind == "error") throw std::runtime_error("a fault injected by a test");
  if (plan.kind == "memory") {
    TORCH_CHECK_WITH(OutOfMemoryError, false,
                     "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB of which "
                     "1.25 GiB is free. Of the allocated memory 13.90 GiB is allocated by PyTorch.");
  }
  if (plan.kind == "device") {
    throw c10::AcceleratorError({__func__, __FILE__, static_cast<std::uint32_t>(__LINE__)}, 700,
                                "CUDA error: an illegal memory access was encountered");
  }
  if (plan.kind == "slow") std::this_thread::sleep_for(std::chrono::milliseconds(plan.ms));
  if (plan.kind == "nan") return at::full_like(x, std::numeric_limits<double>::quiet_NaN());
  return x.clone();
}

std::int64_t integer(const Napi::Object& object, const char* key, std::int64_t otherwise) {
  const Napi::Value value = object.Get(key);
  return value.IsNumber() ? value.As<Napi::Number>().Int64Value() : otherwise;
}

void arm(const Napi::CallbackInfo& info) {
  const auto part = info[0].As<Napi::String>().Utf8Value();
  const auto fault = info[1].As<Napi::Object>();
  board().arm(part, {fault.Get("kind").As<Napi::String>().Utf8Value(), integer(fault, "from", 0),
                     integer(fault, "count", 1), integer(fault, "ms", 0)});
}

Napi::Value calls(const Napi::CallbackInfo& info) {
  const auto count = board().calls(info[0].As<Napi::String>().Utf8Value());
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

void reset(const Napi::CallbackInfo&) { board().reset(); }

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("arm", Napi::Function::New(env, arm, "arm"));
  exports.Set("calls", Napi::Function::New(env, calls, "calls"));
  exports.Set("reset", Napi::Function::New(env, reset, "reset"));
  return exports;
}

}  // namespace

TORCH_LIBRARY(sam3_test, library) {
  library.def("watch(Tensor x, str part) -> Tensor");
  library.impl("watch", c10::DispatchKey::CompositeExplicitAutograd, watch);
}

NODE_API_MODULE(faults, init)
