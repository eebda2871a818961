#pragma once

#include <array>
#include <vector>

#include "core/masks.h"

namespace sam3 {

struct FoundObject {
  double score = 0;
  // x1, y1, x2, y2 in pixels of the picture, clipped to it.
  std::array<double, 4> box{};
  RunLengths mask;
};

// What one prompt found, best score first.
struct ConceptFinding {
  double presence = 0;
  std::vector<FoundObject> objects;
};

}  // namespace sam3
