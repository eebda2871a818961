#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <vector>

#include "core/bundle.h"

namespace sam3 {

// Points of one object in pixels of a picture: x, y one after the other; labels 1 positive, 0 negative, 2 and 3 corners
// of a box. A view.
struct PointPrompt {
  const std::vector<float>* points;
  const std::vector<std::int32_t>* labels;
  std::int64_t width;
  std::int64_t height;
};

// What the object decoder takes beside features: N objects, P points, on any device.
struct DecoderPrompts {
  at::Tensor points;    // [N, P, 2] fp32 in pixels of the model's square
  at::Tensor labels;    // [N, P] int64
  at::Tensor masks;     // [N, 1, m, m]
  at::Tensor has_mask;  // [N] bool
};

// Raw answer of the object decoder, everything on its device; N prompts.
struct ObjectTensors {
  at::Tensor masks;         // [N, 4, m, m]; 0 is the single-mask answer
  at::Tensor quality;       // [N, 4] fp32
  at::Tensor object_score;  // [N, 1] fp32
  at::Tensor pointers;      // [N, 4, Ct]
};

// Prompts of points alone, all with equally many; those without any get the point that says so.
DecoderPrompts point_prompts(const std::vector<PointPrompt>& prompts, const BundleSpec& spec);

// One run. `fine`, `middle` and `coarse` have a row per prompt, `coarse` already with what memory says.
ObjectTensors decode_objects(Bundle& bundle, c10::Device device, at::Tensor fine, at::Tensor middle, at::Tensor coarse,
                             const DecoderPrompts& prompts);

// What one prompt needs at its peak: the upscaled features several times, and those of the transformer.
std::int64_t decoder_bytes(const at::Tensor& fine, const at::Tensor& coarse);

}  // namespace sam3
