#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "core/handles.h"
#include "core/masks.h"

// What is asked of the tracker's half of a replica, and what it answers; lib/native/addon.ts says what each means.
namespace sam3 {

// One mask of a handle.
struct MaskRow {
  MasksRef masks;
  std::int64_t row = 0;
  // Taken as empty.
  bool hidden = false;
};

struct DetectPrompt {
  TextRef text;
  // Centre x, centre y, width, height in 0–1, one after the other.
  std::vector<float> boxes;
  std::vector<std::uint8_t> labels;
};

struct DetectRequest {
  ImageRef image;
  std::vector<DetectPrompt> prompts;
  double threshold = 0.5;
  double overlap_threshold = 0;
};

struct Detections {
  std::vector<float> scores;
  std::vector<double> boxes;
  std::vector<std::int32_t> prompts;
  std::vector<float> presence;
  MasksRef masks;
};

struct TrackItem {
  std::vector<TrackMemoryRef> memories;
  std::vector<std::int32_t> rows;
  std::vector<TrackMemoryRef> pointers;
  std::vector<float> ages;
  // x, y in pixels of the frame; labels 1 positive, 0 negative, 2 and 3 corners of a box.
  std::vector<float> points;
  std::vector<std::int32_t> labels;
};

struct TrackRequest {
  ImageRef image;
  std::vector<TrackItem> items;
  std::int64_t clean_area = 0;
};

struct Tracked {
  MasksRef masks;
  MasksRef cleaned;
  PointersRef pointers;
  std::vector<float> object_scores;
  std::vector<float> quality;
};

// Run lengths are of the frame's own size.
using SeedMask = std::variant<MaskRow, std::vector<std::uint32_t>>;

struct SeedRequest {
  ImageRef image;
  std::vector<SeedMask> items;
};

struct RememberRow {
  MaskRow mask;
  PointersRef pointers;
  std::int64_t pointer_row = 0;
  double object_score = 0;
  std::int64_t group = -1;
};

struct RememberRequest {
  ImageRef image;
  std::vector<RememberRow> rows;
  bool binarize = false;
  bool through_square = false;
  // Share of its area a mask must keep beside the others of its group, or it is emptied; none: masks stay as they are.
  std::optional<double> least_kept = std::nullopt;
};

struct CompareRequest {
  std::vector<MaskRow> a;
  std::vector<MaskRow> b;
};

struct Comparison {
  std::vector<float> iou;
  std::vector<std::uint32_t> areas_a;
  std::vector<std::uint32_t> areas_b;
};

struct ReadMask {
  RunLengths mask;
  // x1, y1, x2, y2 in pixels, the last ones not included; zeros where the mask is empty.
  std::array<double, 4> box{};
};

// A memory as bytes.
using MemoryBlock = std::vector<std::uint8_t>;

}  // namespace sam3
