#pragma once

// The tracker's calls as tests like to have them.

#include <torch/script.h>

#include <string>
#include <utility>
#include <vector>

#include "core/replica.h"
#include "core/track_tensors.h"
#include "fixtures.h"
#include "model.h"
#include "wait.h"

namespace sam3::test {

// A replica with the tiny bundle of a seed, its calls waiting for their answer and throwing what failed.
struct Video {
  Replica replica{test_device().str(), 1};

  explicit Video(int seed) : Video(read_spec(seed)) {}
  explicit Video(BundleSpec spec) {
    get<LoadReport>([&](auto done) { replica.load(std::move(spec), token(), [](const auto&...) {}, done); });
  }

  // [H, W, 3] uint8.
  ImageRef encode(const at::Tensor& frame) {
    const PixelView view = view_of(frame);
    const Pixels pixels{view.data, static_cast<std::size_t>(frame.numel()), view.width, view.height};
    auto batch = get<Batch<ImageRef>>([&](auto done) { replica.encode_images({{pixels, token()}}, 1, done); });
    return std::get<ImageRef>(batch.items.at(0));
  }
  TextRef encode_text(std::vector<std::int32_t> ids) {
    auto batch = get<Batch<TextRef>>([&](auto done) { replica.encode_texts({{std::move(ids), token()}}, 1, done); });
    return std::get<TextRef>(batch.items.at(0));
  }
  Detections detect(DetectRequest request, CancelRef cancel = token()) {
    return get<Detections>([&](auto done) { replica.detect_concepts(std::move(request), cancel, done); });
  }
  Tracked track(TrackRequest request, CancelRef cancel = token()) {
    return get<Tracked>([&](auto done) { replica.track_objects(std::move(request), cancel, done); });
  }
  Tracked seed(SeedRequest request, CancelRef cancel = token()) {
    return get<Tracked>([&](auto done) { replica.seed_objects(std::move(request), cancel, done); });
  }
  std::vector<TrackMemoryRef> remember(RememberRequest request, CancelRef cancel = token()) {
    return get<std::vector<TrackMemoryRef>>(
        [&](auto done) { replica.remember_objects(std::move(request), cancel, done); });
  }
  Comparison compare(CompareRequest request, CancelRef cancel = token()) {
    return get<Comparison>([&](auto done) { replica.compare_masks(std::move(request), cancel, done); });
  }
  MasksRef clean(std::vector<MaskRow> rows, std::int64_t area, CancelRef cancel = token()) {
    return get<MasksRef>([&](auto done) { replica.clean_masks(std::move(rows), area, cancel, done); });
  }
  std::vector<ReadMask> read(std::vector<MaskRow> rows, std::int64_t width, std::int64_t height,
                             CancelRef cancel = token()) {
    return get<std::vector<ReadMask>>(
        [&](auto done) { replica.read_masks(std::move(rows), width, height, cancel, done); });
  }
  std::vector<TrackMemoryRef> move(std::vector<TrackMemoryRef> memories, Tier to, CancelRef cancel = token()) {
    return get<std::vector<TrackMemoryRef>>(
        [&](auto done) { replica.move_memories(std::move(memories), to, cancel, done); });
  }
  std::vector<MemoryBlock> save(std::vector<TrackMemoryRef> memories, CancelRef cancel = token()) {
    return get<std::vector<MemoryBlock>>([&](auto done) { replica.save_memories(std::move(memories), cancel, done); });
  }
  std::vector<TrackMemoryRef> restore(std::vector<MemoryBlock> blocks, CancelRef cancel = token()) {
    return get<std::vector<TrackMemoryRef>>(
        [&](auto done) { replica.restore_memories(std::move(blocks), cancel, done); });
  }
};

}  // namespace sam3::test
