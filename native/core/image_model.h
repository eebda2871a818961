#pragma once

#include <torch/script.h>

#include <cstdint>
#include <vector>

#include "core/batch.h"
#include "core/bundle.h"
#include "core/features.h"
#include "core/object_decoder.h"
#include "core/preprocess.h"
#include "core/results.h"

namespace sam3 {

// One concept asked of a picture.
struct ConceptQuery {
  const ImageTensors* image = nullptr;
  const TextTensors* text = nullptr;
  // Centre x, centre y, width, height in 0–1, one after the other.
  std::vector<float> boxes;
  std::vector<std::uint8_t> labels;
  double threshold = 0.5;
  // Whether to say where the concept is as a whole, too.
  bool semantic = false;
};

// Raw answer of the concept decoder, everything on its device; N prompts, Q queries.
struct ConceptTensors {
  at::Tensor logits;    // [N, Q] fp32
  at::Tensor boxes;     // [N, Q, 4] fp32, corners in 0–1
  at::Tensor presence;  // [N, 1] fp32
  at::Tensor masks;     // [N, Q, m, m]
  at::Tensor semantic;  // [N, 1, m, m]
};

// One object asked of a picture.
struct ObjectQuery {
  const ImageTensors* image = nullptr;
  // x, y in pixels of the picture, one point after the other; labels 1 positive, 0 negative, 2 and 3 corners of a box.
  std::vector<float> points;
  std::vector<std::int32_t> labels;
  // Low-resolution logits of an earlier answer, or empty.
  std::vector<float> mask;
  bool multimask = false;
  double mask_threshold = 0;
  // In cells of the low-resolution mask; 0 leaves them as they are.
  std::int64_t max_hole_area = 0;
  std::int64_t max_sprinkle_area = 0;
};

// The picture half of the model. Every list call works in runs of at most `at_once` items, fewer where memory is short,
// and answers item by item. Not thread-safe: used on its replica's executor thread, under inference mode.
class ImageModel {
 public:
  ImageModel(Bundle& bundle, c10::Device device) : bundle_(bundle), device_(device) {}

  void encode(const std::vector<PixelView>& pictures, std::size_t at_once, Answers<ImageTensors>& answers);
  void encode_texts(const std::vector<std::vector<std::int32_t>>& ids, std::size_t at_once,
                    Answers<TextTensors>& answers);
  void segment_concepts(const std::vector<ConceptQuery>& queries, std::size_t at_once,
                        Answers<ConceptFinding>& answers);
  void segment_objects(const std::vector<ObjectQuery>& queries, std::size_t at_once, Answers<ObjectFinding>& answers);

  // One run of a decoder, for prompts that fit in memory together.
  ConceptTensors decode_concepts(const std::vector<const ConceptQuery*>& queries);
  // The prompts must have equally many points.
  ObjectTensors decode_objects(const std::vector<const ObjectQuery*>& queries);

 private:
  ConceptFinding read_concept(const ConceptTensors& answer, std::int64_t index, const ConceptQuery& query) const;
  ObjectFinding read_object(const ObjectTensors& answer, std::int64_t index, const ObjectQuery& query) const;

  Bundle& bundle_;
  c10::Device device_;
};

// What one concept prompt needs at its peak: about eight copies of the finest feature map (pixel decoder and mask
// embedding) and the masks of all queries twice.
std::int64_t concept_bytes(const ImageTensors& image, std::int64_t mask_size);

c10::ScalarType scalar_type(const std::string& dtype);

}  // namespace sam3
