// The tracker's calls of ReplicaHandle.

#include <utility>

#include "binding/convert.h"
#include "binding/convert_tracking.h"
#include "binding/environment.h"
#include "binding/handles.h"
#include "binding/promised.h"
#include "binding/replica.h"
#include "binding/values.h"

namespace sam3::binding {
namespace {

// Makes the JavaScript value of what a call came to. By value: what holds handles is let go here, and not when the
// executor's thread has returned, or a handle disposed at once would still be counted for a moment.
template <class T>
Done<T> settle_written(Napi::Env env, const PendingRef& pending) {
  return settle_with<T>(env, pending, [](Napi::Env js, T made) { return write(js, made); });
}

// A call whose one argument is a request with its token.
template <class Call>
Napi::Value requested(const Napi::CallbackInfo& info, const Call& call) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    if (!info[0].IsObject()) throw Error("INVALID_ARGUMENT", "Expected a request.");
    const auto request = info[0].As<Napi::Object>();
    CancelRef cancel = CancelTokenHandle::from(request.Get("token"));
    pending->keep(info.This().As<Napi::Object>());
    call(request, std::move(cancel), pending);
  });
}

}  // namespace

Napi::Value ReplicaHandle::detect_concepts(const Napi::CallbackInfo& info) {
  return requested(info, [&](const Napi::Object& request, CancelRef cancel, const PendingRef& pending) {
    replica_->detect_concepts(read_detect(request), std::move(cancel), settle_written<Detections>(info.Env(), pending));
  });
}

Napi::Value ReplicaHandle::track_objects(const Napi::CallbackInfo& info) {
  return requested(info, [&](const Napi::Object& request, CancelRef cancel, const PendingRef& pending) {
    replica_->track_objects(read_track(request), std::move(cancel), settle_written<Tracked>(info.Env(), pending));
  });
}

Napi::Value ReplicaHandle::seed_objects(const Napi::CallbackInfo& info) {
  return requested(info, [&](const Napi::Object& request, CancelRef cancel, const PendingRef& pending) {
    replica_->seed_objects(read_seed(request), std::move(cancel), settle_written<Tracked>(info.Env(), pending));
  });
}

Napi::Value ReplicaHandle::remember_objects(const Napi::CallbackInfo& info) {
  return requested(info, [&](const Napi::Object& request, CancelRef cancel, const PendingRef& pending) {
    replica_->remember_objects(read_remember(request), std::move(cancel),
                               settle_written<std::vector<TrackMemoryRef>>(info.Env(), pending));
  });
}

Napi::Value ReplicaHandle::compare_masks(const Napi::CallbackInfo& info) {
  return requested(info, [&](const Napi::Object& request, CancelRef cancel, const PendingRef& pending) {
    replica_->compare_masks(read_compare(request), std::move(cancel), settle_written<Comparison>(info.Env(), pending));
  });
}

Napi::Value ReplicaHandle::clean_masks(const Napi::CallbackInfo& info) {
  return requested(info, [&](const Napi::Object& request, CancelRef cancel, const PendingRef& pending) {
    replica_->clean_masks(read_rows(request, "rows"), read_integer(request, "area"), std::move(cancel),
                          settle_written<MasksRef>(info.Env(), pending));
  });
}

Napi::Value ReplicaHandle::read_masks(const Napi::CallbackInfo& info) {
  return requested(info, [&](const Napi::Object& request, CancelRef cancel, const PendingRef& pending) {
    replica_->read_masks(read_rows(request, "rows"), read_integer(request, "width"), read_integer(request, "height"),
                         std::move(cancel), settle_written<std::vector<ReadMask>>(info.Env(), pending));
  });
}

Napi::Value ReplicaHandle::move_memories(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    auto memories = read_memories(info[0]);
    const Tier to = read_tier(info[1]);
    CancelRef cancel = CancelTokenHandle::from(info[2]);
    pending->keep(info.This().As<Napi::Object>());
    replica_->move_memories(std::move(memories), to, std::move(cancel),
                            settle_written<std::vector<TrackMemoryRef>>(info.Env(), pending));
  });
}

Napi::Value ReplicaHandle::save_memories(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    auto memories = read_memories(info[0]);
    CancelRef cancel = CancelTokenHandle::from(info[1]);
    pending->keep(info.This().As<Napi::Object>());
    replica_->save_memories(std::move(memories), std::move(cancel),
                            settle_written<std::vector<MemoryBlock>>(info.Env(), pending));
  });
}

Napi::Value ReplicaHandle::restore_memories(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    auto blocks = read_blocks(info[0]);
    CancelRef cancel = CancelTokenHandle::from(info[1]);
    pending->keep(info.This().As<Napi::Object>());
    replica_->restore_memories(std::move(blocks), std::move(cancel),
                               settle_written<std::vector<TrackMemoryRef>>(info.Env(), pending));
  });
}

}  // namespace sam3::binding
