#include "core/ops/roi_align.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"

namespace sam3::ops {
namespace {

struct Settings {
  float scale;
  std::int64_t pooled_height;
  std::int64_t pooled_width;
  std::int64_t sampling_ratio;
  bool aligned;
};

// One side of one region: where its bins lie and how densely they are sampled.
struct Side {
  float start;
  float bin;
  std::int64_t samples;

  float sample(std::int64_t bin_index, std::int64_t i) const {
    return start + static_cast<float>(bin_index) * bin + (static_cast<float>(i) + 0.5f) * bin / static_cast<float>(samples);
  }
};

Side make_side(float from, float to, std::int64_t pooled, const Settings& settings) {
  const float offset = settings.aligned ? 0.5f : 0.0f;
  const float start = from * settings.scale - offset;
  float size = to * settings.scale - offset - start;
  if (!settings.aligned) size = std::max(size, 1.0f);  // as the first versions did: no region smaller than a cell
  const std::int64_t samples = settings.sampling_ratio > 0
                                   ? settings.sampling_ratio
                                   : static_cast<std::int64_t>(std::ceil(size / static_cast<float>(pooled)));
  return {start, size / static_cast<float>(pooled), std::max<std::int64_t>(samples, 0)};
}

// A sample on one axis as two cells and their weights; both weights 0 where it lies outside.
struct Tap {
  std::int64_t low = 0;
  std::int64_t high = 0;
  float low_weight = 0;
  float high_weight = 0;
};

Tap make_tap(float at, std::int64_t size) {
  if (!(at >= -1.0f && at <= static_cast<float>(size))) return {};
  at = std::max(at, 0.0f);
  const auto low = static_cast<std::int64_t>(at);
  if (low >= size - 1) return {size - 1, size - 1, 1.0f, 0.0f};
  const float fraction = at - static_cast<float>(low);
  return {low, low + 1, 1.0f - fraction, fraction};
}

std::vector<Tap> make_taps(const Side& side, std::int64_t pooled, std::int64_t size) {
  std::vector<Tap> taps;
  taps.reserve(static_cast<std::size_t>(pooled * side.samples));
  for (std::int64_t bin = 0; bin < pooled; ++bin) {
    for (std::int64_t i = 0; i < side.samples; ++i) taps.push_back(make_tap(side.sample(bin, i), size));
  }
  return taps;
}

void check(const at::Tensor& input, const at::Tensor& rois) {
  TORCH_CHECK(input.dim() == 4, "sam3::roi_align wants an input [B, C, H, W], got ", input.sizes());
  TORCH_CHECK(rois.dim() == 2 && rois.size(1) == 5, "sam3::roi_align wants rois [K, 5], got ", rois.sizes());
}

std::int64_t picture_of(const float* roi, std::int64_t pictures) {
  const auto picture = static_cast<std::int64_t>(roi[0]);
  TORCH_CHECK(picture >= 0 && picture < pictures, "sam3::roi_align: region of picture ", picture, ", but there are ",
              pictures);
  return picture;
}

// Adds the weights of one side's samples, averaged, to a matrix [pooled, size].
void fill_weights(float* matrix, const Side& side, std::int64_t pooled, std::int64_t size) {
  if (side.samples == 0) return;
  const auto taps = make_taps(side, pooled, size);
  const float share = 1.0f / static_cast<float>(side.samples);
  for (std::int64_t bin = 0; bin < pooled; ++bin) {
    for (std::int64_t i = 0; i < side.samples; ++i) {
      const Tap& tap = taps[static_cast<std::size_t>(bin * side.samples + i)];
      matrix[bin * size + tap.low] += tap.low_weight * share;
      matrix[bin * size + tap.high] += tap.high_weight * share;
    }
  }
}

}  // namespace

at::Tensor roi_align_cpu(const at::Tensor& input, const at::Tensor& rois, double spatial_scale,
                         std::int64_t pooled_height, std::int64_t pooled_width, std::int64_t sampling_ratio,
                         bool aligned) {
  check(input, rois);
  const Settings settings{static_cast<float>(spatial_scale), pooled_height, pooled_width, sampling_ratio, aligned};
  // Half precision is worked in float and rounded once, at the end.
  const at::Tensor features = input.to(at::kFloat).contiguous();
  const at::Tensor regions = rois.to(at::kFloat).contiguous();
  const std::int64_t count = regions.size(0);
  const std::int64_t channels = features.size(1);
  const std::int64_t height = features.size(2);
  const std::int64_t width = features.size(3);
  at::Tensor result = at::zeros({count, channels, pooled_height, pooled_width}, features.options());
  if (result.numel() == 0) return result.to(input.scalar_type());

  const float* const source = features.const_data_ptr<float>();
  const float* const region_data = regions.const_data_ptr<float>();
  float* const target = result.mutable_data_ptr<float>();
  const std::int64_t pictures = features.size(0);
  parallel(count, at::get_num_threads(), [&](std::int64_t k) {
    const float* roi = region_data + k * 5;
    const std::int64_t picture = picture_of(roi, pictures);
    const Side across = make_side(roi[1], roi[3], pooled_width, settings);
    const Side down = make_side(roi[2], roi[4], pooled_height, settings);
    const auto xs = make_taps(across, pooled_width, width);
    const auto ys = make_taps(down, pooled_height, height);
    const float samples = static_cast<float>(std::max<std::int64_t>(across.samples * down.samples, 1));
    for (std::int64_t c = 0; c < channels; ++c) {
      const float* plane = source + (picture * channels + c) * height * width;
      float* out = target + (k * channels + c) * pooled_height * pooled_width;
      for (std::int64_t by = 0; by < pooled_height; ++by) {
        for (std::int64_t bx = 0; bx < pooled_width; ++bx) {
          float sum = 0;
          for (std::int64_t iy = 0; iy < down.samples; ++iy) {
            const Tap& y = ys[static_cast<std::size_t>(by * down.samples + iy)];
            const float* upper = plane + y.low * width;
            const float* lower = plane + y.high * width;
            for (std::int64_t ix = 0; ix < across.samples; ++ix) {
              const Tap& x = xs[static_cast<std::size_t>(bx * across.samples + ix)];
              sum += y.low_weight * x.low_weight * upper[x.low] + y.low_weight * x.high_weight * upper[x.high] +
                     y.high_weight * x.low_weight * lower[x.low] + y.high_weight * x.high_weight * lower[x.high];
            }
          }
          *out++ = sum / samples;
        }
      }
    }
  });
  return result.to(input.scalar_type());
}

at::Tensor roi_align_composite(const at::Tensor& input, const at::Tensor& rois, double spatial_scale,
                               std::int64_t pooled_height, std::int64_t pooled_width, std::int64_t sampling_ratio,
                               bool aligned) {
  check(input, rois);
  const Settings settings{static_cast<float>(spatial_scale), pooled_height, pooled_width, sampling_ratio, aligned};
  // A bin is the mean of bilinear samples on a grid, and both the samples' weights and their validity are a product of
  // one factor per axis: so a region is  rows [ph, H] · picture [H, W] · columns [W, pw].  The factors are made here,
  // on the CPU, from the few numbers that describe the regions.
  const at::Tensor regions = rois.to(at::kCPU, at::kFloat).contiguous();
  const float* const region_data = regions.const_data_ptr<float>();
  const std::int64_t count = regions.size(0);
  const std::int64_t height = input.size(2);
  const std::int64_t width = input.size(3);
  at::Tensor rows = at::zeros({count, pooled_height, height}, at::kFloat);
  at::Tensor columns = at::zeros({count, pooled_width, width}, at::kFloat);
  for (std::int64_t k = 0; k < count; ++k) {
    const float* roi = region_data + k * 5;
    fill_weights(rows.mutable_data_ptr<float>() + k * pooled_height * height,
                 make_side(roi[2], roi[4], pooled_height, settings), pooled_height, height);
    fill_weights(columns.mutable_data_ptr<float>() + k * pooled_width * width,
                 make_side(roi[1], roi[3], pooled_width, settings), pooled_width, width);
  }
  rows = rows.to(input.device());
  columns = columns.to(input.device());
  // Region by region: gathering the picture for all regions at once would copy it as often.
  at::Tensor result = at::empty({count, input.size(1), pooled_height, pooled_width}, input.options().dtype(at::kFloat));
  for (std::int64_t k = 0; k < count; ++k) {
    const at::Tensor picture = input[picture_of(region_data + k * 5, input.size(0))].to(at::kFloat);
    result[k].copy_(at::matmul(at::matmul(rows[k], picture), columns[k].t()));
  }
  return result.to(input.scalar_type());
}

}  // namespace sam3::ops

TORCH_LIBRARY(sam3, library) {
  library.def(
      "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, int pooled_width, "
      "int sampling_ratio, bool aligned) -> Tensor");
}
TORCH_LIBRARY_IMPL(sam3, CPU, library) { library.impl("roi_align", sam3::ops::roi_align_cpu); }
TORCH_LIBRARY_IMPL(sam3, CUDA, library) { library.impl("roi_align", sam3::ops::roi_align_composite); }
