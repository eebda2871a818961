#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <vector>

namespace sam3 {

// All immutable; their tensors may be released on any thread.

// Masks of several objects on one frame.
struct MaskTensors {
  at::Tensor logits;  // [n, m, m] fp32
  // For masks that were given and not decoded, the mask itself: [h, w] uint8, 0 or 1, of any size; the model's square is
  // made of it instead of its logits. Empty, or one per row, undefined where the row was decoded.
  std::vector<at::Tensor> given;

  std::int64_t bytes() const;
};

// Object pointers of several objects on one frame.
struct PointerTensors {
  at::Tensor rows;  // [n, Ct] fp32

  std::int64_t bytes() const;
};

// What one track keeps of one frame.
struct TrackMemoryTensors {
  at::Tensor map;      // [g * g, C] bf16, as transformers stores it
  at::Tensor pointer;  // [Ct] fp32

  std::int64_t bytes() const;
  // A copy on `device`, also where that is where they are.
  TrackMemoryTensors copy_to(c10::Device device) const;
};

}  // namespace sam3
