#pragma once

#include <cstdint>
#include <memory>

namespace sam3 {

struct ImageTensors;
struct TextTensors;
struct MaskTensors;
struct PointerTensors;
struct TrackMemoryTensors;
class ReplicaState;

// Where tensors are. Only those on the device can be worked with.
enum class Tier { device, host };

// What a replica made and others only carry around: encoded pictures and texts, masks, pointers, memories of tracks.
// Releasing it frees its memory and the count of it. Thread-safe.
template <class Tensors>
class Features {
 public:
  Features(std::shared_ptr<ReplicaState> owner, Tensors tensors, Tier tier = Tier::device);
  ~Features();
  Features(const Features&) = delete;
  Features& operator=(const Features&) = delete;
  std::int64_t bytes() const { return bytes_; }
  Tier tier() const { return tier_; }
  const Tensors& tensors() const { return *tensors_; }
  const ReplicaState* owner() const { return owner_.get(); }

 private:
  std::shared_ptr<ReplicaState> owner_;
  std::unique_ptr<const Tensors> tensors_;
  std::int64_t bytes_;
  Tier tier_;
};

using ImageFeatures = Features<ImageTensors>;
using TextFeatures = Features<TextTensors>;
using Masks = Features<MaskTensors>;
using Pointers = Features<PointerTensors>;
using TrackMemory = Features<TrackMemoryTensors>;
extern template class Features<ImageTensors>;
extern template class Features<TextTensors>;
extern template class Features<MaskTensors>;
extern template class Features<PointerTensors>;
extern template class Features<TrackMemoryTensors>;

using ImageRef = std::shared_ptr<const ImageFeatures>;
using TextRef = std::shared_ptr<const TextFeatures>;
using MasksRef = std::shared_ptr<const Masks>;
using PointersRef = std::shared_ptr<const Pointers>;
using TrackMemoryRef = std::shared_ptr<const TrackMemory>;

}  // namespace sam3
