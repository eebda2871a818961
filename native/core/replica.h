#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/bundle_spec.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/executor.h"
#include "core/results.h"

namespace sam3 {

struct ImageTensors;
struct TextTensors;
class ReplicaState;

// What an encoded picture or text is to those who only carry it around; releasing it frees the device's memory and
// the count of it. Thread-safe.
class ImageFeatures {
 public:
  ImageFeatures(std::shared_ptr<ReplicaState> owner, ImageTensors tensors);
  ~ImageFeatures();
  ImageFeatures(const ImageFeatures&) = delete;
  ImageFeatures& operator=(const ImageFeatures&) = delete;
  std::int64_t width() const;
  std::int64_t height() const;
  std::int64_t bytes() const { return bytes_; }
  const ImageTensors& tensors() const { return *tensors_; }
  const ReplicaState* owner() const { return owner_.get(); }

 private:
  std::shared_ptr<ReplicaState> owner_;
  std::unique_ptr<const ImageTensors> tensors_;
  std::int64_t bytes_;
};

class TextFeatures {
 public:
  TextFeatures(std::shared_ptr<ReplicaState> owner, TextTensors tensors);
  ~TextFeatures();
  TextFeatures(const TextFeatures&) = delete;
  TextFeatures& operator=(const TextFeatures&) = delete;
  std::int64_t bytes() const { return bytes_; }
  const TextTensors& tensors() const { return *tensors_; }
  const ReplicaState* owner() const { return owner_.get(); }

 private:
  std::shared_ptr<ReplicaState> owner_;
  std::unique_ptr<const TextTensors> tensors_;
  std::int64_t bytes_;
};

using ImageRef = std::shared_ptr<const ImageFeatures>;
using TextRef = std::shared_ptr<const TextFeatures>;

// Interleaved 8-bit RGB that the caller keeps alive until the call is done.
struct Pixels {
  const std::uint8_t* data = nullptr;
  std::size_t bytes = 0;
  std::int64_t width = 0;
  std::int64_t height = 0;
};

struct ConceptPrompt {
  TextRef text;
  std::vector<float> boxes;
  std::vector<std::uint8_t> labels;
  double threshold = 0.5;
};

struct LoadReport {
  std::int64_t model_bytes = 0;
  double load_ms = 0;
};

struct Encoding {
  ImageRef features;
  double encode_ms = 0;
  double queue_ms = 0;
};

struct ConceptAnswer {
  std::vector<ConceptFinding> prompts;
  double decode_ms = 0;
  double queue_ms = 0;
};

struct ReplicaStats {
  std::size_t queued = 0;
  bool running = false;
  std::int64_t model_bytes = 0;
  std::int64_t feature_bytes = 0;
};

// Receives what a call came to, exactly once, on the executor's thread or on one that closes or cancels.
template <class T>
using Done = std::function<void(Outcome<T>)>;

// One copy of a model on one device with its own thread and queue; every method returns at once. Thread-safe.
class Replica {
 public:
  // Throws DEVICE_UNKNOWN. `threads` 0: as many as physical cores.
  Replica(const std::string& device, int threads);
  ~Replica();

  void load(BundleSpec spec, CancelRef cancel, PartCallback on_part, Done<LoadReport> done);
  void encode_image(Pixels pixels, CancelRef cancel, Done<Encoding> done);
  void encode_texts(std::vector<std::vector<std::int32_t>> ids, CancelRef cancel, Done<std::vector<TextRef>> done);
  void segment_concepts(ImageRef image, std::vector<ConceptPrompt> prompts, CancelRef cancel, Done<ConceptAnswer> done);
  ReplicaStats stats() const;
  // Refuses what waits with DISPOSED, lets what runs end, frees the model, then calls `done` on the executor's thread.
  void close(std::function<void()> done);
  // Asks everything that waits or runs to stop.
  void cancel_all();
  // Cancels, closes and waits for the thread. One caller at a time.
  void shut_down();

 private:
  template <class T>
  void submit(CancelRef cancel, const char* doing, std::function<T(double queue_ms)> work, Done<T> done);

  std::shared_ptr<ReplicaState> state_;
  Executor executor_;
};

}  // namespace sam3
