#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "core/error.h"

namespace sam3 {

// Is told when a token that it was attached to is cancelled.
class CancelListener {
 public:
  virtual ~CancelListener() = default;
  virtual void cancelled() = 0;
};

// Asks work to stop before its next stage. Thread-safe.
class CancelToken {
 public:
  void cancel() {
    if (cancelled_.exchange(true)) return;
    std::vector<std::weak_ptr<CancelListener>> listeners;
    {
      std::lock_guard lock(mutex_);
      listeners.swap(listeners_);
    }
    for (const auto& weak : listeners) {
      if (auto listener = weak.lock()) listener->cancelled();
    }
  }

  bool is_cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

  void throw_if_cancelled() const {
    if (is_cancelled()) throw Error("ABORTED", "The call was cancelled.");
  }

  // Attaching the same listener again changes nothing, so that a long-lived token does not grow with every call.
  void attach(const std::shared_ptr<CancelListener>& listener) {
    std::lock_guard lock(mutex_);
    std::erase_if(listeners_, [](const auto& weak) { return weak.expired(); });
    const bool known = std::any_of(listeners_.begin(), listeners_.end(),
                                   [&](const auto& weak) { return weak.lock() == listener; });
    if (!known) listeners_.push_back(listener);
  }

 private:
  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;
  std::vector<std::weak_ptr<CancelListener>> listeners_;
};

using CancelRef = std::shared_ptr<CancelToken>;

}  // namespace sam3
