// The tracker's calls of a replica: checked, then done on the executor's thread.

#include <ATen/Parallel.h>

#include "core/features.h"
#include "core/mask_rows.h"
#include "core/memory_block.h"
#include "core/part.h"
#include "core/replica_submit.h"
#include "core/tracker.h"
#include "core/tracking_checks.h"

namespace sam3 {

// `work` is given the state and the call's token; it is not begun once that is cancelled.
template <class T, class Work>
void Replica::submit_tracking(CancelRef cancel, const char* doing, Work work, Done<T> done) {
  submit<T>(
      {cancel}, doing,
      [state = state_, cancel, work = std::move(work)](double) -> T {
        T made = work(state, *cancel);
        finish_work_on(state->device());
        cancel->throw_if_cancelled();
        return made;
      },
      std::move(done));
}

void Replica::detect_concepts(DetectRequest request, CancelRef cancel, Done<Detections> done) {
  submit_tracking<Detections>(
      std::move(cancel), "Detecting failed",
      [request = std::move(request)](const std::shared_ptr<ReplicaState>& state, const CancelToken& token) {
        check(request, state.get());
        return Tracker(state, token).detect(request);
      },
      std::move(done));
}

void Replica::track_objects(TrackRequest request, CancelRef cancel, Done<Tracked> done) {
  submit_tracking<Tracked>(
      std::move(cancel), "Tracking failed",
      [request = std::move(request)](const std::shared_ptr<ReplicaState>& state, const CancelToken& token) {
        check(request, state.get(), state->tracker());
        return Tracker(state, token).track(request);
      },
      std::move(done));
}

void Replica::seed_objects(SeedRequest request, CancelRef cancel, Done<Tracked> done) {
  submit_tracking<Tracked>(
      std::move(cancel), "Taking masks for tracking failed",
      [request = std::move(request)](const std::shared_ptr<ReplicaState>& state, const CancelToken& token) {
        check(request, state.get());
        return Tracker(state, token).seed(request);
      },
      std::move(done));
}

void Replica::remember_objects(RememberRequest request, CancelRef cancel, Done<std::vector<TrackMemoryRef>> done) {
  submit_tracking<std::vector<TrackMemoryRef>>(
      std::move(cancel), "Remembering failed",
      [request = std::move(request)](const std::shared_ptr<ReplicaState>& state, const CancelToken& token) {
        check(request, state.get());
        return Tracker(state, token).remember(request);
      },
      std::move(done));
}

void Replica::compare_masks(CompareRequest request, CancelRef cancel, Done<Comparison> done) {
  submit_tracking<Comparison>(
      std::move(cancel), "Comparing masks failed",
      [request = std::move(request)](const std::shared_ptr<ReplicaState>& state, const CancelToken&) {
        check(request, state.get());
        return sam3::compare_masks(request);
      },
      std::move(done));
}

void Replica::clean_masks(std::vector<MaskRow> rows, std::int64_t area, CancelRef cancel, Done<MasksRef> done) {
  submit_tracking<MasksRef>(
      std::move(cancel), "Cleaning masks failed",
      [rows = std::move(rows), area](const std::shared_ptr<ReplicaState>& state, const CancelToken& token) {
        check(rows, state.get());
        check_area(area);
        return Tracker(state, token).clean(rows, area);
      },
      std::move(done));
}

void Replica::read_masks(std::vector<MaskRow> rows, std::int64_t width, std::int64_t height, CancelRef cancel,
                         Done<std::vector<ReadMask>> done) {
  submit_tracking<std::vector<ReadMask>>(
      std::move(cancel), "Reading masks failed",
      [rows = std::move(rows), width, height](const std::shared_ptr<ReplicaState>& state, const CancelToken&) {
        check(rows, state.get());
        check_video_size(width, height);
        return sam3::read_masks(rows, height, width, at::get_num_threads());
      },
      std::move(done));
}

void Replica::move_memories(std::vector<TrackMemoryRef> memories, Tier to, CancelRef cancel,
                            Done<std::vector<TrackMemoryRef>> done) {
  submit_tracking<std::vector<TrackMemoryRef>>(
      std::move(cancel), "Moving memories failed",
      [memories = std::move(memories), to](const std::shared_ptr<ReplicaState>& state, const CancelToken& token) {
        check(memories, state.get());
        const c10::Device target = to == Tier::host ? c10::Device(c10::kCPU) : state->device();
        std::vector<TrackMemoryRef> moved;
        for (const auto& memory : memories) {
          token.throw_if_cancelled();
          moved.push_back(std::make_shared<const TrackMemory>(state, memory->tensors().copy_to(target), to));
        }
        return moved;
      },
      std::move(done));
}

void Replica::save_memories(std::vector<TrackMemoryRef> memories, CancelRef cancel, Done<std::vector<MemoryBlock>> done) {
  submit_tracking<std::vector<MemoryBlock>>(
      std::move(cancel), "Saving memories failed",
      [memories = std::move(memories)](const std::shared_ptr<ReplicaState>& state, const CancelToken& token) {
        check(memories, state.get());
        const std::uint64_t fingerprint = state->tracker().fingerprint;
        std::vector<MemoryBlock> blocks;
        for (const auto& memory : memories) {
          token.throw_if_cancelled();
          blocks.push_back(write_block(memory->tensors(), fingerprint));
        }
        return blocks;
      },
      std::move(done));
}

void Replica::restore_memories(std::vector<MemoryBlock> blocks, CancelRef cancel, Done<std::vector<TrackMemoryRef>> done) {
  submit_tracking<std::vector<TrackMemoryRef>>(
      std::move(cancel), "Restoring memories failed",
      [blocks = std::move(blocks)](const std::shared_ptr<ReplicaState>& state, const CancelToken& token) {
        const std::int64_t side = state->bundle().spec().feature_size;
        std::vector<TrackMemoryRef> memories;
        for (const MemoryBlock& block : blocks) {
          token.throw_if_cancelled();
          memories.push_back(std::make_shared<const TrackMemory>(
              state, read_block(block, state->tracker(), side * side).copy_to(state->device())));
        }
        return memories;
      },
      std::move(done));
}

}  // namespace sam3
