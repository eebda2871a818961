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

class FeaturesHandle : public Napi::ObjectWrap<FeaturesHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, ImageRef features);
  // Null where it was disposed. Throws a TypeError for any other object.
  static ImageRef from(const Napi::Value& value);
  explicit FeaturesHandle(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;

 private:
  Napi::Value width(const Napi::CallbackInfo& info);
  Napi::Value height(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value disposed(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
  void release(Napi::Env env);

  ImageRef features_;
  // Still told after dispose().
  std::int64_t width_ = 0;
  std::int64_t height_ = 0;
  std::int64_t bytes_ = 0;
};

class TextFeaturesHandle : public Napi::ObjectWrap<TextFeaturesHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, TextRef features);
  // Null where it was disposed. Throws a TypeError for any other object.
  static TextRef from(const Napi::Value& value);
  explicit TextFeaturesHandle(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;

 private:
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value disposed(const Napi::CallbackInfo& info);
  void dispose(const Napi::CallbackInfo& info);
  void release(Napi::Env env);

  TextRef features_;
  std::int64_t bytes_ = 0;
};

}  // namespace sam3::binding
