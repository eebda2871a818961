#include "core/queries.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/prompt_checks.h"

namespace sam3 {
namespace {

constexpr float largest = std::numeric_limits<float>::max();

}  // namespace

PixelView to_query(const Pixels& pixels, const ReplicaState*, const BundleSpec&) {
  if (pixels.data == nullptr || pixels.width < 1 || pixels.height < 1 ||
      pixels.bytes / static_cast<std::size_t>(pixels.width) < static_cast<std::size_t>(pixels.height)) {
    refuse("The picture has fewer bytes than pixels.");
  }
  // From here on the pixels are no more than there are bytes: nothing overflows.
  if (pixels.yuv && pixels.bytes < yuv_bytes(pixels.width, pixels.height)) {
    refuse("The picture has fewer bytes than its planes of YUV 4:2:0.");
  }
  if (!pixels.yuv && pixels.bytes / 3 < static_cast<std::size_t>(pixels.width * pixels.height)) {
    refuse("The picture has fewer bytes than width * height * 3.");
  }
  return {pixels.data, pixels.width, pixels.height, pixels.yuv};
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
  check_exemplars(prompt.boxes, prompt.labels);
  if (std::isnan(prompt.threshold)) refuse("The threshold is not a number.");
  return {&prompt.image->tensors(), &prompt.text->tensors(), prompt.boxes, prompt.labels, prompt.threshold,
          prompt.semantic};
}

ObjectQuery to_query(const ObjectPrompt& prompt, const ReplicaState* owner, const BundleSpec& spec) {
  check_image(*prompt.image, owner);
  check_points(prompt.points, prompt.labels);
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
