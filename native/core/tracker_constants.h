#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>

#include "core/bundle.h"

namespace sam3 {

// A tensor of the part tracker_constants. Throws BUNDLE_INVALID where it has none of that name.
at::Tensor tracker_constant(Bundle& bundle, const char* name);

// What the tracking loop needs outside any network, fp32 and on the device; Ct channels of the tracker, C of a memory.
struct TrackerConstants {
  at::Tensor no_memory;          // [1, Ct, 1, 1]
  at::Tensor no_object_pointer;  // [1, Ct]
  at::Tensor no_object_spatial;  // [1, C]
  at::Tensor memory_temporal;    // [rows, C]
  at::Tensor pointer_weight;     // [C, Ct]
  at::Tensor pointer_bias;       // [C]
  at::Tensor downsample_weight;  // [1, 1, 4, 4]
  at::Tensor downsample_bias;    // [1]
  // Where in the frame each token of a memory lies: what the memory encoder says of any memory.
  at::Tensor memory_position;  // [1, g * g, C]
  // Tells models apart, the same on every device: a memory of one means nothing to another.
  std::uint64_t fingerprint = 0;

  std::int64_t width() const { return no_object_pointer.size(1); }
  std::int64_t channels() const { return no_object_spatial.size(1); }
  std::int64_t temporal_rows() const { return memory_temporal.size(0); }

  // Throws BUNDLE_INVALID, or BUNDLE_PART_MISSING.
  static TrackerConstants read(Bundle& bundle, c10::Device device);
};

}  // namespace sam3
