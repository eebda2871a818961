#pragma once

#include <napi.h>

#include <memory>

#include "core/replica.h"

namespace sam3::binding {

// Adapter of NativeReplica in lib/native/addon.ts. Used on its environment's thread.
class ReplicaHandle : public Napi::ObjectWrap<ReplicaHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ReplicaHandle(const Napi::CallbackInfo& info);
  // Dropped without close(): closed here, without waiting.
  void Finalize(Napi::Env env) override;

 private:
  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value encode_images(const Napi::CallbackInfo& info);
  Napi::Value encode_texts(const Napi::CallbackInfo& info);
  Napi::Value segment_concepts(const Napi::CallbackInfo& info);
  Napi::Value segment_objects(const Napi::CallbackInfo& info);
  Napi::Value move_features(const Napi::CallbackInfo& info);
  Napi::Value detect_concepts(const Napi::CallbackInfo& info);
  Napi::Value track_objects(const Napi::CallbackInfo& info);
  Napi::Value seed_objects(const Napi::CallbackInfo& info);
  Napi::Value remember_objects(const Napi::CallbackInfo& info);
  Napi::Value compare_masks(const Napi::CallbackInfo& info);
  Napi::Value clean_masks(const Napi::CallbackInfo& info);
  Napi::Value read_masks(const Napi::CallbackInfo& info);
  Napi::Value move_memories(const Napi::CallbackInfo& info);
  Napi::Value save_memories(const Napi::CallbackInfo& info);
  Napi::Value restore_memories(const Napi::CallbackInfo& info);
  Napi::Value trim(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  std::shared_ptr<Replica> replica_;
};

}  // namespace sam3::binding
