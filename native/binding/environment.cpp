#include "binding/environment.h"

#include <algorithm>
#include <utility>

namespace sam3::binding {

Environment::Environment(Napi::Env env)
    : env_(env), loop_(Loop::New(env, "sam3", 0, 1)) {
  loop_.Unref(env);
}

Environment::~Environment() { shut_down(); }

void Environment::call_js(Napi::Env env, Napi::Function, std::nullptr_t*, Job* job) {
  const std::unique_ptr<Job> owned(job);
  if (env == nullptr) {
    (*owned)(Napi::Env(nullptr));
    return;
  }
  const Napi::HandleScope scope(env);
  try {
    (*owned)(env);
  } catch (const Napi::Error&) {
    // A worker that is being terminated: Node-API refuses all that could run JavaScript, the rejection of a promise
    // included. Nobody is left to be told, and the cleanup hook lets go of everything.
  }
}

void Environment::post(Job job) {
  auto owned = std::make_unique<Job>(std::move(job));
  if (loop_.NonBlockingCall(owned.get()) == napi_ok) {
    owned.release();
  } else {
    (*owned)(Napi::Env(nullptr));
  }
}

void Environment::begin() {
  if (pending_++ == 0) loop_.Ref(env_);
}

void Environment::end() {
  if (--pending_ == 0) loop_.Unref(env_);
}

void Environment::adopt(std::shared_ptr<Replica> replica) { replicas_.push_back(std::move(replica)); }

void Environment::retire(std::shared_ptr<Replica> replica) {
  // After shut_down() nothing is known here any more, and the replica's thread has ended.
  if (std::erase(replicas_, replica) == 0) return;
  replica->cancel_all();
  // What destroys the replica must be neither its own thread nor a wait: it goes to the event loop when it has ended.
  auto* const raw = replica.get();
  retiring_.push_back(std::move(replica));
  raw->close([this, raw] {
    post([this, raw](Napi::Env env) {
      if (env == nullptr) return;
      std::erase_if(retiring_, [raw](const auto& known) { return known.get() == raw; });
    });
  });
}

void Environment::shut_down() {
  for (const auto* list : {&replicas_, &retiring_}) {
    for (const auto& replica : *list) replica->cancel_all();
  }
  for (auto* list : {&replicas_, &retiring_}) {
    for (const auto& replica : *list) replica->shut_down();
    list->clear();
  }
}

Napi::Error coded_error(Napi::Env env, const Error& error) {
  Napi::Error result = Napi::Error::New(env, error.what());
  result.Set("code", Napi::String::New(env, error.code()));
  return result;
}

void Pending::settle(Napi::Env env, const std::function<Napi::Value(Napi::Env)>& value) {
  kept_.clear();
  Environment::of(env).end();
  Napi::Value made;
  Napi::Value failure;
  try {
    made = value(env);
  } catch (const Napi::Error& error) {
    failure = error.Value();
  } catch (const std::exception& error) {
    failure = coded_error(env, Error("INTERNAL", error.what())).Value();
  }
  // Exactly one of them: even where it fails, the deferred is used up.
  if (failure.IsEmpty()) {
    deferred_.Resolve(made);
  } else {
    deferred_.Reject(failure);
  }
}

void Pending::reject(Napi::Env env, const Error& error) {
  kept_.clear();
  Environment::of(env).end();
  deferred_.Reject(coded_error(env, error).Value());
}

void Pending::abandon() {
  for (auto& reference : kept_) reference.SuppressDestruct();
}

}  // namespace sam3::binding
