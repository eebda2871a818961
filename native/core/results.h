#pragma once

#include <array>
#include <optional>
#include <vector>

#include "core/masks.h"

namespace sam3 {

struct FoundObject {
  double score = 0;
  // x1, y1, x2, y2 in pixels of the picture, clipped to it.
  std::array<double, 4> box{};
  RunLengths mask;
};

// What one concept prompt found, best score first.
struct ConceptFinding {
  double presence = 0;
  std::vector<FoundObject> objects;
  // Where the concept is, whatever the instances; only when it was asked for.
  std::optional<RunLengths> semantic;
};

struct ObjectMask {
  // The model's own guess of the mask's IoU, 0–1.
  double quality = 0;
  RunLengths mask;
  // Logits at the size the model makes them, row by row, between -32 and 32: what a next prompt takes as its mask.
  std::vector<float> low_resolution;
};

// What one object prompt came to: one mask or three, in the order of the model's tokens.
struct ObjectFinding {
  std::vector<ObjectMask> masks;
  // Logit of there being an object at all.
  double object_score = 0;
};

}  // namespace sam3
