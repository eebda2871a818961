#include "core/yuv.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"

namespace sam3 {
namespace {

// Sums are in 1/65536 of a level: 32 bits hold them, and rounding is wrong at most where the true value is a half.
constexpr int bits = 16;
constexpr std::int32_t half = 1 << (bits - 1);

// What a luma or chroma value adds, for each of its 256 values, so that a pixel costs three additions and no product.
struct Tables {
  std::int32_t luma[256];
  std::int32_t red_v[256];
  std::int32_t green_u[256];
  std::int32_t green_v[256];
  std::int32_t blue_u[256];

  explicit Tables(YuvKind kind) {
    const bool limited = kind.range == YuvKind::Range::limited;
    const bool bt601 = kind.matrix == YuvKind::Matrix::bt601;
    const double red = bt601 ? 0.299 : 0.2126;
    const double blue = bt601 ? 0.114 : 0.0722;
    const double green = 1 - red - blue;
    const double luma_scale = limited ? 255.0 / 219 : 1;
    const double chroma_scale = limited ? 255.0 / 224 : 1;
    const int black = limited ? 16 : 0;
    const auto fixed = [](double value) { return static_cast<std::int32_t>(std::lround(value * (1 << bits))); };
    for (int value = 0; value < 256; ++value) {
      const double chroma = chroma_scale * (value - 128);
      luma[value] = fixed(luma_scale * (value - black)) + half;
      red_v[value] = fixed(2 * (1 - red) * chroma);
      green_u[value] = fixed(-2 * blue * (1 - blue) / green * chroma);
      green_v[value] = fixed(-2 * red * (1 - red) / green * chroma);
      blue_u[value] = fixed(2 * (1 - blue) * chroma);
    }
  }
};

std::uint8_t level(std::int32_t sum) { return static_cast<std::uint8_t>(std::clamp(sum >> bits, 0, 255)); }

}  // namespace

std::size_t yuv_bytes(std::int64_t width, std::int64_t height) {
  const auto w = static_cast<std::size_t>(width);
  const auto h = static_cast<std::size_t>(height);
  return w * h + 2 * ((w + 1) / 2) * ((h + 1) / 2);
}

std::vector<std::uint8_t> yuv_to_rgb(const std::uint8_t* planes, std::int64_t width, std::int64_t height, YuvKind kind,
                                     int threads) {
  const Tables tables(kind);
  const std::int64_t chroma_width = (width + 1) / 2;
  const std::int64_t chroma_height = (height + 1) / 2;
  const std::uint8_t* const u_plane = planes + width * height;
  const std::uint8_t* const v_plane = u_plane + chroma_width * chroma_height;
  std::vector<std::uint8_t> rgb(static_cast<std::size_t>(width * height * 3));
  constexpr std::int64_t rows_at_once = 64;
  parallel((height + rows_at_once - 1) / rows_at_once, threads, [&](std::int64_t band) {
    const std::int64_t end = std::min((band + 1) * rows_at_once, height);
    for (std::int64_t y = band * rows_at_once; y < end; ++y) {
      const std::uint8_t* const luma = planes + y * width;
      const std::uint8_t* const u = u_plane + y / 2 * chroma_width;
      const std::uint8_t* const v = v_plane + y / 2 * chroma_width;
      std::uint8_t* pixel = rgb.data() + y * width * 3;
      for (std::int64_t x = 0; x < width; ++x, pixel += 3) {
        const std::int32_t base = tables.luma[luma[x]];
        const std::uint8_t cb = u[x / 2];
        const std::uint8_t cr = v[x / 2];
        pixel[0] = level(base + tables.red_v[cr]);
        pixel[1] = level(base + tables.green_u[cb] + tables.green_v[cr]);
        pixel[2] = level(base + tables.blue_u[cb]);
      }
    }
  });
  return rgb;
}

}  // namespace sam3
