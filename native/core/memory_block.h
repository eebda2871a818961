#pragma once

#include <cstdint>

#include "core/track_tensors.h"
#include "core/tracker_constants.h"
#include "core/tracking.h"

namespace sam3 {

// One memory as bytes that outlive the process: a header with version, sizes, the model's fingerprint and a checksum,
// the map as bf16, the pointer as fp32, all little-endian.
MemoryBlock write_block(const TrackMemoryTensors& memory, std::uint64_t fingerprint);

// The memory on the CPU. Throws INVALID_ARGUMENT where the bytes are damaged, of a newer version or of another model.
TrackMemoryTensors read_block(const MemoryBlock& block, const TrackerConstants& constants, std::int64_t cells);

}  // namespace sam3
