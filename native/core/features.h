#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
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

// Prompt tokens of one text, [L, C] without padding. Immutable; its tensor may be released on any thread.
struct TextTensors {
  at::Tensor tokens;

  std::int64_t bytes() const;
};

}  // namespace sam3
