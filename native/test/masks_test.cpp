#include <torch/script.h>

#include <ctime>
#include <limits>
#include <random>

#include "check.h"
#include "core/masks.h"

namespace {

// What the kernel claims to equal: ATen's own resize, compared, read column by column.
sam3::RunLengths by_aten(const at::Tensor& plane, std::int64_t height, std::int64_t width, float threshold) {
  const auto full = at::upsample_bilinear2d(plane.view({1, 1, plane.size(0), plane.size(1)}), {height, width}, false);
  const auto inside = full.gt(threshold).view({height, width}).t().contiguous();
  const bool* data = inside.const_data_ptr<bool>();
  sam3::RunLengths runs;
  bool current = false;
  std::uint32_t length = 0;
  for (std::int64_t i = 0; i < height * width; ++i) {
    if (data[i] != current) {
      runs.counts.push_back(length);
      length = 0;
      current = data[i];
    }
    ++length;
    runs.area += data[i];
  }
  runs.counts.push_back(length);
  return runs;
}

std::string describe(const at::Tensor& plane, std::int64_t height, std::int64_t width, float threshold) {
  return std::to_string(plane.size(0)) + "x" + std::to_string(plane.size(1)) + " to " + std::to_string(height) + "x" +
         std::to_string(width) + " at " + std::to_string(threshold);
}

void expect_equal(const at::Tensor& plane, std::int64_t height, std::int64_t width, float threshold) {
  const auto made = sam3::encode_masks({plane.const_data_ptr<float>(), 1, plane.size(0), plane.size(1)}, height, width,
                                       threshold, 1)[0];
  const auto expected = by_aten(plane, height, width, threshold);
  if (made.counts != expected.counts || made.area != expected.area) {
    sam3::test::fail(__FILE__, __LINE__, "differs from ATen: " + describe(plane, height, width, threshold));
  }
}

// Random planes of the kinds that matter: noise, smooth blobs, values on the threshold, tiny, huge and not-numbers.
at::Tensor random_plane(std::mt19937& random, std::int64_t rows, std::int64_t columns, float threshold) {
  const auto noise = at::randn({rows, columns});
  switch (random() % 8) {
    case 0:
      return noise;
    case 1: {
      const auto coarse = at::randn({1, 1, 3, 3}) * 5;
      return at::upsample_bicubic2d(coarse, {rows, columns}, false).view({rows, columns}).contiguous();
    }
    case 2:
      return noise.sign() + threshold;  // ends exactly one either side
    case 3:
      return at::full({rows, columns}, threshold) + noise.round() * 1e-7f;
    case 4:
      return noise * 1e-38f;  // products become denormal
    case 5:
      return noise * 1e38f;
    case 6: {
      auto plane = noise.clone();
      plane.masked_fill_(at::rand({rows, columns}).lt(0.05), std::numeric_limits<float>::quiet_NaN());
      plane.masked_fill_(at::rand({rows, columns}).lt(0.05), std::numeric_limits<float>::infinity());
      plane.masked_fill_(at::rand({rows, columns}).lt(0.05), -std::numeric_limits<float>::infinity());
      return plane;
    }
    default:
      return (noise - 2.5f).contiguous();  // mostly background
  }
}

}  // namespace

TEST("masks: thousands of random masks equal ATen's resize bit for bit") {
  at::manual_seed(5);
  std::mt19937 random(5);
  const auto draw = [&](std::int64_t least, std::int64_t most) {
    return least + static_cast<std::int64_t>(random() % static_cast<unsigned>(most - least + 1));
  };
  for (int i = 0; i < 4000; ++i) {
    const float threshold = i % 4 == 3 ? 0.3f : 0.0f;
    const auto plane = random_plane(random, draw(1, 48), draw(1, 48), threshold);
    expect_equal(plane, draw(1, 160), draw(1, 160), threshold);
  }
}

TEST("masks: odd and large sizes equal ATen's resize bit for bit") {
  at::manual_seed(6);
  std::mt19937 random(6);
  for (const auto& [height, width] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {1, 1}, {1, 5000}, {5000, 1}, {288, 288}, {287, 289}, {3, 4096}, {1080, 1920}, {3024, 4032}, {17, 23}}) {
    for (int kind = 0; kind < 4; ++kind) expect_equal(random_plane(random, 288, 288, 0), height, width, 0);
  }
}

TEST("masks: what is all background or all object is one run") {
  for (const float value : {-1.0f, 1.0f, 0.0f}) {
    const auto plane = at::full({7, 7}, value);
    const auto mask = sam3::encode_masks({plane.const_data_ptr<float>(), 1, 7, 7}, 30, 20, 0.0f, 1)[0];
    const std::vector<std::uint32_t> expected =
        value > 0 ? std::vector<std::uint32_t>{0, 600} : std::vector<std::uint32_t>{600};
    EXPECT(mask.counts == expected);
    EXPECT(mask.area == (value > 0 ? 600u : 0u));
  }
}

TEST("masks: several threads give what one gives, in order") {
  at::manual_seed(7);
  const auto planes = at::randn({33, 24, 24});
  const sam3::LogitPlanes view{planes.const_data_ptr<float>(), 33, 24, 24};
  const auto one = sam3::encode_masks(view, 100, 120, 0, 1);
  const auto four = sam3::encode_masks(view, 100, 120, 0, 4);
  EXPECT(one.size() == 33);
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT(one[i].counts == four[i].counts);
  EXPECT(sam3::encode_masks({nullptr, 0, 24, 24}, 100, 120, 0, 4).empty());
}

TEST("masks: 100 blobs on 4032 x 3024 take far less than pixel by pixel work") {
  at::manual_seed(8);
  const auto coarse = at::randn({1, 100, 6, 6}) * 4;
  const auto planes = at::upsample_bicubic2d(coarse, {288, 288}, false).contiguous();
  const auto start = std::clock();
  const auto masks = sam3::encode_masks({planes.const_data_ptr<float>(), 100, 288, 288}, 3024, 4032, 0, 2);
  const auto seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  std::printf("     100 masks: %.2f s of processor time\n", seconds);
  EXPECT(masks.size() == 100);
  // Measured: 0.5 s, 3 s under AddressSanitizer, which checks every access. The limit catches a fall back to work pixel by
  // pixel, 1.2 billion of them, which it slows as much.
#if defined(__SANITIZE_ADDRESS__)
  EXPECT_LE(seconds, 18.0);
#else
  EXPECT_LE(seconds, 3.0);
#endif
}
