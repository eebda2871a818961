// The half of ImageModel that finds every instance of a concept.

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/image_model.h"
#include "core/memory.h"
#include "core/part.h"

namespace sam3 {
namespace {

RunLengths encode_plane(const at::Tensor& plane, const ImageTensors& image, double threshold) {
  const at::Tensor values = to_cpu_floats(plane);
  auto masks = encode_masks({values.const_data_ptr<float>(), 1, values.size(-2), values.size(-1)}, image.height,
                            image.width, static_cast<float>(threshold), 1);
  return std::move(masks[0]);
}

}  // namespace

std::int64_t concept_bytes(const ImageTensors& image, std::int64_t mask_size) {
  constexpr std::int64_t usual_queries = 200;
  const auto fine = image.fine.numel() * static_cast<std::int64_t>(image.fine.element_size());
  return 8 * fine + 2 * usual_queries * mask_size * mask_size * static_cast<std::int64_t>(sizeof(float));
}

ConceptTensors ImageModel::decode_concepts(const std::vector<const ConceptQuery*>& queries) {
  const auto n = static_cast<std::int64_t>(queries.size());
  // Not to the longest of the batch: attention sums over another number of tokens in another order, so that a text beside a
  // longer one was answered otherwise than alone (scores of mini by up to 1.8e-5, of texts equally long by 2e-6).
  const std::int64_t length = bundle_.spec().context_length;
  std::int64_t boxes = 0;
  for (const ConceptQuery* query : queries) {
    boxes = std::max(boxes, static_cast<std::int64_t>(query->labels.size()));
  }
  const at::Tensor& any = queries[0]->text->tokens;
  at::Tensor text = at::zeros({n, length, any.size(1)}, any.options());
  at::Tensor text_mask = at::zeros({n, length}, at::kBool);
  // Padding is a harmless small box; its mask says that it is none.
  at::Tensor box = at::full({n, boxes, 4}, 0.5, at::kFloat);
  at::Tensor box_labels = at::zeros({n, boxes}, at::kLong);
  at::Tensor box_mask = at::zeros({n, boxes}, at::kBool);
  for (std::int64_t i = 0; i < n; ++i) {
    const ConceptQuery& query = *queries[static_cast<std::size_t>(i)];
    const std::int64_t used = query.text->tokens.size(0);
    text[i].narrow(0, 0, used).copy_(query.text->tokens);
    std::fill_n(text_mask.mutable_data_ptr<bool>() + i * length, used, true);
    std::copy(query.boxes.begin(), query.boxes.end(), box.mutable_data_ptr<float>() + i * boxes * 4);
    std::copy(query.labels.begin(), query.labels.end(), box_labels.mutable_data_ptr<std::int64_t>() + i * boxes);
    std::fill_n(box_mask.mutable_data_ptr<bool>() + i * boxes, query.labels.size(), true);
  }
  const char* const part = "concept_decoder";
  const auto images = images_of(queries);
  const auto out = run_part(bundle_, part,
                            {rows_of(images, &ImageTensors::fine), rows_of(images, &ImageTensors::middle),
                             rows_of(images, &ImageTensors::coarse), text, text_mask.to(device_), box.to(device_),
                             box_labels.to(device_), box_mask.to(device_)},
                            5);
  ConceptTensors answer{out[0], out[1], out[2], out[3], out[4]};
  const std::int64_t m = bundle_.spec().mask_size;
  expect_shape(part, "the scores", answer.logits, {n, -1});
  const std::int64_t slots = answer.logits.size(1);
  expect_shape(part, "the boxes", answer.boxes, {n, slots, 4});
  expect_shape(part, "the presence", answer.presence, {n, 1});
  expect_shape(part, "the masks", answer.masks, {n, slots, m, m});
  expect_shape(part, "the semantic map", answer.semantic, {n, 1, m, m});
  return answer;
}

void ImageModel::segment_concepts(const std::vector<ConceptQuery>& queries, std::size_t at_once,
                                  Answers<ConceptFinding>& answers) {
  auto order = answers.still_wanted();
  if (order.empty()) return;
  sort_by_image(order, queries);
  const std::int64_t one = concept_bytes(*queries[order[0]].image, bundle_.spec().mask_size);
  const auto run = [&](const std::vector<std::size_t>& some) {
    std::vector<const ConceptQuery*> wanted;
    for (const std::size_t index : some) wanted.push_back(&queries[index]);
    ConceptTensors answer = decode_concepts(wanted);
    answer.logits = to_cpu_floats(answer.logits);
    answer.presence = to_cpu_floats(answer.presence);
    answer.boxes = to_cpu_floats(answer.boxes);
    for (std::size_t row = 0; row < some.size(); ++row) {
      if (answers.still_wanted({some[row]}).empty()) continue;
      answers.set(some[row], read_concept(answer, static_cast<std::int64_t>(row), *wanted[row]));
    }
  };
  run_batches(order, fit_at_once(device_, one, at_once), answers, "Segmenting failed", run);
}

ConceptFinding ImageModel::read_concept(const ConceptTensors& answer, std::int64_t index,
                                        const ConceptQuery& query) const {
  const ImageTensors& image = *query.image;
  const at::Tensor presence = answer.presence[index].sigmoid();
  const at::Tensor scores = (answer.logits[index].sigmoid() * presence).contiguous();
  const float* const score = scores.const_data_ptr<float>();
  std::vector<std::int64_t> kept;
  for (std::int64_t q = 0; q < scores.numel(); ++q) {
    if (!std::isfinite(score[q])) {
      throw Error("MODEL_FAILED", "The model's concept_decoder answered with scores that are not numbers.");
    }
    if (static_cast<double>(score[q]) > query.threshold) kept.push_back(q);
  }
  std::stable_sort(kept.begin(), kept.end(), [&](std::int64_t a, std::int64_t b) { return score[a] > score[b]; });

  ConceptFinding finding;
  finding.presence = presence.item<float>();
  // As transformers' post_process_semantic_segmentation: probabilities are resized, not logits.
  if (query.semantic) finding.semantic = encode_plane(answer.semantic[index][0].to(at::kFloat).sigmoid(), image, 0.5);
  if (kept.empty()) return finding;

  // Only the masks that are kept leave the device, and only at the size the model made them.
  const at::Tensor chosen = at::tensor(kept, at::kLong).to(answer.masks.device());
  const at::Tensor logits = to_cpu_floats(answer.masks[index].index_select(0, chosen));
  auto masks = encode_masks({logits.const_data_ptr<float>(), logits.size(0), logits.size(1), logits.size(2)},
                            image.height, image.width, static_cast<float>(bundle_.spec().mask_threshold),
                            at::get_num_threads());

  const at::Tensor boxes = answer.boxes[index].contiguous();
  const float* const box = boxes.const_data_ptr<float>();
  const auto width = static_cast<double>(image.width);
  const auto height = static_cast<double>(image.height);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const float* corner = box + kept[i] * 4;
    finding.objects.push_back({score[kept[i]],
                               {std::clamp(corner[0] * width, 0.0, width), std::clamp(corner[1] * height, 0.0, height),
                                std::clamp(corner[2] * width, 0.0, width), std::clamp(corner[3] * height, 0.0, height)},
                               std::move(masks[i])});
  }
  return finding;
}

}  // namespace sam3
