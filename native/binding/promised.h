#pragma once

#include <napi.h>

#include <memory>

#include "binding/environment.h"

namespace sam3::binding {

// Runs `call` with a fresh promise. What goes wrong on the way is a rejection, so that callers have one way to fail.
template <class Call>
Napi::Value promised(Napi::Env env, const Call& call) {
  const auto pending = std::make_shared<Pending>(env);
  const Napi::Promise promise = pending->promise();
  try {
    call(pending);
  } catch (const Error& error) {
    pending->reject(env, error);
  } catch (const Napi::Error& error) {
    pending->reject(env, Error("INVALID_ARGUMENT", error.Message()));
  }
  return promise;
}

}  // namespace sam3::binding
