#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

#include "core/bundle.h"
#include "core/error.h"
#include "core/memory.h"
#include "core/tensor_heap.h"
#include "core/tracker_constants.h"

namespace sam3 {

// What a replica's calls work on. The bundle is touched on the executor's thread only; the counts from anywhere.
class ReplicaState {
 public:
  explicit ReplicaState(c10::Device device) : device_(device) {}

  c10::Device device() const { return device_; }

  Bundle& bundle() {
    if (!bundle_) throw Error("INTERNAL", "The replica was asked to work before a bundle was loaded.");
    return *bundle_;
  }
  void set_bundle(std::optional<Bundle> bundle) {
    tracker_.reset();
    bundle_ = std::move(bundle);
    model_bytes = bundle_ ? bundle_->bytes() : 0;
  }

  // Read when they are first asked for: a replica that never sees a video needs none.
  const TrackerConstants& tracker() {
    if (!tracker_) tracker_.emplace(TrackerConstants::read(bundle(), device_));
    return *tracker_;
  }

  // Frees the model and gives the memory back to the device, not only to libtorch's cache of it. Never throws: it is
  // the last thing a replica does, also after the device has failed.
  void release() noexcept {
    try {
      set_bundle(std::nullopt);
      if (device_.is_cpu()) {
        trim_tensor_heap();  // what the C library keeps takes longer, and is not the model's
      } else {
        give_back_memory(device_);
      }
    } catch (...) {
    }
  }

  std::atomic<std::int64_t> model_bytes{0};
  std::atomic<std::int64_t> feature_bytes{0};

 private:
  c10::Device device_;
  std::optional<Bundle> bundle_;
  std::optional<TrackerConstants> tracker_;
};

}  // namespace sam3
