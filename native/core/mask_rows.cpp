#include "core/mask_rows.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

#include "core/components.h"
#include "core/parallel.h"
#include "core/part.h"
#include "core/track_tensors.h"

namespace sam3 {
namespace {

constexpr double hidden_logit = -10;
// Planes that are on the host at a time, so that hundreds of masks need no hundreds of megabytes.
constexpr std::int64_t planes_at_once = 64;

at::Tensor inside(const std::vector<MaskRow>& rows) { return gather_masks(rows).gt(0); }

at::Tensor areas(const at::Tensor& masks) { return masks.flatten(1).sum(1, false, at::kLong); }

std::vector<std::uint32_t> read_areas(const at::Tensor& areas) {
  const at::Tensor values = areas.to(at::kCPU).contiguous();
  const auto* const first = values.const_data_ptr<std::int64_t>();
  return {first, first + values.numel()};
}

// What is around the foreground, from run lengths that go column by column.
std::array<double, 4> box_of(const RunLengths& mask, std::int64_t height) {
  if (mask.area == 0) return {};
  std::int64_t at = 0;
  std::int64_t left = -1;
  std::int64_t right = 0;
  std::int64_t top = height;
  std::int64_t bottom = 0;
  for (std::size_t i = 0; i < mask.counts.size(); ++i) {
    const std::int64_t run = mask.counts[i];
    if (i % 2 == 1 && run > 0) {
      const std::int64_t last = at + run - 1;
      if (left < 0) left = at / height;
      right = last / height + 1;
      // A run over the end of a column covers the last row of one and the first of the next.
      const bool one_column = at / height == last / height;
      top = std::min(top, one_column ? at % height : 0);
      bottom = std::max(bottom, one_column ? last % height + 1 : height);
    }
    at += run;
  }
  return {static_cast<double>(left), static_cast<double>(top), static_cast<double>(right), static_cast<double>(bottom)};
}

}  // namespace

at::Tensor gather_masks(const std::vector<MaskRow>& rows) {
  const auto logits = [](const MaskRow& row) -> const at::Tensor& { return row.masks->tensors().logits; };
  std::vector<at::Tensor> pieces;
  at::Tensor hidden;
  for (std::size_t i = 0; i < rows.size();) {
    if (rows[i].hidden) {
      if (!hidden.defined()) hidden = at::full_like(logits(rows[i]).narrow(0, 0, 1), hidden_logit);
      pieces.push_back(hidden);
      ++i;
      continue;
    }
    std::size_t end = i + 1;
    while (end < rows.size() && !rows[end].hidden && rows[end].masks == rows[i].masks &&
           rows[end].row == rows[end - 1].row + 1) {
      ++end;
    }
    pieces.push_back(logits(rows[i]).narrow(0, rows[i].row, static_cast<std::int64_t>(end - i)));
    i = end;
  }
  return pieces.size() == 1 ? pieces[0] : at::cat(pieces);
}

at::Tensor overlaps(const at::Tensor& a, const at::Tensor& b) {
  // Sums of zeros and ones are exact in single precision up to 2^24 cells.
  const at::Tensor first = a.flatten(1).to(at::kFloat);
  const at::Tensor second = b.flatten(1).to(at::kFloat);
  const at::Tensor both = first.mm(second.t());
  const at::Tensor either = first.sum(1).unsqueeze(1) + second.sum(1).unsqueeze(0) - both;
  return both / either.clamp_min(1);
}

std::vector<std::int64_t> keep_best(const at::Tensor& iou, const std::vector<float>& scores, double threshold) {
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  const auto n = static_cast<std::int64_t>(scores.size());
  const at::Tensor table = iou.contiguous();
  const float* const overlap = table.const_data_ptr<float>();
  const auto limit = static_cast<float>(threshold);
  std::vector<std::int64_t> kept;
  for (const std::int64_t candidate : order) {
    const bool stays = std::all_of(kept.begin(), kept.end(), [&](std::int64_t better) {
      return overlap[better * n + candidate] <= limit;
    });
    if (stays) kept.push_back(candidate);
  }
  std::sort(kept.begin(), kept.end());
  return kept;
}

Comparison compare_masks(const CompareRequest& request) {
  Comparison comparison;
  const at::Tensor a = request.a.empty() ? at::Tensor() : inside(request.a);
  const at::Tensor b = request.b.empty() ? at::Tensor() : inside(request.b);
  if (a.defined()) comparison.areas_a = read_areas(areas(a));
  if (b.defined()) comparison.areas_b = read_areas(areas(b));
  if (!a.defined() || !b.defined()) return comparison;
  const at::Tensor iou = to_cpu_floats(overlaps(a, b));
  comparison.iou.assign(iou.const_data_ptr<float>(), iou.const_data_ptr<float>() + iou.numel());
  return comparison;
}

at::Tensor clean_masks(const at::Tensor& logits, std::int64_t area, int threads) {
  const at::Tensor cleaned = logits.to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  const std::int64_t rows = cleaned.size(1);
  const std::int64_t columns = cleaned.size(2);
  float* const first = cleaned.mutable_data_ptr<float>();
  parallel(cleaned.size(0), threads,
           [&](std::int64_t i) { fill_and_sweep(first + i * rows * columns, rows, columns, area); });
  return cleaned.to(logits.device());
}

std::vector<ReadMask> read_masks(const std::vector<MaskRow>& rows, std::int64_t height, std::int64_t width, int threads) {
  std::vector<ReadMask> read;
  for (std::size_t begin = 0; begin < rows.size(); begin += planes_at_once) {
    const std::size_t end = std::min(begin + planes_at_once, rows.size());
    const std::vector<MaskRow> some(rows.begin() + static_cast<std::ptrdiff_t>(begin),
                                    rows.begin() + static_cast<std::ptrdiff_t>(end));
    const at::Tensor logits = to_cpu_floats(gather_masks(some));
    auto masks = encode_masks({logits.const_data_ptr<float>(), logits.size(0), logits.size(1), logits.size(2)}, height,
                              width, 0.0f, threads);
    for (RunLengths& mask : masks) {
      const auto box = box_of(mask, height);
      read.push_back({std::move(mask), box});
    }
  }
  return read;
}

}  // namespace sam3
