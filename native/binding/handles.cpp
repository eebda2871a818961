#include "binding/handles.h"

#include "binding/environment.h"

namespace sam3::binding {
namespace {

// Tags tell our objects from others before anything is unwrapped.
constexpr napi_type_tag cancel_tag = {0x7361d3c0de4a11ce, 0x01};
constexpr napi_type_tag features_tag = {0x7361d3c0de4a11ce, 0x02};
constexpr napi_type_tag text_tag = {0x7361d3c0de4a11ce, 0x03};

template <class Handle>
Handle* unwrap(const Napi::Value& value, const napi_type_tag& tag, const char* name) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&tag)) {
    throw Napi::TypeError::New(value.Env(), std::string("Expected a ") + name + ".");
  }
  return Handle::Unwrap(value.As<Napi::Object>());
}

// The native object is handed to its JavaScript constructor as an External, which JavaScript cannot make.
template <class Ref>
Ref take(const Napi::CallbackInfo& info, const char* name) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), std::string(name) + " is made by a replica only.");
  }
  return std::move(*info[0].As<Napi::External<Ref>>().Data());
}

}  // namespace

Napi::Function CancelTokenHandle::define(Napi::Env env) {
  return DefineClass(env, "CancelToken", {InstanceMethod("cancel", &CancelTokenHandle::cancel)});
}

CancelRef CancelTokenHandle::from(const Napi::Value& value) {
  return unwrap<CancelTokenHandle>(value, cancel_tag, "CancelToken")->token_;
}

CancelTokenHandle::CancelTokenHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<CancelTokenHandle>(info) {
  info.This().As<Napi::Object>().TypeTag(&cancel_tag);
}

void CancelTokenHandle::cancel(const Napi::CallbackInfo&) { token_->cancel(); }

Napi::Function FeaturesHandle::define(Napi::Env env) {
  return DefineClass(env, "Features",
                     {InstanceAccessor("width", &FeaturesHandle::width, nullptr, napi_enumerable),
                      InstanceAccessor("height", &FeaturesHandle::height, nullptr, napi_enumerable),
                      InstanceAccessor("bytes", &FeaturesHandle::bytes, nullptr, napi_enumerable),
                      InstanceAccessor("disposed", &FeaturesHandle::disposed, nullptr, napi_enumerable),
                      InstanceMethod("dispose", &FeaturesHandle::dispose)});
}

Napi::Object FeaturesHandle::make(Napi::Env env, ImageRef features) {
  return Environment::of(env).features.New({Napi::External<ImageRef>::New(env, &features)});
}

ImageRef FeaturesHandle::from(const Napi::Value& value) {
  return unwrap<FeaturesHandle>(value, features_tag, "Features")->features_;
}

FeaturesHandle::FeaturesHandle(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<FeaturesHandle>(info),
      features_(take<ImageRef>(info, "Features")),
      width_(features_->width()),
      height_(features_->height()),
      bytes_(features_->bytes()) {
  info.This().As<Napi::Object>().TypeTag(&features_tag);
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), bytes_);
}

void FeaturesHandle::Finalize(Napi::Env env) { release(env); }

void FeaturesHandle::release(Napi::Env env) {
  if (!features_) return;
  features_.reset();
  Napi::MemoryManagement::AdjustExternalMemory(env, -bytes_);
}

Napi::Value FeaturesHandle::width(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(width_));
}
Napi::Value FeaturesHandle::height(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(height_));
}
Napi::Value FeaturesHandle::bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(bytes_));
}
Napi::Value FeaturesHandle::disposed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), features_ == nullptr);
}
void FeaturesHandle::dispose(const Napi::CallbackInfo& info) { release(info.Env()); }

Napi::Function TextFeaturesHandle::define(Napi::Env env) {
  return DefineClass(env, "TextFeatures",
                     {InstanceAccessor("bytes", &TextFeaturesHandle::bytes, nullptr, napi_enumerable),
                      InstanceAccessor("disposed", &TextFeaturesHandle::disposed, nullptr, napi_enumerable),
                      InstanceMethod("dispose", &TextFeaturesHandle::dispose)});
}

Napi::Object TextFeaturesHandle::make(Napi::Env env, TextRef features) {
  return Environment::of(env).text_features.New({Napi::External<TextRef>::New(env, &features)});
}

TextRef TextFeaturesHandle::from(const Napi::Value& value) {
  return unwrap<TextFeaturesHandle>(value, text_tag, "TextFeatures")->features_;
}

TextFeaturesHandle::TextFeaturesHandle(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<TextFeaturesHandle>(info),
      features_(take<TextRef>(info, "TextFeatures")),
      bytes_(features_->bytes()) {
  info.This().As<Napi::Object>().TypeTag(&text_tag);
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), bytes_);
}

void TextFeaturesHandle::Finalize(Napi::Env env) { release(env); }

void TextFeaturesHandle::release(Napi::Env env) {
  if (!features_) return;
  features_.reset();
  Napi::MemoryManagement::AdjustExternalMemory(env, -bytes_);
}

Napi::Value TextFeaturesHandle::bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(bytes_));
}
Napi::Value TextFeaturesHandle::disposed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), features_ == nullptr);
}
void TextFeaturesHandle::dispose(const Napi::CallbackInfo& info) { release(info.Env()); }

}  // namespace sam3::binding
