#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/cancel.h"
#include "core/replica_state.h"
#include "core/track_tensors.h"
#include "core/tracking.h"

namespace sam3 {

struct ImageTensors;
struct ObjectTensors;

// One call to the tracker's half of a model. What is asked was checked. Work that does not fit in memory at once is done
// in pieces; between them the call can be cancelled. Not thread-safe: used on its replica's executor thread, under
// inference mode.
class Tracker {
 public:
  Tracker(std::shared_ptr<ReplicaState> owner, const CancelToken& cancel);

  Detections detect(const DetectRequest& request);
  Tracked track(const TrackRequest& request);
  Tracked seed(const SeedRequest& request);
  std::vector<TrackMemoryRef> remember(const RememberRequest& request);
  MasksRef clean(const std::vector<MaskRow>& rows, std::int64_t area);

 private:
  // Masks, pointers and scores of several objects, on the device.
  struct Decoded {
    at::Tensor masks;          // [n, m, m] fp32
    at::Tensor pointers;       // [n, Ct] fp32
    at::Tensor object_scores;  // [n] fp32
    at::Tensor quality;        // [n] fp32
    at::Tensor numbers;        // [] bool: whether the decoder answered with numbers
  };

  at::Tensor none_masks() const;
  MasksRef own_masks(at::Tensor logits, std::vector<at::Tensor> given = {}) const;
  PointersRef own_pointers(at::Tensor rows) const;
  // Of the four tokens the one that counts; `best_of_three` for at most one point, and without any.
  Decoded choose(const ObjectTensors& answer, bool best_of_three) const;
  // Throws MODEL_FAILED.
  void expect_numbers(const Decoded& decoded) const;
  Decoded track_some(const ImageTensors& image, const std::vector<const TrackItem*>& items);
  // The frame's features as each item's memories and pointers change them.
  at::Tensor attend(const ImageTensors& image, const std::vector<const TrackItem*>& items);
  at::Tensor pointer_position(const at::Tensor& ages) const;
  Decoded seed_some(const ImageTensors& image, const at::Tensor& squares);
  // Masks of the frame as the memory encoder wants them, [n, 1, 16g, 16g], not yet scaled.
  at::Tensor masks_to_remember(const RememberRequest& request, std::size_t begin, const at::Tensor& logits) const;
  std::int64_t attention_bytes(const ImageTensors& image, std::int64_t frames, std::int64_t pointers) const;

  std::shared_ptr<ReplicaState> state_;
  const CancelToken& cancel_;
  Bundle& bundle_;
  const BundleSpec& spec_;
  const TrackerConstants& constants_;
};

}  // namespace sam3
