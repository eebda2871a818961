#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sam3::ops {

// torchvision's roi_align, forward only, registered as sam3::roi_align because libtorch has none. input [B, C, H, W],
// rois [K, 5] (picture, x1, y1, x2, y2) in input's units after `spatial_scale`; answers [K, C, pooled_height,
// pooled_width]. A `sampling_ratio` of 0 or less means ceil(roi size / pooled size) samples per bin and side.

// Sample by sample, as the definition reads; CPU tensors.
at::Tensor roi_align_cpu(const at::Tensor& input, const at::Tensor& rois, double spatial_scale,
                         std::int64_t pooled_height, std::int64_t pooled_width, std::int64_t sampling_ratio,
                         bool aligned);

// As two small matrix products per region, in ATen operations only, so that it runs on any device.
at::Tensor roi_align_composite(const at::Tensor& input, const at::Tensor& rois, double spatial_scale,
                               std::int64_t pooled_height, std::int64_t pooled_width, std::int64_t sampling_ratio,
                               bool aligned);

}  // namespace sam3::ops
