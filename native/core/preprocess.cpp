#include "core/preprocess.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <string>
#include <vector>

namespace sam3 {

at::Tensor resize_to_square(const PixelView& pixels, std::int64_t resolution) {
  const std::int64_t plane = pixels.width * pixels.height;
  // A view: ATen does not write to it. Strides say interleaved rows, that is channels last.
  const at::Tensor picture =
      at::from_blob(const_cast<std::uint8_t*>(pixels.data), {1, 3, pixels.height, pixels.width},
                    {plane * 3, 1, pixels.width * 3, 3}, at::TensorOptions().dtype(at::kByte));
  if (pixels.width == resolution && pixels.height == resolution) return picture.contiguous();
  // torchvision resizes bytes as bytes where ATen has its vectorised kernel and rounds a float result elsewhere; the
  // two differ by one level here and there, so the choice is repeated.
  const std::string capability = at::get_cpu_capability();
#if defined(__aarch64__) || defined(_M_ARM64)
  const bool as_bytes = true;
#else
  const bool as_bytes = capability == "AVX2" || capability == "AVX512";
#endif
  if (as_bytes) return at::_upsample_bilinear2d_aa(picture, {resolution, resolution}, /*align_corners=*/false);
  return at::_upsample_bilinear2d_aa(picture.to(at::kFloat), {resolution, resolution}, /*align_corners=*/false)
      .round_()
      .to(at::kByte);
}

at::Tensor preprocess(const PixelView& pixels, std::int64_t resolution, const std::array<double, 3>& mean,
                      const std::array<double, 3>& std) {
  std::vector<std::uint8_t> rgb;
  PixelView view = pixels;
  if (pixels.yuv) {
    rgb = yuv_to_rgb(pixels.data, pixels.width, pixels.height, *pixels.yuv, at::get_num_threads());
    view = {rgb.data(), pixels.width, pixels.height};
  }
  at::Tensor picture = resize_to_square(view, resolution).to(at::kFloat, /*non_blocking=*/false, /*copy=*/false,
                                                               at::MemoryFormat::Contiguous);
  const auto column = [](const std::array<double, 3>& values) {
    return at::tensor({static_cast<float>(values[0]), static_cast<float>(values[1]), static_cast<float>(values[2])})
        .view({1, 3, 1, 1});
  };
  return picture.mul_(1.0 / 255.0).sub_(column(mean)).div_(column(std));
}

}  // namespace sam3
