#pragma once

#include <cstdint>
#include <vector>

namespace sam3 {

// A mask as COCO run lengths: column by column, background first (0 allowed).
struct RunLengths {
  std::vector<std::uint32_t> counts;
  std::uint64_t area = 0;
};

// Low-resolution mask logits, `count` planes of rows × columns, row by row; a view.
struct LogitPlanes {
  const float* data;
  std::int64_t count;
  std::int64_t rows;
  std::int64_t columns;
};

// The masks a picture of height × width gets: `F.interpolate(logits, (height, width), mode="bilinear")` > threshold,
// equal to ATen's answer on this processor to the last bit, without making the picture-sized float planes: memory grows
// with the runs only. `threads` planes are worked on at a time.
std::vector<RunLengths> encode_masks(const LogitPlanes& logits, std::int64_t height, std::int64_t width,
                                     float threshold, int threads);

}  // namespace sam3
