#pragma once

#include <napi.h>

#include <vector>

#include "core/tracking.h"

namespace sam3::binding {

// As convert.h, for the tracker's calls.

DetectRequest read_detect(const Napi::Object& request);
TrackRequest read_track(const Napi::Object& request);
SeedRequest read_seed(const Napi::Object& request);
RememberRequest read_remember(const Napi::Object& request);
CompareRequest read_compare(const Napi::Object& request);
// The list `key` of a request.
std::vector<MaskRow> read_rows(const Napi::Object& request, const char* key);
std::vector<TrackMemoryRef> read_memories(const Napi::Value& list);
std::vector<MemoryBlock> read_blocks(const Napi::Value& list);

Napi::Value write(Napi::Env env, const Detections& found);
Napi::Value write(Napi::Env env, const Tracked& tracked);
Napi::Value write(Napi::Env env, const Comparison& comparison);
Napi::Value write(Napi::Env env, const MasksRef& masks);
Napi::Value write(Napi::Env env, const std::vector<ReadMask>& masks);
Napi::Value write(Napi::Env env, const std::vector<TrackMemoryRef>& memories);
Napi::Value write(Napi::Env env, const std::vector<MemoryBlock>& blocks);

}  // namespace sam3::binding
