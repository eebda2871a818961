#pragma once

// Replica::submit, for the files that hold a replica's calls.

#include <c10/core/DeviceGuard.h>

#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/replica.h"
#include "core/replica_state.h"

namespace sam3 {

template <class T>
void Replica::submit(std::vector<CancelRef> cancels, const char* doing, std::function<T(double queue_ms)> work,
                     Done<T> done, std::function<Outcome<T>(const Error&)> when_refused) {
  const auto shared_done = std::make_shared<Done<T>>(std::move(done));
  const auto device = state_->device().is_cpu() ? std::nullopt : std::optional<c10::Device>(state_->device());
  std::erase(cancels, nullptr);
  executor_.submit({[doing, device, work = std::move(work), shared_done](double queue_ms) -> std::function<void()> {
                      const auto outcome = std::make_shared<std::optional<Outcome<T>>>();
                      try {
                        const c10::OptionalDeviceGuard current(device);
                        outcome->emplace(work(queue_ms));
                      } catch (...) {
                        outcome->emplace(name_failure(std::current_exception(), "MODEL_FAILED", doing));
                      }
                      return [outcome, shared_done] { (*shared_done)(std::move(**outcome)); };
                    },
                    [shared_done, when_refused = std::move(when_refused)](const Error& why) {
                      (*shared_done)(when_refused ? when_refused(why) : Outcome<T>(why));
                    },
                    std::move(cancels)});
}

}  // namespace sam3
