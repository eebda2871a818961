#include "core/object_decoder.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/image_model.h"
#include "core/part.h"

namespace sam3 {
namespace {

// A prompt without points and boxes carries one point with this label.
constexpr std::int64_t no_point = -1;

}  // namespace

DecoderPrompts point_prompts(const std::vector<PointPrompt>& prompts, const BundleSpec& spec) {
  const auto n = static_cast<std::int64_t>(prompts.size());
  const auto given = static_cast<std::int64_t>(prompts[0].labels->size());
  const std::int64_t count = std::max<std::int64_t>(given, 1);
  const std::int64_t m = spec.mask_size;
  DecoderPrompts made{at::zeros({n, count, 2}, at::kFloat), at::full({n, count}, no_point, at::kLong),
                      at::zeros({n, 1, m, m}, at::kFloat), at::zeros({n}, at::kBool)};
  for (std::int64_t row = 0; row < n; ++row) {
    const PointPrompt& prompt = prompts[static_cast<std::size_t>(row)];
    TORCH_INTERNAL_ASSERT(static_cast<std::int64_t>(prompt.labels->size()) == given);
    const double scale_x = static_cast<double>(spec.resolution) / static_cast<double>(prompt.width);
    const double scale_y = static_cast<double>(spec.resolution) / static_cast<double>(prompt.height);
    float* const point = made.points.mutable_data_ptr<float>() + row * count * 2;
    for (std::int64_t i = 0; i < given; ++i) {
      const auto at = static_cast<std::size_t>(2 * i);
      point[2 * i] = static_cast<float>(static_cast<double>((*prompt.points)[at]) * scale_x);
      point[2 * i + 1] = static_cast<float>(static_cast<double>((*prompt.points)[at + 1]) * scale_y);
    }
    std::copy(prompt.labels->begin(), prompt.labels->end(), made.labels.mutable_data_ptr<std::int64_t>() + row * count);
  }
  return made;
}

ObjectTensors decode_objects(Bundle& bundle, c10::Device device, at::Tensor fine, at::Tensor middle, at::Tensor coarse,
                             const DecoderPrompts& prompts) {
  const char* const part = "object_decoder";
  const std::int64_t n = prompts.labels.size(0);
  const std::int64_t m = bundle.spec().mask_size;
  const auto out = run_part(bundle, part,
                            {std::move(fine), std::move(middle), std::move(coarse), prompts.points.to(device),
                             prompts.labels.to(device), prompts.masks.to(device, scalar_type(bundle.spec().dtype)),
                             prompts.has_mask.to(device)},
                            4);
  expect_shape(part, "the masks", out[0], {n, 4, m, m});
  expect_shape(part, "the quality", out[1], {n, 4});
  expect_shape(part, "the object score", out[2], {n, 1});
  expect_shape(part, "the pointers", out[3], {n, 4, -1});
  return {out[0], out[1], out[2], out[3]};
}

std::int64_t decoder_bytes(const at::Tensor& fine, const at::Tensor& coarse) {
  return (8 * fine.numel() + 8 * coarse.numel()) * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace sam3
