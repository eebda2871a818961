#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

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
  // A copy on `device`, also where that is where they are.
  ImageTensors copy_to(c10::Device device) const;
};

// One map of several pictures, a row for each: one picture's is expanded to all rows, not copied.
at::Tensor rows_of(const std::vector<const ImageTensors*>& images, at::Tensor ImageTensors::* map);

// The pictures that queries ask about, in their order.
template <class Query>
std::vector<const ImageTensors*> images_of(const std::vector<const Query*>& queries) {
  std::vector<const ImageTensors*> images;
  for (const Query* query : queries) images.push_back(query->image);
  return images;
}

// Puts queries on one picture together, so that as many runs as can be need no copy of its features.
template <class Query>
void sort_by_image(std::vector<std::size_t>& order, const std::vector<Query>& queries) {
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::less<const ImageTensors*>()(queries[a].image, queries[b].image);
  });
}

// Prompt tokens of one text, [L, C] without padding. Immutable; its tensor may be released on any thread.
struct TextTensors {
  at::Tensor tokens;

  std::int64_t bytes() const;
};

}  // namespace sam3
