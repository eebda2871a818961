#include "core/queries.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace sam3 {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error("INVALID_ARGUMENT", message); }

constexpr float largest = std::numeric_limits<float>::max();

// False for what is not a number, too.
bool all_within(const std::vector<float>& values, float limit) {
  return std::all_of(values.begin(), values.end(), [limit](float value) { return std::fabs(value) <= limit; });
}

void check_image(const ImageFeatures& image, const ReplicaState* owner) {
  if (image.owner() != owner) refuse("The picture was encoded by another replica.");
  if (image.tier() != Tier::device) refuse("The picture's features are in the host's memory. Move them back first.");
}

}  // namespace

PixelView to_query(const Pixels& pixels, const ReplicaState*, const BundleSpec&) {
  if (pixels.data == nullptr || pixels.width < 1 || pixels.height < 1 ||
      pixels.bytes / 3 / static_cast<std::size_t>(pixels.width) < static_cast<std::size_t>(pixels.height)) {
    refuse("The picture has fewer bytes than width * height * 3.");
  }
  return {pixels.data, pixels.width, pixels.height};
}

std::vector<std::int32_t> to_query(const std::vector<std::int32_t>& ids, const ReplicaState*, const BundleSpec& spec) {
  if (ids.empty() || static_cast<std::int64_t>(ids.size()) > spec.context_length) {
    refuse("A text is 1 to " + std::to_string(spec.context_length) + " tokens, not " + std::to_string(ids.size()) + ".");
  }
  if (std::any_of(ids.begin(), ids.end(), [](std::int32_t id) { return id < 0; })) refuse("A token is negative.");
  return ids;
}

ConceptQuery to_query(const ConceptPrompt& prompt, const ReplicaState* owner, const BundleSpec&) {
  check_image(*prompt.image, owner);
  if (prompt.text->owner() != owner) refuse("The text was encoded by another replica.");
  if (prompt.boxes.size() != prompt.labels.size() * 4) refuse("An exemplar box is four numbers and one label.");
  // The features under a box are sampled as densely as it is large: a wild one would be sampled for years.
  if (!all_within(prompt.boxes, 2)) refuse("An exemplar box is not a number, or far outside the picture.");
  if (std::any_of(prompt.labels.begin(), prompt.labels.end(), [](std::uint8_t label) { return label > 1; })) {
    refuse("An exemplar's label is 0 or 1.");
  }
  if (std::isnan(prompt.threshold)) refuse("The threshold is not a number.");
  return {&prompt.image->tensors(), &prompt.text->tensors(), prompt.boxes, prompt.labels, prompt.threshold,
          prompt.semantic};
}

ObjectQuery to_query(const ObjectPrompt& prompt, const ReplicaState* owner, const BundleSpec& spec) {
  check_image(*prompt.image, owner);
  if (prompt.points.size() != prompt.labels.size() * 2) refuse("A point is two numbers and one label.");
  if (!all_within(prompt.points, 1e9f)) refuse("A point is not a number, or far outside the picture.");
  if (std::any_of(prompt.labels.begin(), prompt.labels.end(), [](std::int32_t label) { return label < 0 || label > 3; })) {
    refuse("A point's label is 0, 1, 2 or 3.");
  }
  if (prompt.labels.empty() && !prompt.has_mask) refuse("An object prompt needs a point, a box or a mask.");
  const auto cells = static_cast<std::size_t>(spec.mask_size * spec.mask_size);
  if (prompt.has_mask && prompt.mask.size() != cells) {
    refuse("A prompt's mask has " + std::to_string(cells) + " cells, not " + std::to_string(prompt.mask.size()) + ".");
  }
  if (!all_within(prompt.mask, largest)) refuse("A prompt's mask holds something that is not a number.");
  if (!(std::fabs(prompt.mask_threshold) <= largest)) refuse("The mask threshold is not a number.");
  return {&prompt.image->tensors(), prompt.points,         prompt.labels,        prompt.mask,
          prompt.multimask,         prompt.mask_threshold, prompt.max_hole_area, prompt.max_sprinkle_area};
}

}  // namespace sam3
