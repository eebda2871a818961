#pragma once

#include <torch/script.h>

#include <cstdint>
#include <vector>

#include "core/bundle.h"
#include "core/cancel.h"
#include "core/masks.h"
#include "core/preprocess.h"
#include "core/results.h"

namespace sam3 {

// What the image encoder makes of one picture. Immutable; its tensors may be released on any thread.
struct ImageTensors {
  at::Tensor fine;
  at::Tensor middle;
  at::Tensor coarse;
  at::Tensor tracker_fine;
  at::Tensor tracker_middle;
  at::Tensor tracker_coarse;
  std::int64_t width = 0;
  std::int64_t height = 0;

  std::int64_t bytes() const;
};

// Prompt tokens of one text, [L, C] without padding. Immutable; its tensor may be released on any thread.
struct TextTensors {
  at::Tensor tokens;

  std::int64_t bytes() const;
};

// One concept asked of a picture.
struct ConceptQuery {
  const TextTensors* text = nullptr;
  // Centre x, centre y, width, height in 0–1, one after the other.
  std::vector<float> boxes;
  std::vector<std::uint8_t> labels;
  double threshold = 0.5;
};

// Raw answer of the concept decoder, everything on its device; N prompts, Q queries.
struct ConceptTensors {
  at::Tensor logits;    // [N, Q] fp32
  at::Tensor boxes;     // [N, Q, 4] fp32, corners in 0–1
  at::Tensor presence;  // [N, 1] fp32
  at::Tensor masks;     // [N, Q, m, m]
};

// The picture half of the model. Not thread-safe: used on its replica's executor thread, under inference mode.
class ImageModel {
 public:
  ImageModel(Bundle& bundle, c10::Device device) : bundle_(bundle), device_(device) {}

  ImageTensors encode(const PixelView& pixels, const CancelToken& cancel);
  std::vector<TextTensors> encode_texts(const std::vector<std::vector<std::int32_t>>& ids, const CancelToken& cancel);
  // Raw decoder run for prompts that fit in memory together.
  ConceptTensors decode(const ImageTensors& image, const ConceptQuery* queries, std::size_t count);
  // All prompts, in as many decoder runs as memory asks for.
  std::vector<ConceptFinding> segment(const ImageTensors& image, const std::vector<ConceptQuery>& queries,
                                      const CancelToken& cancel);

 private:
  std::size_t queries_at_once(const ImageTensors& image) const;
  ConceptFinding read(const ConceptTensors& answer, std::int64_t index, double threshold, const ImageTensors& image,
                      const CancelToken& cancel) const;

  Bundle& bundle_;
  c10::Device device_;
};

c10::ScalarType scalar_type(const std::string& dtype);

}  // namespace sam3
