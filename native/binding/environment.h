#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/error.h"
#include "core/replica.h"

namespace sam3::binding {

// What belongs to one Node environment (the main thread or one worker): constructors, the way back to its event loop,
// and the replicas to be stopped when it goes. Used on the environment's own thread, except post().
class Environment {
 public:
  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  explicit Environment(Napi::Env env);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  // Work for the event loop. Called with a null environment when there is no JavaScript any more: then it only lets go.
  using Job = std::function<void(Napi::Env)>;
  // From any thread.
  void post(Job job);

  // While anything is pending, the event loop stays alive.
  void begin();
  void end();

  // Kept until it is retired and has ended, so that no thread outlives the environment.
  void adopt(std::shared_ptr<Replica> replica);
  // Closes it without waiting and forgets it once it has ended.
  void retire(std::shared_ptr<Replica> replica);
  // Cancels everything and waits for the threads. Idempotent.
  void shut_down();

  // Constructors of handles that only native code makes.
  Napi::FunctionReference features;
  Napi::FunctionReference text_features;
  Napi::FunctionReference masks;
  Napi::FunctionReference pointers;
  Napi::FunctionReference track_memories;

 private:
  static void call_js(Napi::Env env, Napi::Function, std::nullptr_t*, Job* job);
  using Loop = Napi::TypedThreadSafeFunction<std::nullptr_t, Job, &Environment::call_js>;

  Napi::Env env_;
  Loop loop_;
  std::size_t pending_ = 0;
  std::vector<std::shared_ptr<Replica>> replicas_;
  std::vector<std::shared_ptr<Replica>> retiring_;
};

// An Error with a `code`.
Napi::Error coded_error(Napi::Env env, const Error& error);

// A promise that native work settles, and the JavaScript values to be kept until then. Made, settled and destroyed on
// the environment's thread; only the pointer travels.
class Pending {
 public:
  explicit Pending(Napi::Env env) : deferred_(Napi::Promise::Deferred::New(env)) { Environment::of(env).begin(); }
  void keep(Napi::Object value) { kept_.push_back(Napi::Persistent(value)); }
  Napi::Object kept(std::size_t index) const { return kept_.at(index).Value(); }
  Napi::Promise promise() const { return deferred_.Promise(); }

  void settle(Napi::Env env, const std::function<Napi::Value(Napi::Env)>& value);
  void reject(Napi::Env env, const Error& error);
  // The environment is gone: the references must not be released through it.
  void abandon();

 private:
  Napi::Promise::Deferred deferred_;
  std::vector<Napi::ObjectReference> kept_;
};

using PendingRef = std::shared_ptr<Pending>;

// Makes the receiver of a native outcome: brings it to the event loop, where `convert` makes the JavaScript value.
template <class T, class Convert>
Done<T> settle_with(Napi::Env env, PendingRef pending, Convert convert) {
  Environment* environment = &Environment::of(env);
  return [environment, pending = std::move(pending), convert = std::move(convert)](Outcome<T> outcome) mutable {
    auto shared = std::make_shared<Outcome<T>>(std::move(outcome));
    environment->post([pending = std::move(pending), convert = std::move(convert), shared](Napi::Env loop) mutable {
      if (loop == nullptr) {
        pending->abandon();
      } else if (const Error* error = std::get_if<Error>(shared.get())) {
        pending->reject(loop, *error);
      } else {
        pending->settle(loop, [&](Napi::Env js) { return convert(js, std::move(std::get<T>(*shared))); });
      }
    });
  };
}

}  // namespace sam3::binding
