#include <torch/script.h>

#include <cmath>

#include "check.h"
#include "core/ops/roi_align.h"

namespace {

// The definition, read literally and in double: every bin is the mean of bilinear samples.
at::Tensor by_definition(const at::Tensor& input, const at::Tensor& rois, double scale, std::int64_t ph,
                         std::int64_t pw, std::int64_t ratio, bool aligned) {
  const auto f = input.to(at::kDouble).contiguous();
  const auto r = rois.to(at::kDouble).contiguous();
  const auto height = f.size(2);
  const auto width = f.size(3);
  auto out = at::zeros({r.size(0), f.size(1), ph, pw}, at::kDouble);
  const auto a = f.accessor<double, 4>();
  const auto b = r.accessor<double, 2>();
  auto o = out.accessor<double, 4>();
  const auto value = [&](std::int64_t n, std::int64_t c, double y, double x) {
    if (y < -1 || y > static_cast<double>(height) || x < -1 || x > static_cast<double>(width)) return 0.0;
    y = std::min(std::max(y, 0.0), static_cast<double>(height - 1));
    x = std::min(std::max(x, 0.0), static_cast<double>(width - 1));
    const auto y0 = static_cast<std::int64_t>(y);
    const auto x0 = static_cast<std::int64_t>(x);
    const auto y1 = std::min(y0 + 1, height - 1);
    const auto x1 = std::min(x0 + 1, width - 1);
    const double dy = y - static_cast<double>(y0);
    const double dx = x - static_cast<double>(x0);
    return (1 - dy) * ((1 - dx) * a[n][c][y0][x0] + dx * a[n][c][y0][x1]) +
           dy * ((1 - dx) * a[n][c][y1][x0] + dx * a[n][c][y1][x1]);
  };
  for (std::int64_t k = 0; k < r.size(0); ++k) {
    const double offset = aligned ? 0.5 : 0.0;
    const double x1 = b[k][1] * scale - offset;
    const double y1 = b[k][2] * scale - offset;
    double w = b[k][3] * scale - offset - x1;
    double h = b[k][4] * scale - offset - y1;
    if (!aligned) {
      w = std::max(w, 1.0);
      h = std::max(h, 1.0);
    }
    const auto ny = ratio > 0 ? ratio : static_cast<std::int64_t>(std::ceil(h / static_cast<double>(ph)));
    const auto nx = ratio > 0 ? ratio : static_cast<std::int64_t>(std::ceil(w / static_cast<double>(pw)));
    for (std::int64_t c = 0; c < f.size(1); ++c) {
      for (std::int64_t i = 0; i < ph; ++i) {
        for (std::int64_t j = 0; j < pw; ++j) {
          double sum = 0;
          for (std::int64_t iy = 0; iy < ny; ++iy) {
            for (std::int64_t ix = 0; ix < nx; ++ix) {
              const double bin_h = h / static_cast<double>(ph);
              const double bin_w = w / static_cast<double>(pw);
              sum += value(static_cast<std::int64_t>(b[k][0]), c,
                           y1 + (static_cast<double>(i) + (static_cast<double>(iy) + 0.5) / static_cast<double>(ny)) * bin_h,
                           x1 + (static_cast<double>(j) + (static_cast<double>(ix) + 0.5) / static_cast<double>(nx)) * bin_w);
            }
          }
          o[k][c][i][j] = sum / static_cast<double>(std::max<std::int64_t>(ny * nx, 1));
        }
      }
    }
  }
  return out.to(at::kFloat);
}

at::Tensor random_rois(std::int64_t count, std::int64_t pictures, double size) {
  auto rois = at::rand({count, 5}) * size * 1.4 - size * 0.2;  // some reach outside
  rois.select(1, 0).copy_(at::randint(pictures, {count}).to(at::kFloat));
  auto low = at::minimum(rois.select(1, 1), rois.select(1, 3)).clone();
  auto high = at::maximum(rois.select(1, 1), rois.select(1, 3)).clone();
  rois.select(1, 1).copy_(low);
  rois.select(1, 3).copy_(high);
  low = at::minimum(rois.select(1, 2), rois.select(1, 4)).clone();
  high = at::maximum(rois.select(1, 2), rois.select(1, 4)).clone();
  rois.select(1, 2).copy_(low);
  rois.select(1, 4).copy_(high);
  return rois;
}

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return a.numel() == 0 ? 0.0 : (a - b).abs().max().item<double>();
}

}  // namespace

TEST("roi_align: both implementations follow the definition") {
  at::manual_seed(1);
  for (const bool aligned : {false, true}) {
    for (const std::int64_t ratio : {-1, 0, 1, 2, 3}) {
      for (const double scale : {1.0, 0.25}) {
        const auto input = at::randn({2, 3, 19, 23});
        const auto rois = random_rois(12, 2, 20 / scale);
        const auto expected = by_definition(input, rois, scale, 7, 5, ratio, aligned);
        const auto direct = sam3::ops::roi_align_cpu(input, rois, scale, 7, 5, ratio, aligned);
        const auto composite = sam3::ops::roi_align_composite(input, rois, scale, 7, 5, ratio, aligned);
        // Float against double: a sample that float puts on the other side of a cell's edge weighs both cells alike.
        EXPECT_LE(largest_difference(direct, expected), 2e-5);
        EXPECT_LE(largest_difference(composite, expected), 2e-5);
      }
    }
  }
}

TEST("roi_align: torchvision's own numbers") {
  // torchvision.ops.roi_align(arange(64).view(1, 1, 8, 8) ** 1.5, [[0, .3, 1.2, 6.1, 7.9], [0, .5, 4.2, 3, 6.8]], (2, 2))
  const auto input = at::arange(64, at::kFloat).view({1, 1, 8, 8}).pow(1.5);
  const auto rois = at::tensor({0.0f, 0.3f, 1.2f, 6.1f, 7.9f, 0.0f, 0.5f, 4.2f, 3.0f, 6.8f}).view({2, 5});
  const auto expected = at::tensor({128.50918579101562f, 150.46339416503906f, 362.3017272949219f, 393.6123962402344f,
                                    253.441650390625f, 265.3595275878906f, 358.0458679199219f, 371.41339111328125f}).view({2, 1, 2, 2});
  EXPECT_LE(largest_difference(sam3::ops::roi_align_cpu(input, rois, 1.0, 2, 2, -1, false), expected), 1e-3);
}

TEST("roi_align: no regions, half precision, wrong arguments, called through the dispatcher") {
  const auto input = at::randn({1, 4, 9, 9});
  const auto none = sam3::ops::roi_align_cpu(input, at::zeros({0, 5}), 1.0, 7, 7, -1, false);
  EXPECT(none.sizes() == at::IntArrayRef({0, 4, 7, 7}));
  EXPECT(sam3::ops::roi_align_composite(input, at::zeros({0, 5}), 1.0, 7, 7, -1, false).sizes() == none.sizes());

  const auto rois = random_rois(4, 1, 9);
  const auto exact = sam3::ops::roi_align_cpu(input, rois, 1.0, 7, 7, -1, false);
  const auto half = sam3::ops::roi_align_cpu(input.to(at::kBFloat16), rois, 1.0, 7, 7, -1, false);
  EXPECT(half.scalar_type() == at::kBFloat16);
  EXPECT_LE(largest_difference(half.to(at::kFloat), exact), 0.04);  // bfloat16 keeps 8 bits

  const auto op = c10::Dispatcher::singleton().findSchemaOrThrow("sam3::roi_align", "");
  const auto through = op.typed<at::Tensor(const at::Tensor&, const at::Tensor&, double, std::int64_t, std::int64_t,
                                           std::int64_t, bool)>()
                           .call(input, rois, 1.0, 7, 7, -1, false);
  EXPECT(at::equal(through, exact));

  bool refused = false;
  try {
    auto elsewhere = rois.clone();
    elsewhere.select(1, 0).fill_(3);
    sam3::ops::roi_align_cpu(input, elsewhere, 1.0, 7, 7, -1, false);
  } catch (const c10::Error&) {
    refused = true;
  }
  EXPECT(refused);
}
