#pragma once

#include <cstdint>
#include <vector>

#include "core/bundle_spec.h"
#include "core/tracker_constants.h"
#include "core/tracking.h"

namespace sam3 {

// Each throws INVALID_ARGUMENT for what makes no sense, would be work without end, or belongs to another replica than
// `owner`. Memories must be on the device where they are to be attended to.
void check(const DetectRequest& request, const ReplicaState* owner);
void check(const TrackRequest& request, const ReplicaState* owner, const TrackerConstants& constants);
void check(const SeedRequest& request, const ReplicaState* owner);
void check(const RememberRequest& request, const ReplicaState* owner);
void check(const CompareRequest& request, const ReplicaState* owner);
void check(const std::vector<MaskRow>& rows, const ReplicaState* owner);
void check_area(std::int64_t area);
void check_video_size(std::int64_t width, std::int64_t height);
void check(const std::vector<TrackMemoryRef>& memories, const ReplicaState* owner);

}  // namespace sam3
