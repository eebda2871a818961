#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "core/tracking.h"

namespace sam3 {

// Rows of handles as one tensor [n, m, m] fp32 on their device; a view where they are a handle's own rows. At least one.
at::Tensor gather_masks(const std::vector<MaskRow>& rows);

// Intersection over union of every mask of `a` [n, …] with every mask of `b` [k, …], both bool on one device, as
// transformers' mask_iou: [n, k] fp32, 0 where both are empty.
at::Tensor overlaps(const at::Tensor& a, const at::Tensor& b);

// Of masks with a score each, those that stay: from the best score down, whatever overlaps one that stays by more than
// `threshold` goes. Indices in ascending order; `iou` is [n, n] on the CPU.
std::vector<std::int64_t> keep_best(const at::Tensor& iou, const std::vector<float>& scores, double threshold);

Comparison compare_masks(const CompareRequest& request);

// A copy of `logits` [n, m, m] without holes of at most `area` cells (they get 0.1), then without specks of at most `area`
// cells and at most half of their mask (-0.1), as transformers' fill_holes_in_mask_scores does.
at::Tensor clean_masks(const at::Tensor& logits, std::int64_t area, int threads);

std::vector<ReadMask> read_masks(const std::vector<MaskRow>& rows, std::int64_t height, std::int64_t width, int threads);

}  // namespace sam3
