#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sam3 {

// How numbers of planar YUV 4:2:0 stand for colours.
struct YuvKind {
  enum class Matrix { bt601, bt709 };
  enum class Range { limited, full };  // 16–235 and 16–240, or 0–255
  Matrix matrix = Matrix::bt601;
  Range range = Range::limited;
};

// Bytes of the three planes, without gaps: Y, then U and V of half the width and height, rounded up.
std::size_t yuv_bytes(std::int64_t width, std::int64_t height);

// Interleaved RGB of planar YUV 4:2:0, rounded to the nearest level. The four pixels of a chroma sample share it, as in
// swscale's converter to rgb24 where nothing is scaled and the height is even; that one calculates with fewer bits.
std::vector<std::uint8_t> yuv_to_rgb(const std::uint8_t* planes, std::int64_t width, std::int64_t height, YuvKind kind,
                                     int threads);

}  // namespace sam3
