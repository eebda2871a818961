#include "core/prompt_checks.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace sam3 {

void refuse(const std::string& message) { throw Error("INVALID_ARGUMENT", message); }

bool all_within(const std::vector<float>& values, float limit) {
  return std::all_of(values.begin(), values.end(), [limit](float value) { return std::fabs(value) <= limit; });
}

void check_image(const ImageFeatures& image, const ReplicaState* owner) {
  if (image.owner() != owner) refuse("The picture was encoded by another replica.");
  if (image.tier() != Tier::device) refuse("The picture's features are in the host's memory. Move them back first.");
}

void check_exemplars(const std::vector<float>& boxes, const std::vector<std::uint8_t>& labels) {
  if (boxes.size() != labels.size() * 4) refuse("An exemplar box is four numbers and one label.");
  // The features under a box are sampled as densely as it is large: a wild one would be sampled for years.
  if (!all_within(boxes, 2)) refuse("An exemplar box is not a number, or far outside the picture.");
  if (std::any_of(labels.begin(), labels.end(), [](std::uint8_t label) { return label > 1; })) {
    refuse("An exemplar's label is 0 or 1.");
  }
}

void check_points(const std::vector<float>& points, const std::vector<std::int32_t>& labels) {
  if (points.size() != labels.size() * 2) refuse("A point is two numbers and one label.");
  if (!all_within(points, 1e9f)) refuse("A point is not a number, or far outside the picture.");
  if (std::any_of(labels.begin(), labels.end(), [](std::int32_t label) { return label < 0 || label > 3; })) {
    refuse("A point's label is 0, 1, 2 or 3.");
  }
}

}  // namespace sam3
