#pragma once

#include <napi.h>

#include <cstdint>
#include <vector>

#include "core/bundle_spec.h"
#include "core/memory.h"
#include "core/replica.h"
#include "core/results.h"

namespace sam3::binding {

// Between the objects of lib/native/addon.ts and ours. Reading throws a TypeError, or DISPOSED, for what is not as it
// should be; it copies everything but pixels. Used on the environment's thread.

BundleSpec read_bundle(const Napi::Object& object);
// The bytes stay where they are: whoever reads keeps `pixels_data` alive.
Pixels read_pixels(const Napi::Object& item);
Napi::Object pixels_data(const Napi::Object& item);
std::vector<std::int32_t> read_ids(const Napi::Object& item);
ConceptPrompt read_concept(const Napi::Object& item);
ObjectPrompt read_object(const Napi::Object& item);
// `device` or `host`.
Tier read_tier(const Napi::Value& value);

Napi::Value write(Napi::Env env, const ConceptFinding& finding);
Napi::Value write(Napi::Env env, const ObjectFinding& finding);
Napi::Value write(Napi::Env env, const ImageRef& features);
Napi::Value write(Napi::Env env, const TextRef& features);
Napi::Value write(Napi::Env env, const MemoryView& memory, const ReplicaStats& stats);

}  // namespace sam3::binding
