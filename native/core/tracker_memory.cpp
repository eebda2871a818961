// The half of Tracker that makes memories: of masks as they were decoded or given, and of objects that begin.

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "core/features.h"
#include "core/image_model.h"
#include "core/mask_rows.h"
#include "core/memory.h"
#include "core/object_decoder.h"
#include "core/part.h"
#include "core/tracker.h"

namespace sam3 {
namespace {

constexpr double given_inside = 10;
constexpr double given_outside = -10;
constexpr double constrained_out = -10;

// Where each cell belongs to the strongest object of a group, the masks that lose most of themselves are emptied.
at::Tensor suppress_shrunk(const at::Tensor& masks, double least_kept) {
  const std::int64_t n = masks.size(0);
  const at::Tensor strongest = masks.argmax(0, /*keepdim=*/true);
  const at::Tensor own = strongest.eq(at::arange(n, strongest.options()).view({n, 1, 1}));
  const at::Tensor before = masks.gt(0).sum({1, 2}).to(at::kFloat).clamp_min(1);
  // A cell of another object would be clamped to -10: what is over 0 of the rest is what an object keeps.
  const at::Tensor after = masks.gt(0).logical_and(own).sum({1, 2}).to(at::kFloat);
  const at::Tensor keep = (after / before).ge(least_kept).view({n, 1, 1});
  return at::where(keep, masks, masks.clamp_max(constrained_out));
}

at::Tensor constrain(const at::Tensor& masks, const std::vector<RememberRow>& rows, double least_kept) {
  std::map<std::int64_t, std::vector<std::int64_t>> groups;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].group >= 0) groups[rows[i].group].push_back(static_cast<std::int64_t>(i));
  }
  at::Tensor constrained = masks.clone();
  for (const auto& [group, members] : groups) {
    if (members.size() < 2) continue;
    const at::Tensor index = at::tensor(members, at::kLong).to(masks.device());
    constrained.index_copy_(0, index, suppress_shrunk(masks.index_select(0, index), least_kept));
  }
  return constrained;
}

// The mask that was given for a row of a handle; undefined where it was decoded.
at::Tensor given_of(const MaskRow& row) {
  const auto& given = row.masks->tensors().given;
  return row.hidden || given.empty() ? at::Tensor() : given[static_cast<std::size_t>(row.row)];
}

// Run lengths, column by column, as a plane [height, width] of 0 and 1.
at::Tensor plane_of(const std::vector<std::uint32_t>& counts, std::int64_t height, std::int64_t width) {
  at::Tensor columns = at::zeros({width, height}, at::kByte);
  std::uint8_t* at = columns.mutable_data_ptr<std::uint8_t>();
  bool inside = false;
  for (const std::uint32_t run : counts) {
    if (inside) std::fill_n(at, run, std::uint8_t{1});
    at += run;
    inside = !inside;
  }
  return columns.t().contiguous();
}

// As F.interpolate(bilinear, antialias, align_corners false) does; as it is where it has that size.
at::Tensor resize_smooth(const at::Tensor& planes, std::int64_t side) {
  if (planes.size(2) == side && planes.size(3) == side) return planes;
  return at::_upsample_bilinear2d_aa(planes, {side, side}, /*align_corners=*/false);
}

// A given mask, [h, w] of 0 and 1 in any size, in the model's square: [1, 1, R, R].
at::Tensor square_of(const at::Tensor& mask, std::int64_t resolution) {
  return resize_smooth(mask.to(at::kFloat).unsqueeze(0).unsqueeze(0), resolution);
}

at::Tensor logits_of(const at::Tensor& square) { return square * (given_inside - given_outside) + given_outside; }

}  // namespace

std::vector<TrackMemoryRef> Tracker::remember(const RememberRequest& request) {
  std::vector<TrackMemoryRef> made;
  if (request.rows.empty()) return made;
  const ImageTensors& image = request.image->tensors();
  const c10::Device device = state_->device();
  const c10::ScalarType dtype = scalar_type(spec_.dtype);
  const std::int64_t g = spec_.feature_size;
  const std::int64_t channels = constants_.channels();
  const char* const part = "memory_encoder";

  std::vector<MaskRow> rows;
  for (const RememberRow& row : request.rows) rows.push_back(row.mask);
  at::Tensor logits = gather_masks(rows);
  at::Tensor there;  // [n] bool
  if (request.least_kept) {
    logits = constrain(logits, request.rows, *request.least_kept);
    there = logits.flatten(1).gt(0).any(1);
  } else {
    at::Tensor seen = at::empty({logits.size(0)}, at::kBool);
    for (std::size_t i = 0; i < request.rows.size(); ++i) {
      seen.mutable_data_ptr<bool>()[i] = request.rows[i].object_score > 0;
    }
    there = seen.to(device);
  }

  // The square twice, the encoder's mask through its first layers, and the frame's features several times.
  const std::int64_t one = static_cast<std::int64_t>(sizeof(float)) *
                           (2 * spec_.resolution * spec_.resolution + 8 * 256 * g * g + 16 * image.tracker_coarse.numel());
  const std::size_t most = fit_at_once(device, one, request.rows.size());
  for (std::size_t begin = 0; begin < request.rows.size(); begin += most) {
    cancel_.throw_if_cancelled();
    const auto first = static_cast<std::int64_t>(begin);
    const auto count = static_cast<std::int64_t>(std::min(most, request.rows.size() - begin));
    at::Tensor masks = masks_to_remember(request, begin, logits.narrow(0, first, count));
    masks = request.binarize ? masks.gt(0).to(at::kFloat) : masks.sigmoid();
    masks = (masks * spec_.memory_mask_scale + spec_.memory_mask_bias).to(dtype);
    const auto out = run_part(bundle_, part, {image.tracker_coarse.expand({count, -1, -1, -1}), masks}, 2);
    expect_shape(part, "the memory", out[0], {count, channels, g, g});
    const at::Tensor hidden = there.narrow(0, first, count).logical_not().to(at::kFloat).view({count, 1, 1});
    // [count, g * g, C]
    const at::Tensor tokens = out[0].to(at::kFloat).flatten(2).transpose(1, 2);
    const at::Tensor maps = (tokens + hidden * constants_.no_object_spatial).to(at::kBFloat16);
    for (std::int64_t i = 0; i < count; ++i) {
      const RememberRow& row = request.rows[begin + static_cast<std::size_t>(i)];
      // In storage of their own: a view would keep the whole batch alive.
      made.push_back(std::make_shared<const TrackMemory>(
          state_, TrackMemoryTensors{maps[i].clone(at::MemoryFormat::Contiguous),
                                     row.pointers->tensors().rows[row.pointer_row].clone()}));
    }
  }
  finish_work_on(device);
  return made;
}

at::Tensor Tracker::masks_to_remember(const RememberRequest& request, std::size_t begin, const at::Tensor& logits) const {
  const std::int64_t side = 16 * spec_.feature_size;
  at::Tensor planes = logits.unsqueeze(1);
  if (request.through_square) {
    planes = at::upsample_bilinear2d(planes, {spec_.resolution, spec_.resolution}, /*align_corners=*/false);
    for (std::int64_t i = 0; i < logits.size(0); ++i) {
      // Among others a given mask may have been emptied: then its logits count.
      const at::Tensor given = request.least_kept ? at::Tensor()
                                                 : given_of(request.rows[begin + static_cast<std::size_t>(i)].mask);
      if (given.defined()) planes[i].copy_(logits_of(square_of(given, spec_.resolution))[0]);
    }
  }
  return resize_smooth(planes, side);
}

Tracked Tracker::seed(const SeedRequest& request) {
  const ImageTensors& image = request.image->tensors();
  const c10::Device device = state_->device();
  std::vector<at::Tensor> given;
  std::vector<Decoded> pieces;
  // The square and its decoding.
  const std::int64_t one = 4 * spec_.resolution * spec_.resolution * static_cast<std::int64_t>(sizeof(float)) +
                           decoder_bytes(image.tracker_fine, image.tracker_coarse);
  const std::size_t most = fit_at_once(device, one, std::max<std::size_t>(request.items.size(), 1));
  for (std::size_t begin = 0; begin < request.items.size(); begin += most) {
    cancel_.throw_if_cancelled();
    const std::size_t end = std::min(begin + most, request.items.size());
    std::vector<at::Tensor> squares;
    for (std::size_t i = begin; i < end; ++i) {
      if (const auto* row = std::get_if<MaskRow>(&request.items[i])) {
        // As transformers' _tracker_add_new_objects: what is over 0.5 of the low-resolution logits.
        given.push_back(gather_masks({*row})[0].ge(0.5).to(at::kByte));
      } else {
        const at::Tensor plane =
            plane_of(std::get<std::vector<std::uint32_t>>(request.items[i]), image.height, image.width).to(device);
        given.push_back(square_of(plane, spec_.resolution)[0][0].ge(0.5).to(at::kByte));
      }
      squares.push_back(square_of(given.back(), spec_.resolution));
    }
    Decoded piece = seed_some(image, at::cat(squares));
    squares.clear();
    const auto n = static_cast<std::int64_t>(end - begin);
    std::vector<at::Tensor> there;
    for (std::size_t i = begin; i < end; ++i) there.push_back(given[i].gt(0).any());
    const at::Tensor seen = at::stack(there);
    expect_numbers(piece);
    piece.pointers = at::where(seen.view({n, 1}), piece.pointers, constants_.no_object_pointer);
    piece.object_scores = seen.to(at::kFloat) * (given_inside - given_outside) + given_outside;
    pieces.push_back(std::move(piece));
  }
  std::vector<at::Tensor> masks{none_masks()};
  std::vector<at::Tensor> pointers{at::empty({0, constants_.width()}, masks[0].options())};
  Tracked tracked;
  for (const Decoded& piece : pieces) {
    masks.push_back(piece.masks);
    pointers.push_back(piece.pointers);
    const auto scores = to_vector(piece.object_scores);
    tracked.object_scores.insert(tracked.object_scores.end(), scores.begin(), scores.end());
  }
  tracked.quality.assign(tracked.object_scores.size(), 1.0f);
  tracked.masks = own_masks(at::cat(masks), std::move(given));
  tracked.cleaned = tracked.masks;
  tracked.pointers = own_pointers(at::cat(pointers));
  return tracked;
}

// A given mask is not decoded: only its object pointer is, from the frame without memory.
Tracker::Decoded Tracker::seed_some(const ImageTensors& image, const at::Tensor& squares) {
  const std::int64_t n = squares.size(0);
  const std::int64_t m = spec_.mask_size;
  const at::Tensor prompt = resize_smooth(
      at::conv2d(squares, constants_.downsample_weight, constants_.downsample_bias, /*stride=*/4), m);
  static const std::vector<float> no_points;
  static const std::vector<std::int32_t> no_labels;
  const std::vector<PointPrompt> points(static_cast<std::size_t>(n), {&no_points, &no_labels, 1, 1});
  DecoderPrompts prompts = point_prompts(points, spec_);
  prompts.masks = prompt;
  prompts.has_mask.fill_(true);
  const auto wide = [n](const at::Tensor& map) { return map.expand({n, -1, -1, -1}); };
  const ObjectTensors answer = decode_objects(bundle_, state_->device(), wide(image.tracker_fine),
                                              wide(image.tracker_middle), wide(image.tracker_coarse), prompts);
  Decoded decoded = choose(answer, /*best_of_three=*/true);
  decoded.masks = resize_smooth(logits_of(squares), m).flatten(0, 1);
  return decoded;
}

}  // namespace sam3
