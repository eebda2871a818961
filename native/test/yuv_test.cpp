#include "core/yuv.h"

#include <torch/script.h>

#include <array>
#include <cmath>

#include "check.h"
#include "core/preprocess.h"

using namespace sam3;

namespace {

using Rgb = std::array<int, 3>;

Rgb convert(int y, int u, int v, YuvKind kind) {
  const std::array<std::uint8_t, 3> planes{static_cast<std::uint8_t>(y), static_cast<std::uint8_t>(u), static_cast<std::uint8_t>(v)};
  const auto rgb = yuv_to_rgb(planes.data(), 1, 1, kind, 1);
  return {rgb[0], rgb[1], rgb[2]};
}

constexpr YuvKind limited601{YuvKind::Matrix::bt601, YuvKind::Range::limited};
constexpr YuvKind full601{YuvKind::Matrix::bt601, YuvKind::Range::full};
constexpr YuvKind limited709{YuvKind::Matrix::bt709, YuvKind::Range::limited};
constexpr YuvKind full709{YuvKind::Matrix::bt709, YuvKind::Range::full};

}  // namespace

TEST("yuv: black, white and the primaries of the standards come out as they should") {
  for (const YuvKind kind : {limited601, limited709}) {
    EXPECT((convert(16, 128, 128, kind) == Rgb{0, 0, 0}));
    EXPECT((convert(235, 128, 128, kind) == Rgb{255, 255, 255}));
    EXPECT((convert(0, 128, 128, kind) == Rgb{0, 0, 0}));
    EXPECT((convert(255, 128, 128, kind) == Rgb{255, 255, 255}));
  }
  for (const YuvKind kind : {full601, full709}) {
    EXPECT((convert(0, 128, 128, kind) == Rgb{0, 0, 0}));
    EXPECT((convert(100, 128, 128, kind) == Rgb{100, 100, 100}));
    EXPECT((convert(255, 128, 128, kind) == Rgb{255, 255, 255}));
  }
  // Red, green and blue of BT.601 and BT.709 as their limited 8-bit codes, which are rounded themselves.
  const auto close = [](Rgb ours, Rgb exact) {
    for (std::size_t i = 0; i < 3; ++i) EXPECT_LE(std::abs(ours[i] - exact[i]), 1);
  };
  close(convert(81, 90, 240, limited601), {254, 0, 0});
  close(convert(145, 54, 34, limited601), {0, 255, 1});
  close(convert(41, 240, 110, limited601), {0, 0, 255});
  close(convert(63, 102, 240, limited709), {255, 1, 0});
  close(convert(173, 42, 26, limited709), {0, 255, 1});
  close(convert(32, 240, 118, limited709), {1, 0, 255});
}

TEST("yuv: every value is the exact one, rounded") {
  for (const YuvKind kind : {limited601, full601, limited709, full709}) {
    const bool bt601 = kind.matrix == YuvKind::Matrix::bt601;
    const bool limited = kind.range == YuvKind::Range::limited;
    const double kr = bt601 ? 0.299 : 0.2126;
    const double kb = bt601 ? 0.114 : 0.0722;
    for (int y = 0; y < 256; y += 5) {
      for (int u = 0; u < 256; u += 15) {
        for (int v = 0; v < 256; v += 15) {
          const double luma = limited ? (y - 16) * 255.0 / 219 : y;
          const double pb = (u - 128) * (limited ? 255.0 / 224 : 1.0);
          const double pr = (v - 128) * (limited ? 255.0 / 224 : 1.0);
          const double red = luma + 2 * (1 - kr) * pr;
          const double blue = luma + 2 * (1 - kb) * pb;
          const double green = (luma - kr * red - kb * blue) / (1 - kr - kb);
          const Rgb ours = convert(y, u, v, kind);
          const std::array<double, 3> exact{red, green, blue};
          for (std::size_t i = 0; i < 3; ++i) EXPECT_LE(std::fabs(ours[i] - std::clamp(exact[i], 0.0, 255.0)), 0.501);
        }
      }
    }
  }
}

TEST("yuv: planes of odd sizes have their chroma where it belongs, on any number of threads") {
  constexpr std::int64_t width = 7;
  constexpr std::int64_t height = 131;
  constexpr std::int64_t columns = 4;
  constexpr std::int64_t rows = 66;
  EXPECT(yuv_bytes(width, height) == width * height + 2 * columns * rows);
  EXPECT(yuv_bytes(1, 1) == 3 && yuv_bytes(2, 2) == 6 && yuv_bytes(3, 1) == 7);
  std::vector<std::uint8_t> planes(yuv_bytes(width, height));
  for (std::size_t i = 0; i < planes.size(); ++i) planes[i] = static_cast<std::uint8_t>(i * 37 + i / 11);
  const auto rgb = yuv_to_rgb(planes.data(), width, height, limited709, 1);
  EXPECT(rgb.size() == static_cast<std::size_t>(width * height * 3));
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const std::int64_t chroma = width * height + y / 2 * columns + x / 2;
      const auto at = [&](std::int64_t i) { return static_cast<int>(planes[static_cast<std::size_t>(i)]); };
      const Rgb expected = convert(at(y * width + x), at(chroma), at(chroma + columns * rows), limited709);
      for (std::int64_t c = 0; c < 3; ++c) {
        EXPECT(rgb[static_cast<std::size_t>((y * width + x) * 3 + c)] == expected[static_cast<std::size_t>(c)]);
      }
    }
  }
  EXPECT(yuv_to_rgb(planes.data(), width, height, limited709, 3) == rgb);
  // The model sees the same as of those pixels given as RGB.
  const std::array<double, 3> half{0.5, 0.5, 0.5};
  for (const std::int64_t side : {std::int64_t{32}, std::int64_t{7}}) {
    EXPECT(at::equal(preprocess({planes.data(), width, height, limited709}, side, half, half),
                     preprocess({rgb.data(), width, height}, side, half, half)));
  }
}
