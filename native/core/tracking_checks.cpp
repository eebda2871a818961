#include "core/tracking_checks.h"

#include <algorithm>
#include <limits>
#include <string>

#include "core/features.h"
#include "core/prompt_checks.h"
#include "core/track_tensors.h"

namespace sam3 {
namespace {

void check_row(const MaskRow& row, const ReplicaState* owner) {
  if (row.masks->owner() != owner) refuse("The masks were made by another replica.");
  if (row.row < 0 || row.row >= row.masks->tensors().logits.size(0)) {
    refuse("There is no mask " + std::to_string(row.row) + " among " +
           std::to_string(row.masks->tensors().logits.size(0)) + ".");
  }
}

void check_memory(const TrackMemory& memory, const ReplicaState* owner, bool on_device) {
  if (memory.owner() != owner) refuse("The memory was made by another replica.");
  if (on_device && memory.tier() != Tier::device) refuse("A memory is in the host's memory. Move it back first.");
}

void check_item(const TrackItem& item, const ReplicaState* owner, const TrackerConstants& constants) {
  if (item.rows.size() != item.memories.size()) refuse("A memory has one row of the temporal table.");
  if (item.ages.size() != item.pointers.size()) refuse("A pointer has one age.");
  if (item.memories.empty() && !item.pointers.empty()) refuse("Pointers are attended to together with memories only.");
  for (const std::int32_t row : item.rows) {
    if (row < 0 || row >= constants.temporal_rows()) {
      refuse("The temporal table has " + std::to_string(constants.temporal_rows()) + " rows, there is no row " +
             std::to_string(row) + ".");
    }
  }
  if (!all_within(item.ages, 1e6f)) refuse("A pointer's age is not a number, or wild.");
  for (const auto& memory : item.memories) check_memory(*memory, owner, /*on_device=*/true);
  for (const auto& memory : item.pointers) check_memory(*memory, owner, /*on_device=*/true);
  check_points(item.points, item.labels);
}

}  // namespace

void check(const DetectRequest& request, const ReplicaState* owner) {
  check_image(*request.image, owner);
  for (const DetectPrompt& prompt : request.prompts) {
    if (prompt.text->owner() != owner) refuse("The text was encoded by another replica.");
    check_exemplars(prompt.boxes, prompt.labels);
  }
  if (std::isnan(request.threshold) || std::isnan(request.overlap_threshold)) refuse("A threshold is not a number.");
}

void check(const TrackRequest& request, const ReplicaState* owner, const TrackerConstants& constants) {
  check_image(*request.image, owner);
  for (const TrackItem& item : request.items) check_item(item, owner, constants);
  check_area(request.clean_area);
}

void check(const SeedRequest& request, const ReplicaState* owner) {
  check_image(*request.image, owner);
  const ImageTensors& image = request.image->tensors();
  for (const SeedMask& item : request.items) {
    if (const auto* row = std::get_if<MaskRow>(&item)) {
      check_row(*row, owner);
      continue;
    }
    const auto& counts = std::get<std::vector<std::uint32_t>>(item);
    std::uint64_t sum = 0;
    for (const std::uint32_t run : counts) sum += run;
    if (sum != static_cast<std::uint64_t>(image.width * image.height)) {
      refuse("A mask's run lengths sum to " + std::to_string(sum) + ", the frame has " +
             std::to_string(image.width * image.height) + " pixels.");
    }
  }
}

void check(const RememberRequest& request, const ReplicaState* owner) {
  check_image(*request.image, owner);
  for (const RememberRow& row : request.rows) {
    check_row(row.mask, owner);
    if (row.pointers->owner() != owner) refuse("The pointers were made by another replica.");
    if (row.pointer_row < 0 || row.pointer_row >= row.pointers->tensors().rows.size(0)) {
      refuse("There is no pointer " + std::to_string(row.pointer_row) + ".");
    }
    if (std::isnan(row.object_score)) refuse("An object's score is not a number.");
  }
}

void check(const CompareRequest& request, const ReplicaState* owner) {
  check(request.a, owner);
  check(request.b, owner);
}

void check(const std::vector<MaskRow>& rows, const ReplicaState* owner) {
  for (const MaskRow& row : rows) check_row(row, owner);
}

void check_area(std::int64_t area) {
  if (area < 0) refuse("An area is at least 0.");
}

void check_video_size(std::int64_t width, std::int64_t height) {
  // Run lengths count in 32 bits.
  constexpr std::int64_t most = std::numeric_limits<std::uint32_t>::max();
  if (width < 1 || height < 1 || width > most / height) refuse("A video's size is at least 1 × 1, and not that large.");
}

void check(const std::vector<TrackMemoryRef>& memories, const ReplicaState* owner) {
  for (const auto& memory : memories) check_memory(*memory, owner, /*on_device=*/false);
}

}  // namespace sam3
