#include "core/tracker.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/features.h"
#include "core/image_model.h"
#include "core/mask_rows.h"
#include "core/memory.h"
#include "core/object_decoder.h"
#include "core/part.h"

namespace sam3 {
namespace {

constexpr double no_object_logit = -1024;

std::int64_t frames_of(const TrackItem& item) { return static_cast<std::int64_t>(item.memories.size()); }
std::int64_t pointers_of(const TrackItem& item) { return static_cast<std::int64_t>(item.pointers.size()); }

// Counts of items as a mask: row i is true in its first counts[i] columns.
at::Tensor first_ones(const std::vector<std::int64_t>& counts, std::int64_t columns) {
  at::Tensor mask = at::zeros({static_cast<std::int64_t>(counts.size()), columns}, at::kBool);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    std::fill_n(mask.mutable_data_ptr<bool>() + static_cast<std::int64_t>(i) * columns, counts[i], true);
  }
  return mask;
}

bool all_equal(const std::vector<std::int64_t>& values) {
  return std::all_of(values.begin(), values.end(), [&](std::int64_t value) { return value == values[0]; });
}

// [n, k] to [n, k * times]: each column so many times in a row.
at::Tensor repeat_columns(const at::Tensor& table, std::int64_t times) {
  return table.unsqueeze(2).expand({-1, -1, times}).flatten(1);
}

}  // namespace

Tracker::Tracker(std::shared_ptr<ReplicaState> owner, const CancelToken& cancel)
    : state_(std::move(owner)),
      cancel_(cancel),
      bundle_(state_->bundle()),
      spec_(bundle_.spec()),
      constants_(state_->tracker()) {}

MasksRef Tracker::own_masks(at::Tensor logits, std::vector<at::Tensor> given) const {
  return std::make_shared<const Masks>(state_, MaskTensors{std::move(logits), std::move(given)});
}

PointersRef Tracker::own_pointers(at::Tensor rows) const {
  return std::make_shared<const Pointers>(state_, PointerTensors{std::move(rows)});
}

at::Tensor Tracker::none_masks() const {
  return at::empty({0, spec_.mask_size, spec_.mask_size}, at::TensorOptions().dtype(at::kFloat).device(state_->device()));
}

Tracked Tracker::track(const TrackRequest& request) {
  const ImageTensors& image = request.image->tensors();
  const auto n = static_cast<std::int64_t>(request.items.size());
  if (n == 0) {
    const MasksRef none = own_masks(none_masks());
    return {none, none, own_pointers(none_masks().view({0, 0})), {}, {}};
  }
  // Together what has equally many points: one added for padding would be attended to and change the answer. A frame
  // that is only tracked is one group.
  std::vector<std::size_t> order(request.items.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto points_of = [&](std::size_t index) { return request.items[index].labels.size(); };
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return points_of(a) < points_of(b); });

  std::int64_t frames = 0;
  std::int64_t pointers = 0;
  for (const TrackItem& item : request.items) {
    frames = std::max(frames, frames_of(item));
    pointers = std::max(pointers, pointers_of(item));
  }
  const std::int64_t one = decoder_bytes(image.tracker_fine, image.tracker_coarse) + attention_bytes(image, frames, pointers);
  const std::size_t most = fit_at_once(state_->device(), one, order.size());

  std::vector<Decoded> pieces;
  for (std::size_t begin = 0; begin < order.size();) {
    cancel_.throw_if_cancelled();
    std::vector<const TrackItem*> some;
    std::size_t end = begin;
    while (end < order.size() && some.size() < most && points_of(order[end]) == points_of(order[begin])) {
      some.push_back(&request.items[order[end++]]);
    }
    pieces.push_back(track_some(image, some));
    begin = end;
  }
  const auto gather = [&](at::Tensor Decoded::* what) {
    std::vector<at::Tensor> list;
    for (const Decoded& piece : pieces) list.push_back(piece.*what);
    const at::Tensor all = list.size() == 1 ? list[0] : at::cat(list);
    if (std::is_sorted(order.begin(), order.end())) return all;
    std::vector<std::int64_t> back(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) back[order[i]] = static_cast<std::int64_t>(i);
    return all.index_select(0, at::tensor(back, at::kLong).to(all.device()));
  };
  const at::Tensor masks = gather(&Decoded::masks);
  const at::Tensor scores = gather(&Decoded::object_scores);
  const at::Tensor quality = gather(&Decoded::quality);
  for (const Decoded& piece : pieces) expect_numbers(piece);
  const MasksRef decoded = own_masks(masks);
  cancel_.throw_if_cancelled();
  const MasksRef cleaned =
      request.clean_area > 0 ? own_masks(clean_masks(masks, request.clean_area, at::get_num_threads())) : decoded;
  return {decoded, cleaned, own_pointers(gather(&Decoded::pointers)), to_vector(scores), to_vector(quality)};
}

Tracker::Decoded Tracker::track_some(const ImageTensors& image, const std::vector<const TrackItem*>& items) {
  const auto n = static_cast<std::int64_t>(items.size());
  std::vector<const TrackItem*> remembering;
  std::vector<PointPrompt> points;
  for (const TrackItem* item : items) {
    if (!item->memories.empty()) remembering.push_back(item);
    points.push_back({&item->points, &item->labels, image.width, image.height});
  }
  const at::Tensor& coarse = image.tracker_coarse;
  const auto alone = [&] { return (coarse.to(at::kFloat) + constants_.no_memory).to(coarse.scalar_type()); };
  at::Tensor conditioned;
  if (remembering.empty()) {
    conditioned = alone().expand({n, -1, -1, -1});
  } else {
    conditioned = attend(image, remembering);
    if (remembering.size() < items.size()) {
      const at::Tensor bare = alone();
      std::vector<at::Tensor> rows;
      std::int64_t next = 0;
      for (const TrackItem* item : items) rows.push_back(item->memories.empty() ? bare : conditioned.narrow(0, next++, 1));
      conditioned = at::cat(rows);
    }
  }
  const auto wide = [n](const at::Tensor& map) { return map.expand({n, -1, -1, -1}); };
  const ObjectTensors answer = decode_objects(bundle_, state_->device(), wide(image.tracker_fine),
                                              wide(image.tracker_middle), conditioned, point_prompts(points, spec_));
  return choose(answer, items[0]->labels.size() <= 1);
}

at::Tensor Tracker::attend(const ImageTensors& image, const std::vector<const TrackItem*>& items) {
  const c10::Device device = state_->device();
  const c10::ScalarType dtype = scalar_type(spec_.dtype);
  const auto n = static_cast<std::int64_t>(items.size());
  const std::int64_t g = spec_.feature_size;
  const std::int64_t channels = constants_.channels();
  const std::int64_t width = constants_.width();
  const std::int64_t tokens_per_pointer = width / channels;
  std::vector<std::int64_t> frame_counts;
  std::vector<std::int64_t> pointer_counts;
  for (const TrackItem* item : items) {
    frame_counts.push_back(frames_of(*item));
    pointer_counts.push_back(pointers_of(*item));
  }
  const std::int64_t frames = *std::max_element(frame_counts.begin(), frame_counts.end());
  const std::int64_t pointers = *std::max_element(pointer_counts.begin(), pointer_counts.end());

  // Shorter memories are padded at their end, with zeros that the masks below hide.
  std::vector<at::Tensor> maps;
  std::vector<at::Tensor> tokens;
  at::Tensor rows = at::zeros({n, frames}, at::kLong);
  at::Tensor ages = at::zeros({n, pointers}, at::kFloat);
  at::Tensor no_map;
  at::Tensor no_pointer;
  for (std::int64_t i = 0; i < n; ++i) {
    const TrackItem& item = *items[static_cast<std::size_t>(i)];
    for (const auto& memory : item.memories) maps.push_back(memory->tensors().map);
    for (const auto& memory : item.pointers) tokens.push_back(memory->tensors().pointer);
    if (frames_of(item) < frames && !no_map.defined()) no_map = at::zeros_like(maps[0]);
    if (pointers_of(item) < pointers && !no_pointer.defined()) no_pointer = at::zeros_like(constants_.no_object_pointer[0]);
    maps.insert(maps.end(), static_cast<std::size_t>(frames - frames_of(item)), no_map);
    tokens.insert(tokens.end(), static_cast<std::size_t>(pointers - pointers_of(item)), no_pointer);
    std::copy(item.rows.begin(), item.rows.end(), rows.mutable_data_ptr<std::int64_t>() + i * frames);
    std::copy(item.ages.begin(), item.ages.end(), ages.mutable_data_ptr<float>() + i * pointers);
  }
  const at::Tensor memory = at::cat(maps).view({n, frames * g * g, channels}).to(dtype);
  maps.clear();
  // Positions are the same for all objects that remember the same frames: then one row stands for all.
  const bool same_rows = rows.eq(rows.narrow(0, 0, 1)).all().item<bool>();
  if (same_rows) rows = rows.narrow(0, 0, 1);
  const at::Tensor times = constants_.memory_temporal.index_select(0, rows.flatten().to(device));
  const at::Tensor position = (times.view({rows.size(0), frames, 1, channels}) + constants_.memory_position.unsqueeze(1))
                                  .view({rows.size(0), frames * g * g, channels})
                                  .to(dtype)
                                  .expand({n, -1, -1});
  const at::TensorOptions options = at::TensorOptions().dtype(dtype).device(device);
  const std::int64_t spots = pointers * tokens_per_pointer;
  at::Tensor pointer_tokens = at::zeros({n, 0, channels}, options);
  at::Tensor pointer_places = pointer_tokens;
  if (pointers > 0) {
    pointer_tokens = at::cat(tokens).view({n, spots, channels}).to(dtype);
    pointer_places = pointer_position(ages.flatten().to(device))
                         .view({n, pointers, 1, channels})
                         .expand({-1, -1, tokens_per_pointer, -1})
                         .reshape({n, spots, channels})
                         .to(dtype);
  }
  std::vector<c10::IValue> inputs{image.tracker_coarse.expand({n, -1, -1, -1}), memory, position, pointer_tokens,
                                  pointer_places};
  const char* const part = "memory_attention";
  const bool even = all_equal(frame_counts) && all_equal(pointer_counts);
  if (!even) {
    inputs.emplace_back(repeat_columns(first_ones(frame_counts, frames), g * g).to(device));
    inputs.emplace_back(repeat_columns(first_ones(pointer_counts, pointers), tokens_per_pointer).to(device));
  }
  const auto out = run_part(bundle_, part, std::move(inputs), 1, even ? "forward" : "masked");
  expect_shape(part, "the features", out[0], {n, width, g, g});
  return out[0];
}

// As transformers' get_1d_sine_pe, then projected: [k] ages to [k, C].
at::Tensor Tracker::pointer_position(const at::Tensor& ages) const {
  const std::int64_t half = constants_.width() / 2;
  const at::Tensor index = at::arange(half, at::TensorOptions().dtype(at::kFloat).device(ages.device()));
  const at::Tensor divisors = at::pow(10000, 2 * at::div(index, 2, "floor") / half);
  const at::Tensor angles = ages.unsqueeze(1) / divisors;
  return at::linear(at::cat({angles.sin(), angles.cos()}, 1), constants_.pointer_weight, constants_.pointer_bias);
}

Tracker::Decoded Tracker::choose(const ObjectTensors& answer, bool best_of_three) const {
  const std::int64_t n = answer.masks.size(0);
  const at::Tensor quality = answer.quality.to(at::kFloat);
  const at::Tensor best = quality.narrow(1, 1, 3).argmax(1) + 1;
  at::Tensor mask_token = best;
  at::Tensor pointer_token = best;
  if (!best_of_three) {
    const at::Tensor single = answer.masks.select(1, 0).flatten(1).to(at::kFloat);
    const at::Tensor inner = single.gt(spec_.stability_delta).sum(1).to(at::kFloat);
    const at::Tensor outer = single.gt(-spec_.stability_delta).sum(1).to(at::kFloat);
    const at::Tensor stability = at::where(outer.gt(0), inner / outer, at::ones_like(outer));
    pointer_token = at::zeros_like(best);
    mask_token = at::where(stability.ge(spec_.stability_threshold), pointer_token, best);
  }
  const at::Tensor first = at::arange(n, best.options()) * 4;
  const auto pick = [&](const at::Tensor& tokens, const at::Tensor& token) {
    return tokens.flatten(0, 1).index_select(0, first + token).to(at::kFloat);
  };
  const at::Tensor scores = answer.object_score.flatten().to(at::kFloat);
  const at::Tensor appears = scores.gt(0);
  const at::Tensor masks = pick(answer.masks, mask_token);
  return {at::where(appears.view({n, 1, 1}), masks, at::full({}, no_object_logit, masks.options())),
          at::where(appears.unsqueeze(1), pick(answer.pointers, pointer_token), constants_.no_object_pointer), scores,
          pick(quality.unsqueeze(2), mask_token).flatten(),
          at::isfinite(masks).all() & at::isfinite(scores).all() & at::isfinite(quality).all()};
}

void Tracker::expect_numbers(const Decoded& decoded) const {
  if (decoded.numbers.item<bool>()) return;
  throw Error("MODEL_FAILED", "The model's object_decoder answered with values that are not numbers.");
}

std::int64_t Tracker::attention_bytes(const ImageTensors& image, std::int64_t frames, std::int64_t pointers) const {
  const std::int64_t cells = spec_.feature_size * spec_.feature_size;
  const std::int64_t channels = constants_.channels();
  const std::int64_t width = constants_.width();
  // Keys: the memory, its position, their sum, and in one layer keys and values several times over. Queries: several
  // copies of the frame and the feed-forward layer's inside, which is about eight times as wide.
  const std::int64_t keys = frames * cells + pointers * width / channels;
  const std::int64_t floats = keys * (4 * channels + 6 * width) + 24 * image.tracker_coarse.numel();
  return floats * static_cast<std::int64_t>(sizeof(float));
}

MasksRef Tracker::clean(const std::vector<MaskRow>& rows, std::int64_t area) {
  if (rows.empty()) return own_masks(none_masks());
  return own_masks(clean_masks(gather_masks(rows), area, at::get_num_threads()));
}

}  // namespace sam3
