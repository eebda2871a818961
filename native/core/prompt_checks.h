#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/handles.h"

namespace sam3 {

// What prompts for pictures and for frames are refused for; each throws INVALID_ARGUMENT.

[[noreturn]] void refuse(const std::string& message);
// False for what is not a number, too.
bool all_within(const std::vector<float>& values, float limit);
void check_image(const ImageFeatures& image, const ReplicaState* owner);
void check_exemplars(const std::vector<float>& boxes, const std::vector<std::uint8_t>& labels);
void check_points(const std::vector<float>& points, const std::vector<std::int32_t>& labels);

}  // namespace sam3
