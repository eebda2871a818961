#include <torch/script.h>

#include "check.h"
#include "core/preprocess.h"
#include "fixtures.h"

using namespace sam3::test;

TEST("preprocess: pictures come out as torchvision's transform makes them") {
  int pictures = 0;
  for (const int seed : seeds()) {
    const auto spec = read_spec(seed);
    for (const auto& name : cases(seed)) {
      const auto tensors = read_case(seed, name);
      const auto picture = tensors.at("picture").contiguous();
      const auto made = sam3::preprocess({picture.const_data_ptr<std::uint8_t>(), picture.size(1), picture.size(0)},
                                         spec.resolution, spec.mean, spec.std);
      const auto expected = tensors.at("pixels");
      EXPECT(made.sizes() == expected.sizes());
      // The fixture divides by 255 where torchvision multiplies by its inverse: one unit in the last place of 1.
      EXPECT_LE((made - expected).abs().max().item<double>(), 2.4e-7);
      const auto bytes = sam3::resize_to_square({picture.const_data_ptr<std::uint8_t>(), picture.size(1), picture.size(0)},
                                                spec.resolution);
      // ToDtype(float32, scale=True) and Normalize as torchvision writes them.
      EXPECT(at::equal(made, bytes.to(at::kFloat).mul(1.0 / 255.0).sub(0.5).div(0.5)));
      ++pictures;
    }
  }
  EXPECT(pictures >= 3);
}

TEST("preprocess: interleaved rows give what separate planes give, for every shape of picture") {
  at::manual_seed(3);
  for (const auto& [height, width] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {1, 1}, {1, 300}, {300, 1}, {64, 64}, {63, 65}, {2, 3}, {480, 640}, {1000, 7}, {3000, 4000}}) {
    const auto picture = at::randint(256, {height, width, 3}, at::kByte);
    const auto made = sam3::resize_to_square({picture.const_data_ptr<std::uint8_t>(), width, height}, 64);
    EXPECT(made.sizes() == at::IntArrayRef({1, 3, 64, 64}));
    const auto planes = picture.permute({2, 0, 1}).unsqueeze(0).contiguous();
    const auto expected = at::_upsample_bilinear2d_aa(planes, {64, 64}, false);
    EXPECT(at::equal(made, expected));
    // A float resize differs from the one on bytes by rounding in two passes, never by more than one level.
    const auto exact = at::_upsample_bilinear2d_aa(planes.to(at::kFloat), {64, 64}, false);
    EXPECT_LE((made.to(at::kFloat) - exact).abs().max().item<double>(), 1.01);
  }
}
