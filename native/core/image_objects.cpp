// The half of ImageModel that finds one object by points, a box or a mask, as the official interactive predictor does.

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/components.h"
#include "core/image_model.h"
#include "core/memory.h"
#include "core/object_decoder.h"
#include "core/part.h"
#include "core/tracker_constants.h"

namespace sam3 {
namespace {

constexpr float widest_logit = 32.0f;

// Share of the cells over -delta that are over delta, too: near 1 where the mask's border is sharp. In single precision,
// as the model's authors compute it.
bool is_stable(const float* logits, std::int64_t count, const BundleSpec& spec) {
  const auto delta = static_cast<float>(spec.stability_delta);
  const auto over = [&](float limit) {
    return static_cast<float>(std::count_if(logits, logits + count, [limit](float value) { return value > limit; }));
  };
  const float outer = over(-delta);
  return (outer > 0 ? over(delta) / outer : 1.0f) >= static_cast<float>(spec.stability_threshold);
}

}  // namespace

ObjectTensors ImageModel::decode_objects(const std::vector<const ObjectQuery*>& queries) {
  const std::int64_t cells = bundle_.spec().mask_size * bundle_.spec().mask_size;
  std::vector<PointPrompt> points;
  for (const ObjectQuery* query : queries) {
    points.push_back({&query->points, &query->labels, query->image->width, query->image->height});
  }
  const DecoderPrompts prompts = point_prompts(points, bundle_.spec());
  for (std::size_t row = 0; row < queries.size(); ++row) {
    const std::vector<float>& mask = queries[row]->mask;
    if (mask.empty()) continue;
    prompts.has_mask.mutable_data_ptr<bool>()[row] = true;
    std::copy(mask.begin(), mask.end(), prompts.masks.mutable_data_ptr<float>() + static_cast<std::int64_t>(row) * cells);
  }
  const auto images = images_of(queries);
  const at::Tensor coarse = rows_of(images, &ImageTensors::tracker_coarse);
  // What memory says where there is none is added to the coarsest features of a single picture.
  return sam3::decode_objects(
      bundle_, device_, rows_of(images, &ImageTensors::tracker_fine), rows_of(images, &ImageTensors::tracker_middle),
      (coarse.to(at::kFloat) + tracker_constant(bundle_, "no_memory")).to(coarse.scalar_type()), prompts);
}

void ImageModel::segment_objects(const std::vector<ObjectQuery>& queries, std::size_t at_once,
                                 Answers<ObjectFinding>& answers) {
  const auto order = answers.still_wanted();
  if (order.empty()) return;
  const ImageTensors& first = *queries[order[0]].image;
  const std::size_t most = fit_at_once(device_, decoder_bytes(first.tracker_fine, first.tracker_coarse), at_once);
  const auto run = [&](const std::vector<std::size_t>& some) {
    std::vector<const ObjectQuery*> wanted;
    for (const std::size_t index : some) wanted.push_back(&queries[index]);
    ObjectTensors answer = decode_objects(wanted);
    answer.quality = to_cpu_floats(answer.quality);
    answer.object_score = to_cpu_floats(answer.object_score);
    for (std::size_t row = 0; row < some.size(); ++row) {
      if (answers.still_wanted({some[row]}).empty()) continue;
      answers.set(some[row], read_object(answer, static_cast<std::int64_t>(row), *wanted[row]));
    }
  };
  // Prompts of one length per run: a point added for padding would be attended to and change the answer.
  std::vector<std::size_t> left = order;
  while (!left.empty()) {
    const std::size_t length = queries[left[0]].labels.size();
    const auto others = std::stable_partition(
        left.begin(), left.end(), [&](std::size_t index) { return queries[index].labels.size() == length; });
    std::vector<std::size_t> group(left.begin(), others);
    left.erase(left.begin(), others);
    sort_by_image(group, queries);
    run_batches(group, most, answers, "Segmenting failed", run);
  }
}

ObjectFinding ImageModel::read_object(const ObjectTensors& answer, std::int64_t index, const ObjectQuery& query) const {
  const BundleSpec& spec = bundle_.spec();
  const std::int64_t m = spec.mask_size;
  const std::int64_t cells = m * m;
  const at::Tensor logits = to_cpu_floats(answer.masks[index]);
  const float* const plane = logits.const_data_ptr<float>();
  const at::Tensor quality_row = answer.quality[index].contiguous();
  const float* const quality = quality_row.const_data_ptr<float>();
  const bool numbers = std::all_of(quality, quality + 4, [](float value) { return std::isfinite(value); }) &&
                       std::all_of(plane, plane + 4 * cells, [](float value) { return std::isfinite(value); });
  if (!numbers) throw Error("MODEL_FAILED", "The model's object_decoder answered with values that are not numbers.");

  std::vector<std::int64_t> tokens{1, 2, 3};
  if (!query.multimask) {
    // Token 0 answers for a single mask, but where its border is blurred, the best of the three takes its place.
    tokens = {is_stable(plane, cells, spec) ? 0 : std::max_element(quality + 1, quality + 4) - quality};
  }
  ObjectFinding finding;
  finding.object_score = answer.object_score[index].item<float>();
  std::vector<float> full;
  for (const std::int64_t token : tokens) {
    const float* const first = plane + token * cells;
    const auto begin = static_cast<std::ptrdiff_t>(full.size());
    full.insert(full.end(), first, first + cells);
    clean_mask(full.data() + begin, m, m, static_cast<float>(query.mask_threshold), query.max_hole_area,
               query.max_sprinkle_area);
    ObjectMask mask;
    mask.quality = quality[token];
    mask.low_resolution.resize(static_cast<std::size_t>(cells));
    std::transform(first, first + cells, mask.low_resolution.begin(),
                   [](float value) { return std::clamp(value, -widest_logit, widest_logit); });
    finding.masks.push_back(std::move(mask));
  }
  auto masks = encode_masks({full.data(), static_cast<std::int64_t>(tokens.size()), m, m}, query.image->height,
                            query.image->width, static_cast<float>(query.mask_threshold), at::get_num_threads());
  for (std::size_t i = 0; i < masks.size(); ++i) finding.masks[i].mask = std::move(masks[i]);
  return finding;
}

}  // namespace sam3
