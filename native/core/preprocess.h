#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <optional>

#include "core/yuv.h"

namespace sam3 {

// Interleaved 8-bit RGB, or planar YUV 4:2:0; a view, the bytes belong to somebody else.
struct PixelView {
  const std::uint8_t* data;
  std::int64_t width;
  std::int64_t height;
  std::optional<YuvKind> yuv = std::nullopt;
};

// The picture as the model sees it: float [1, 3, resolution, resolution] on the CPU, squeezed to the square without
// keeping its aspect, exactly as torchvision's v2 Resize (bilinear, antialias, on uint8), ToDtype(scale) and Normalize
// make it; YUV becomes RGB first.
at::Tensor preprocess(const PixelView& pixels, std::int64_t resolution, const std::array<double, 3>& mean,
                      const std::array<double, 3>& std);

// The resized picture of RGB alone, uint8 [1, 3, resolution, resolution].
at::Tensor resize_to_square(const PixelView& pixels, std::int64_t resolution);

}  // namespace sam3
