#include "core/components.h"

#include <algorithm>
#include <numeric>

namespace sam3 {
namespace {

// Disjoint sets over cells, the smallest cell of a set being its root. Not thread-safe.
class Sets {
 public:
  explicit Sets(std::size_t count) : parents_(count) {
    std::iota(parents_.begin(), parents_.end(), std::size_t{0});
  }

  std::size_t root(std::size_t cell) {
    while (parents_[cell] != cell) {
      parents_[cell] = parents_[parents_[cell]];
      cell = parents_[cell];
    }
    return cell;
  }

  void unite(std::size_t a, std::size_t b) {
    a = root(a);
    b = root(b);
    parents_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<std::size_t> parents_;
};

}  // namespace

std::vector<std::int64_t> component_areas(const std::vector<char>& inside, std::int64_t rows, std::int64_t columns) {
  Sets sets(inside.size());
  const auto at = [columns](std::int64_t y, std::int64_t x) { return static_cast<std::size_t>(y * columns + x); };
  for (std::int64_t y = 0; y < rows; ++y) {
    for (std::int64_t x = 0; x < columns; ++x) {
      if (!inside[at(y, x)]) continue;
      if (x > 0 && inside[at(y, x - 1)]) sets.unite(at(y, x), at(y, x - 1));
      for (std::int64_t above = std::max<std::int64_t>(x - 1, 0); y > 0 && above <= std::min(x + 1, columns - 1); ++above) {
        if (inside[at(y - 1, above)]) sets.unite(at(y, x), at(y - 1, above));
      }
    }
  }
  std::vector<std::int64_t> sizes(inside.size(), 0);
  for (std::size_t cell = 0; cell < inside.size(); ++cell) {
    if (inside[cell]) ++sizes[sets.root(cell)];
  }
  std::vector<std::int64_t> areas(inside.size(), 0);
  for (std::size_t cell = 0; cell < inside.size(); ++cell) {
    if (inside[cell]) areas[cell] = sizes[sets.root(cell)];
  }
  return areas;
}

void clean_mask(float* logits, std::int64_t rows, std::int64_t columns, float threshold, std::int64_t max_hole_area,
                std::int64_t max_sprinkle_area) {
  constexpr float clear = 10.0f;
  const auto count = static_cast<std::size_t>(rows * columns);
  std::vector<char> foreground(count);
  for (std::size_t cell = 0; cell < count; ++cell) foreground[cell] = logits[cell] > threshold;
  const auto overwrite = [&](const std::vector<char>& inside, std::int64_t most, float value) {
    const auto areas = component_areas(inside, rows, columns);
    for (std::size_t cell = 0; cell < count; ++cell) {
      if (areas[cell] > 0 && areas[cell] <= most) logits[cell] = value;
    }
  };
  if (max_hole_area > 0) {
    std::vector<char> background(count);
    std::transform(foreground.begin(), foreground.end(), background.begin(), [](char in) { return in ? 0 : 1; });
    overwrite(background, max_hole_area, threshold + clear);
  }
  if (max_sprinkle_area > 0) overwrite(foreground, max_sprinkle_area, threshold - clear);
}

void fill_and_sweep(float* logits, std::int64_t rows, std::int64_t columns, std::int64_t area) {
  constexpr float filled = 0.1f;
  const auto count = static_cast<std::size_t>(rows * columns);
  std::vector<char> inside(count);
  const auto overwrite = [&](std::int64_t most, float value) {
    const auto areas = component_areas(inside, rows, columns);
    for (std::size_t cell = 0; cell < count; ++cell) {
      if (areas[cell] > 0 && areas[cell] <= most) logits[cell] = value;
    }
  };
  std::transform(logits, logits + count, inside.begin(), [](float value) { return value <= 0 ? 1 : 0; });
  overwrite(area, filled);
  std::transform(logits, logits + count, inside.begin(), [](float value) { return value > 0 ? 1 : 0; });
  const auto foreground = static_cast<std::int64_t>(std::count(inside.begin(), inside.end(), 1));
  overwrite(std::min(area, foreground / 2), -filled);
}

}  // namespace sam3
