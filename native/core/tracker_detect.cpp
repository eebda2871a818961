// The half of Tracker that finds every instance of concepts on a frame.

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/features.h"
#include "core/image_model.h"
#include "core/mask_rows.h"
#include "core/memory.h"
#include "core/part.h"
#include "core/tracker.h"

namespace sam3 {

Detections Tracker::detect(const DetectRequest& request) {
  const ImageTensors& image = request.image->tensors();
  const c10::Device device = state_->device();
  ImageModel model(bundle_, device);
  std::vector<ConceptQuery> queries;
  for (const DetectPrompt& prompt : request.prompts) {
    queries.push_back({&image, &prompt.text->tensors(), prompt.boxes, prompt.labels, request.threshold, false});
  }
  const std::size_t most =
      fit_at_once(device, concept_bytes(image, spec_.mask_size), std::max<std::size_t>(queries.size(), 1));
  const auto width = static_cast<double>(image.width);
  const auto height = static_cast<double>(image.height);
  Detections found;
  std::vector<at::Tensor> masks{none_masks()};
  for (std::size_t begin = 0; begin < queries.size(); begin += most) {
    cancel_.throw_if_cancelled();
    std::vector<const ConceptQuery*> some;
    for (std::size_t i = begin; i < std::min(begin + most, queries.size()); ++i) some.push_back(&queries[i]);
    const ConceptTensors answer = model.decode_concepts(some);
    const at::Tensor presence = to_cpu_floats(answer.presence).sigmoid();
    const at::Tensor scores = (to_cpu_floats(answer.logits).sigmoid() * presence).contiguous();
    const at::Tensor boxes = to_cpu_floats(answer.boxes);
    const std::int64_t slots = scores.size(1);
    for (std::size_t row = 0; row < some.size(); ++row) {
      const auto at = static_cast<std::int64_t>(row);
      const float* const score = scores.const_data_ptr<float>() + at * slots;
      std::vector<std::int64_t> kept;
      std::vector<float> kept_scores;
      for (std::int64_t query = 0; query < slots; ++query) {
        if (!std::isfinite(score[query])) {
          throw Error("MODEL_FAILED", "The model's concept_decoder answered with scores that are not numbers.");
        }
        if (!(static_cast<double>(score[query]) > request.threshold)) continue;
        kept.push_back(query);
        kept_scores.push_back(score[query]);
      }
      found.presence.push_back(presence[at].item<float>());
      if (kept.empty()) continue;
      const auto select = [device](const at::Tensor& from, const std::vector<std::int64_t>& index) {
        return from.index_select(0, at::tensor(index, at::kLong).to(device));
      };
      at::Tensor chosen = select(answer.masks[at], kept).to(at::kFloat);
      if (request.overlap_threshold > 0 && kept.size() > 1) {
        const at::Tensor inside = chosen.gt(0);
        const auto stay = keep_best(to_cpu_floats(overlaps(inside, inside)), kept_scores, request.overlap_threshold);
        chosen = select(chosen, stay);
        std::vector<std::int64_t> staying;
        for (const std::int64_t index : stay) staying.push_back(kept[static_cast<std::size_t>(index)]);
        kept = std::move(staying);
      }
      masks.push_back(chosen);
      for (const std::int64_t query : kept) {
        const float* const corner = boxes.const_data_ptr<float>() + (at * slots + query) * 4;
        found.scores.push_back(score[query]);
        found.boxes.insert(found.boxes.end(), {std::clamp(corner[0] * width, 0.0, width), std::clamp(corner[1] * height, 0.0, height),
                                               std::clamp(corner[2] * width, 0.0, width), std::clamp(corner[3] * height, 0.0, height)});
        found.prompts.push_back(static_cast<std::int32_t>(begin + row));
      }
    }
  }
  found.masks = own_masks(at::cat(masks));
  return found;
}

}  // namespace sam3
