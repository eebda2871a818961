#pragma once

#include <napi.h>

#include <memory>

#include "core/cancel.h"
#include "core/replica.h"

namespace sam3::binding {

// Adapters of lib/native/addon.ts. Used on their environment's thread.

class CancelTokenHandle : public Napi::ObjectWrap<CancelTokenHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  // Throws a TypeError for any other object.
  static CancelRef from(const Napi::Value& value);
  explicit CancelTokenHandle(const Napi::CallbackInfo& info);

 private:
  void cancel(const Napi::CallbackInfo& info);

  CancelRef token_ = std::make_shared<CancelToken>();
};

// What every handle to native memory does: it weighs on the collector, is let go once, and tells its size for ever.
// `Kind` says what differs: its name, type tag, constructor and properties of its own.
template <class Kind>
class NativeHandle : public Napi::ObjectWrap<NativeHandle<Kind>> {
 public:
  using Ref = typename Kind::Ref;

  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, Ref held);
  // Throws DISPOSED where it was let go, and a TypeError for any other object.
  static Ref from(const Napi::Value& value);
  explicit NativeHandle(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;

 private:
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value disposed(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
  void release(Napi::Env env);

  Ref held_;
  std::int64_t bytes_ = 0;
};

struct ImageFeaturesKind {
  using Ref = ImageRef;
  static constexpr const char* name = "Features";
  static constexpr const char* thing = "encoded picture";
  static constexpr napi_type_tag tag = {0x7361d3c0de4a11ce, 0x02};
  static Napi::FunctionReference& constructor(Napi::Env env);
  static void describe(Napi::Object object, const Ref& held);
};

struct TextFeaturesKind {
  using Ref = TextRef;
  static constexpr const char* name = "TextFeatures";
  static constexpr const char* thing = "encoded text";
  static constexpr napi_type_tag tag = {0x7361d3c0de4a11ce, 0x03};
  static Napi::FunctionReference& constructor(Napi::Env env);
  static void describe(Napi::Object object, const Ref& held);
};

struct MasksKind {
  using Ref = MasksRef;
  static constexpr const char* name = "Masks";
  static constexpr const char* thing = "handle of masks";
  static constexpr napi_type_tag tag = {0x7361d3c0de4a11ce, 0x04};
  static Napi::FunctionReference& constructor(Napi::Env env);
  static void describe(Napi::Object object, const Ref& held);
};

struct PointersKind {
  using Ref = PointersRef;
  static constexpr const char* name = "Pointers";
  static constexpr const char* thing = "handle of object pointers";
  static constexpr napi_type_tag tag = {0x7361d3c0de4a11ce, 0x05};
  static Napi::FunctionReference& constructor(Napi::Env env);
  static void describe(Napi::Object object, const Ref& held);
};

struct TrackMemoryKind {
  using Ref = TrackMemoryRef;
  static constexpr const char* name = "TrackMemory";
  static constexpr const char* thing = "memory of a track";
  static constexpr napi_type_tag tag = {0x7361d3c0de4a11ce, 0x06};
  static Napi::FunctionReference& constructor(Napi::Env env);
  static void describe(Napi::Object object, const Ref& held);
};

using FeaturesHandle = NativeHandle<ImageFeaturesKind>;
using TextFeaturesHandle = NativeHandle<TextFeaturesKind>;
using MasksHandle = NativeHandle<MasksKind>;
using PointersHandle = NativeHandle<PointersKind>;
using TrackMemoryHandle = NativeHandle<TrackMemoryKind>;

}  // namespace sam3::binding
