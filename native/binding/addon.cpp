#include <napi.h>

#include "binding/environment.h"
#include "binding/handles.h"
#include "binding/replica.h"
#include "core/devices.h"
#include "core/tensor_heap.h"

namespace sam3::binding {
namespace {

// ADDON_CONTRACT in lib/native/addon.ts.
constexpr int contract = SAM3_ADDON_CONTRACT;

Napi::Value devices(const Napi::CallbackInfo& info) {
  const auto found = list_devices();
  auto list = Napi::Array::New(info.Env(), found.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    auto device = Napi::Object::New(info.Env());
    device.Set("id", Napi::String::New(info.Env(), found[i].id));
    device.Set("name", Napi::String::New(info.Env(), found[i].name));
    device.Set("uuid", found[i].uuid.empty() ? info.Env().Null()
                                             : Napi::Value(Napi::String::New(info.Env(), found[i].uuid)));
    device.Set("totalBytes", Napi::Number::New(info.Env(), static_cast<double>(found[i].total_bytes)));
    device.Set("freeBytes", Napi::Number::New(info.Env(), static_cast<double>(found[i].free_bytes)));
    list.Set(static_cast<std::uint32_t>(i), device);
  }
  return list;
}

// Two ways lead out of an environment, and on both the executors' threads must have ended before libtorch's static
// objects are destroyed: an end by itself or of a worker runs cleanup hooks, process.exit() and an uncaught exception
// on the main thread run none, but emit "exit".
void shut_down_at_end(Napi::Env env, Environment* environment) {
  // Registered after the environment's thread-safe function, so that it runs before that one is torn down.
  env.AddCleanupHook([](Environment* data) { data->shut_down(); }, environment);
  const auto process = env.Global().Get("process").As<Napi::Object>();
  const auto on_exit = Napi::Function::New(
      env, [environment](const Napi::CallbackInfo&) { environment->shut_down(); }, "closeSam3Replicas");
  process.Get("once").As<Napi::Function>().Call(process, {Napi::String::New(env, "exit"), on_exit});
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  use_tensor_heap();
  auto* environment = new Environment(env);
  env.SetInstanceData<Environment>(environment);
  shut_down_at_end(env, environment);
  environment->features = Napi::Persistent(FeaturesHandle::define(env));
  environment->text_features = Napi::Persistent(TextFeaturesHandle::define(env));
  environment->masks = Napi::Persistent(MasksHandle::define(env));
  environment->pointers = Napi::Persistent(PointersHandle::define(env));
  environment->track_memories = Napi::Persistent(TrackMemoryHandle::define(env));
  exports.Set("contract", Napi::Number::New(env, contract));
  exports.Set("torchVersion", Napi::String::New(env, torch_version()));
  exports.Set("devices", Napi::Function::New(env, devices, "devices"));
  exports.Set("Replica", ReplicaHandle::define(env));
  exports.Set("CancelToken", CancelTokenHandle::define(env));
  return exports;
}

}  // namespace
}  // namespace sam3::binding

static Napi::Object init_sam3(Napi::Env env, Napi::Object exports) { return sam3::binding::init(env, exports); }
NODE_API_MODULE(sam3_node, init_sam3)
