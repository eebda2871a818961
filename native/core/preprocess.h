#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

namespace sam3 {

// Interleaved 8-bit RGB; a view, the bytes belong to somebody else.
struct PixelView {
  const std::uint8_t* data;
  std::int64_t width;
  std::int64_t height;
};

// The picture as the model sees it: float [1, 3, resolution, resolution] on the CPU, squeezed to the square without
// keeping its aspect, exactly as torchvision's v2 Resize (bilinear, antialias, on uint8), ToDtype(scale) and Normalize
// make it.
at::Tensor preprocess(const PixelView& pixels, std::int64_t resolution, const std::array<double, 3>& mean,
                      const std::array<double, 3>& std);

// The resized picture alone, uint8 [1, 3, resolution, resolution].
at::Tensor resize_to_square(const PixelView& pixels, std::int64_t resolution);

}  // namespace sam3
