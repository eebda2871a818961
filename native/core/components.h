#pragma once

#include <cstdint>
#include <vector>

namespace sam3 {

// For every cell of a plane of rows × columns, row by row: the number of cells in its connected component, or 0 for a
// cell that is not `inside`. Cells that touch with a corner are connected, as the official model has it.
std::vector<std::int64_t> component_areas(const std::vector<char>& inside, std::int64_t rows, std::int64_t columns);

// Fills background components of at most `max_hole_area` cells and removes foreground components of at most
// `max_sprinkle_area` cells from low-resolution mask logits, in place, as the official interactive predictor does:
// both are looked for in the mask as it came, a filled cell gets the threshold plus 10, a removed one minus 10. An area
// of 0 turns its half off.
void clean_mask(float* logits, std::int64_t rows, std::int64_t columns, float threshold, std::int64_t max_hole_area,
                std::int64_t max_sprinkle_area);

// What transformers' fill_holes_in_mask_scores does between frames of a video, in place: holes, components of cells at or
// under 0, of at most `area` cells get 0.1; then specks of at most `area` cells and at most half of the mask, the filled
// holes counted, get -0.1.
void fill_and_sweep(float* logits, std::int64_t rows, std::int64_t columns, std::int64_t area);

}  // namespace sam3
