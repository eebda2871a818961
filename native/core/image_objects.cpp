// The half of ImageModel that finds one object by points, a box or a mask, as the official interactive predictor does.

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/components.h"
#include "core/image_model.h"
#include "core/memory.h"
#include "core/part.h"

namespace sam3 {
namespace {

constexpr const char* decoder = "object_decoder";
// A prompt without points and boxes carries one point with this label.
constexpr std::int64_t no_point = -1;
constexpr float widest_logit = 32.0f;

// What memory says where there is none: added to the coarsest features of a single picture.
at::Tensor no_memory(Bundle& bundle) {
  const torch::jit::Module& constants = bundle.part("tracker_constants");
  if (!constants.hasattr("no_memory") || !constants.attr("no_memory").isTensor()) {
    throw Error("BUNDLE_INVALID", "The part tracker_constants has no tensor no_memory. Export the bundle again.");
  }
  return constants.attr("no_memory").toTensor();
}

// What one prompt needs at its peak: the upscaled features several times, and those of the transformer.
std::int64_t bytes_of_prompt(const ImageTensors& image) {
  return (8 * image.tracker_fine.numel() + 8 * image.tracker_coarse.numel()) *
         static_cast<std::int64_t>(sizeof(float));
}

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
  const BundleSpec& spec = bundle_.spec();
  const auto n = static_cast<std::int64_t>(queries.size());
  const auto given = static_cast<std::int64_t>(queries[0]->labels.size());
  const std::int64_t count = std::max<std::int64_t>(given, 1);
  const std::int64_t m = spec.mask_size;
  const c10::ScalarType dtype = scalar_type(spec.dtype);
  at::Tensor points = at::zeros({n, count, 2}, at::kFloat);
  at::Tensor labels = at::full({n, count}, no_point, at::kLong);
  at::Tensor has_mask = at::zeros({n}, at::kBool);
  at::Tensor masks = at::zeros({n, 1, m, m}, at::kFloat);
  for (std::int64_t row = 0; row < n; ++row) {
    const ObjectQuery& query = *queries[static_cast<std::size_t>(row)];
    TORCH_INTERNAL_ASSERT(static_cast<std::int64_t>(query.labels.size()) == given);
    const double scale_x = static_cast<double>(spec.resolution) / static_cast<double>(query.image->width);
    const double scale_y = static_cast<double>(spec.resolution) / static_cast<double>(query.image->height);
    float* const point = points.mutable_data_ptr<float>() + row * count * 2;
    for (std::int64_t i = 0; i < given; ++i) {
      const auto at = static_cast<std::size_t>(2 * i);
      point[2 * i] = static_cast<float>(static_cast<double>(query.points[at]) * scale_x);
      point[2 * i + 1] = static_cast<float>(static_cast<double>(query.points[at + 1]) * scale_y);
    }
    std::copy(query.labels.begin(), query.labels.end(), labels.mutable_data_ptr<std::int64_t>() + row * count);
    if (query.mask.empty()) continue;
    has_mask.mutable_data_ptr<bool>()[row] = true;
    std::copy(query.mask.begin(), query.mask.end(), masks.mutable_data_ptr<float>() + row * m * m);
  }
  const auto images = images_of(queries);
  const at::Tensor coarse = rows_of(images, &ImageTensors::tracker_coarse);
  const auto out = run_part(bundle_, decoder,
                            {rows_of(images, &ImageTensors::tracker_fine), rows_of(images, &ImageTensors::tracker_middle),
                             (coarse.to(at::kFloat) + no_memory(bundle_)).to(coarse.scalar_type()), points.to(device_),
                             labels.to(device_), masks.to(device_, dtype), has_mask.to(device_)},
                            4);
  expect_shape(decoder, "the masks", out[0], {n, 4, m, m});
  expect_shape(decoder, "the quality", out[1], {n, 4});
  expect_shape(decoder, "the object score", out[2], {n, 1});
  return {out[0], out[1], out[2]};
}

void ImageModel::segment_objects(const std::vector<ObjectQuery>& queries, std::size_t at_once,
                                 Answers<ObjectFinding>& answers) {
  const auto order = answers.still_wanted();
  if (order.empty()) return;
  const std::size_t most = fit_at_once(device_, bytes_of_prompt(*queries[order[0]].image), at_once);
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
