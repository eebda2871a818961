#include "core/features.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <unordered_set>

#include "core/track_tensors.h"

namespace sam3 {
namespace {

at::Tensor copy_of(const at::Tensor& tensor, c10::Device device) {
  return tensor.to(tensor.options().device(device), /*non_blocking=*/false, /*copy=*/true);
}

std::int64_t storage_bytes(const std::vector<const at::Tensor*>& tensors) {
  std::unordered_set<const void*> seen;
  std::int64_t bytes = 0;
  for (const at::Tensor* tensor : tensors) {
    if (!tensor->defined() || !seen.insert(tensor->storage().unsafeGetStorageImpl()).second) continue;
    bytes += static_cast<std::int64_t>(tensor->storage().nbytes());
  }
  return bytes;
}

}  // namespace

std::int64_t ImageTensors::bytes() const {
  return storage_bytes({&fine, &middle, &coarse, &tracker_fine, &tracker_middle, &tracker_coarse});
}

ImageTensors ImageTensors::copy_to(c10::Device device) const {
  const auto copy = [device](const at::Tensor& tensor) { return copy_of(tensor, device); };
  return {copy(fine),           copy(middle),         copy(coarse), copy(tracker_fine),
          copy(tracker_middle), copy(tracker_coarse), width,        height};
}

at::Tensor rows_of(const std::vector<const ImageTensors*>& images, at::Tensor ImageTensors::* map) {
  if (std::all_of(images.begin(), images.end(), [&](const ImageTensors* image) { return image == images[0]; })) {
    return (images[0]->*map).expand({static_cast<std::int64_t>(images.size()), -1, -1, -1});
  }
  std::vector<at::Tensor> rows;
  for (const ImageTensors* image : images) rows.push_back(image->*map);
  return at::cat(rows);
}

std::int64_t TextTensors::bytes() const { return storage_bytes({&tokens}); }

std::int64_t MaskTensors::bytes() const {
  std::vector<const at::Tensor*> all{&logits};
  for (const at::Tensor& plane : given) all.push_back(&plane);
  return storage_bytes(all);
}

std::int64_t PointerTensors::bytes() const { return storage_bytes({&rows}); }

std::int64_t TrackMemoryTensors::bytes() const { return storage_bytes({&map, &pointer}); }

TrackMemoryTensors TrackMemoryTensors::copy_to(c10::Device device) const {
  return {copy_of(map, device), copy_of(pointer, device)};
}

}  // namespace sam3
