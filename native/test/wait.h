#pragma once

// A replica's calls as plain functions.

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "core/cancel.h"
#include "core/error.h"

namespace sam3::test {

inline CancelRef token() { return std::make_shared<CancelToken>(); }

// Waits for what a call came to.
template <class T, class Call>
Outcome<T> wait_for(const Call& call) {
  std::promise<Outcome<T>> promise;
  call([&](Outcome<T> outcome) { promise.set_value(std::move(outcome)); });
  return promise.get_future().get();
}

template <class T>
std::string code_of(const Outcome<T>& outcome) {
  const Error* error = std::get_if<Error>(&outcome);
  return error ? error->code() : "none";
}

// What it came to; throws what it failed with.
template <class T, class Call>
T get(const Call& call) {
  Outcome<T> outcome = wait_for<T>(call);
  if (const Error* error = std::get_if<Error>(&outcome)) throw *error;
  return std::move(std::get<T>(outcome));
}

}  // namespace sam3::test
