#include "binding/handles.h"

#include <string>
#include <utility>

#include "binding/environment.h"
#include "core/features.h"
#include "core/track_tensors.h"

namespace sam3::binding {
namespace {

// Tags tell our objects from others before anything is unwrapped.
constexpr napi_type_tag cancel_tag = {0x7361d3c0de4a11ce, 0x01};

template <class Handle>
Handle* unwrap(const Napi::Value& value, const napi_type_tag& tag, const char* name) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&tag)) {
    throw Napi::TypeError::New(value.Env(), std::string("Expected a ") + name + ".");
  }
  return Handle::Unwrap(value.As<Napi::Object>());
}

// A property of a handle that is known from the start and never changes.
void tell(Napi::Object object, const char* key, const Napi::Value& value) {
  object.DefineProperty(Napi::PropertyDescriptor::Value(key, value, napi_enumerable));
}

void tell(Napi::Object object, const char* key, std::int64_t value) {
  tell(object, key, Napi::Number::New(object.Env(), static_cast<double>(value)));
}

void tell_tier(Napi::Object object, Tier tier) {
  tell(object, "tier", Napi::String::New(object.Env(), tier == Tier::device ? "device" : "host"));
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

template <class Kind>
Napi::Function NativeHandle<Kind>::define(Napi::Env env) {
  using Handle = NativeHandle<Kind>;
  return Handle::DefineClass(
      env, Kind::name,
      {Handle::InstanceAccessor("bytes", &Handle::bytes, nullptr, napi_enumerable),
       Handle::InstanceAccessor("disposed", &Handle::disposed, nullptr, napi_enumerable),
       Handle::InstanceMethod("dispose", &Handle::dispose)});
}

// The native object is handed to its JavaScript constructor as an External, which JavaScript cannot make.
template <class Kind>
Napi::Object NativeHandle<Kind>::make(Napi::Env env, Ref held) {
  return Kind::constructor(env).New({Napi::External<Ref>::New(env, &held)});
}

template <class Kind>
typename Kind::Ref NativeHandle<Kind>::from(const Napi::Value& value) {
  Ref held = unwrap<NativeHandle<Kind>>(value, Kind::tag, Kind::name)->held_;
  if (!held) throw Error("DISPOSED", std::string("The ") + Kind::thing + " was disposed.");
  return held;
}

template <class Kind>
NativeHandle<Kind>::NativeHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NativeHandle<Kind>>(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), std::string(Kind::name) + " is made by a replica only.");
  }
  held_ = std::move(*info[0].template As<Napi::External<Ref>>().Data());
  bytes_ = held_->bytes();
  auto object = info.This().template As<Napi::Object>();
  object.TypeTag(&Kind::tag);
  Kind::describe(object, held_);
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), bytes_);
}

template <class Kind>
void NativeHandle<Kind>::Finalize(Napi::Env env) {
  release(env);
}

template <class Kind>
void NativeHandle<Kind>::release(Napi::Env env) {
  if (!held_) return;
  held_.reset();
  Napi::MemoryManagement::AdjustExternalMemory(env, -bytes_);
}

template <class Kind>
Napi::Value NativeHandle<Kind>::bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(bytes_));
}

template <class Kind>
Napi::Value NativeHandle<Kind>::disposed(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), held_ == nullptr);
}

template <class Kind>
void NativeHandle<Kind>::dispose(const Napi::CallbackInfo& info) {
  release(info.Env());
}

Napi::FunctionReference& ImageFeaturesKind::constructor(Napi::Env env) { return Environment::of(env).features; }

void ImageFeaturesKind::describe(Napi::Object object, const Ref& held) {
  tell(object, "width", held->tensors().width);
  tell(object, "height", held->tensors().height);
  tell_tier(object, held->tier());
}

Napi::FunctionReference& TextFeaturesKind::constructor(Napi::Env env) { return Environment::of(env).text_features; }

void TextFeaturesKind::describe(Napi::Object, const Ref&) {}

Napi::FunctionReference& MasksKind::constructor(Napi::Env env) { return Environment::of(env).masks; }

void MasksKind::describe(Napi::Object object, const Ref& held) { tell(object, "count", held->tensors().logits.size(0)); }

Napi::FunctionReference& PointersKind::constructor(Napi::Env env) { return Environment::of(env).pointers; }

void PointersKind::describe(Napi::Object object, const Ref& held) { tell(object, "count", held->tensors().rows.size(0)); }

Napi::FunctionReference& TrackMemoryKind::constructor(Napi::Env env) { return Environment::of(env).track_memories; }

void TrackMemoryKind::describe(Napi::Object object, const Ref& held) { tell_tier(object, held->tier()); }

template class NativeHandle<ImageFeaturesKind>;
template class NativeHandle<TextFeaturesKind>;
template class NativeHandle<MasksKind>;
template class NativeHandle<PointersKind>;
template class NativeHandle<TrackMemoryKind>;

}  // namespace sam3::binding
