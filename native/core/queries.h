#pragma once

#include <cstdint>
#include <vector>

#include "core/bundle_spec.h"
#include "core/image_model.h"
#include "core/replica.h"

namespace sam3 {

// What is asked of a replica, as its model takes it; views and pointers into what was asked. Throws INVALID_ARGUMENT for
// what makes no sense, or would be work without end; `owner` is the replica that is asked.
PixelView to_query(const Pixels& pixels, const ReplicaState* owner, const BundleSpec& spec);
std::vector<std::int32_t> to_query(const std::vector<std::int32_t>& ids, const ReplicaState* owner,
                                   const BundleSpec& spec);
ConceptQuery to_query(const ConceptPrompt& prompt, const ReplicaState* owner, const BundleSpec& spec);
ObjectQuery to_query(const ObjectPrompt& prompt, const ReplicaState* owner, const BundleSpec& spec);

}  // namespace sam3
