#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/bundle_spec.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/executor.h"
#include "core/handles.h"
#include "core/memory.h"
#include "core/results.h"
#include "core/tracking.h"
#include "core/yuv.h"

namespace sam3 {

// Interleaved 8-bit RGB, or planar YUV 4:2:0, that the caller keeps alive until the call is done.
struct Pixels {
  const std::uint8_t* data = nullptr;
  std::size_t bytes = 0;
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::optional<YuvKind> yuv = std::nullopt;
};

struct ConceptPrompt {
  ImageRef image;
  TextRef text;
  // Centre x, centre y, width, height in 0–1, one after the other.
  std::vector<float> boxes;
  std::vector<std::uint8_t> labels;
  double threshold = 0.5;
  bool semantic = false;
};

// See ObjectQuery.
struct ObjectPrompt {
  ImageRef image;
  std::vector<float> points;
  std::vector<std::int32_t> labels;
  std::vector<float> mask;
  bool has_mask = false;
  bool multimask = false;
  double mask_threshold = 0;
  std::int64_t max_hole_area = 0;
  std::int64_t max_sprinkle_area = 0;
};

// One item of a list call: what is asked, or why that could not be read, and who may cancel it.
template <class T>
struct Item {
  Outcome<T> asked;
  CancelRef cancel;
};

// The answers to a list call, in the order of its items.
template <class T>
struct Batch {
  std::vector<Outcome<T>> items;
  // Milliseconds of work, and of waiting for the executor.
  double work_ms = 0;
  double queue_ms = 0;
};

struct LoadReport {
  std::int64_t model_bytes = 0;
  double load_ms = 0;
};

struct ReplicaStats {
  std::size_t queued = 0;
  bool running = false;
  std::int64_t model_bytes = 0;
  // On the device; what was moved to the host is not counted.
  std::int64_t feature_bytes = 0;
};

// Receives what a call came to, exactly once, on the executor's thread or on one that closes or cancels.
template <class T>
using Done = std::function<void(Outcome<T>)>;

// One copy of a model on one device with its own thread and queue; every method returns at once. A list call fails as a
// whole only with DISPOSED or INTERNAL; else every item has its own outcome. Thread-safe.
class Replica {
 public:
  // Throws DEVICE_UNKNOWN. `threads`: those it computes with on the CPU, whatever others have; 0: as many as physical
  // cores.
  Replica(const std::string& device, int threads);
  ~Replica();

  void load(BundleSpec spec, CancelRef cancel, PartCallback on_part, Done<LoadReport> done);
  // `at_once`: most items in one forward.
  void encode_images(std::vector<Item<Pixels>> items, std::size_t at_once, Done<Batch<ImageRef>> done);
  void encode_texts(std::vector<Item<std::vector<std::int32_t>>> items, std::size_t at_once, Done<Batch<TextRef>> done);
  void segment_concepts(std::vector<Item<ConceptPrompt>> items, std::size_t at_once, Done<Batch<ConceptFinding>> done);
  void segment_objects(std::vector<Item<ObjectPrompt>> items, std::size_t at_once, Done<Batch<ObjectFinding>> done);
  // A copy in the other memory; on the CPU, where there is only one, a copy that says so.
  void move_features(ImageRef features, Tier to, CancelRef cancel, Done<ImageRef> done);
  // The tracker's calls; see lib/native/addon.ts for what each does. One token per call.
  void detect_concepts(DetectRequest request, CancelRef cancel, Done<Detections> done);
  void track_objects(TrackRequest request, CancelRef cancel, Done<Tracked> done);
  void seed_objects(SeedRequest request, CancelRef cancel, Done<Tracked> done);
  void remember_objects(RememberRequest request, CancelRef cancel, Done<std::vector<TrackMemoryRef>> done);
  void compare_masks(CompareRequest request, CancelRef cancel, Done<Comparison> done);
  void clean_masks(std::vector<MaskRow> rows, std::int64_t area, CancelRef cancel, Done<MasksRef> done);
  void read_masks(std::vector<MaskRow> rows, std::int64_t width, std::int64_t height, CancelRef cancel,
                  Done<std::vector<ReadMask>> done);
  void move_memories(std::vector<TrackMemoryRef> memories, Tier to, CancelRef cancel,
                     Done<std::vector<TrackMemoryRef>> done);
  void save_memories(std::vector<TrackMemoryRef> memories, CancelRef cancel, Done<std::vector<MemoryBlock>> done);
  void restore_memories(std::vector<MemoryBlock> blocks, CancelRef cancel, Done<std::vector<TrackMemoryRef>> done);
  // Gives memory that is kept for later back to the device.
  void trim(Done<std::monostate> done);
  // Throws DEVICE_FAULT where the device does not answer.
  MemoryView memory() const;
  ReplicaStats stats() const;
  // Refuses what waits with DISPOSED, lets what runs end, frees the model, then calls `done` on the executor's thread.
  void close(std::function<void()> done);
  // Asks everything that waits or runs to stop.
  void cancel_all();
  // Cancels, closes and waits for the thread. One caller at a time.
  void shut_down();

 private:
  template <class T>
  void submit(std::vector<CancelRef> cancels, const char* doing, std::function<T(double queue_ms)> work, Done<T> done,
              std::function<Outcome<T>(const Error&)> when_refused = {});
  template <class T, class Work>
  void submit_tracking(CancelRef cancel, const char* doing, Work work, Done<T> done);
  template <class Asked, class Answer, class Work>
  void submit_batch(std::vector<Item<Asked>> items, const char* doing, Work work, Done<Batch<Answer>> done);

  std::shared_ptr<ReplicaState> state_;
  Executor executor_;
};

}  // namespace sam3
