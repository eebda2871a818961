#include "binding/replica.h"

#include <string>
#include <utility>
#include <vector>

#include "binding/environment.h"
#include "binding/handles.h"

namespace sam3::binding {
namespace {

Napi::Number number(Napi::Env env, double value) { return Napi::Number::New(env, value); }

std::int64_t integer(const Napi::Object& object, const char* key) {
  return object.Get(key).As<Napi::Number>().Int64Value();
}

std::array<double, 3> triple(const Napi::Value& value) {
  const auto list = value.As<Napi::Array>();
  std::array<double, 3> result{};
  for (std::uint32_t i = 0; i < 3; ++i) result[i] = list.Get(i).As<Napi::Number>().DoubleValue();
  return result;
}

BundleSpec read_bundle(const Napi::Object& object) {
  BundleSpec spec;
  spec.resolution = integer(object, "resolution");
  spec.feature_size = integer(object, "featureSize");
  spec.mask_size = integer(object, "maskSize");
  spec.dtype = object.Get("dtype").As<Napi::String>().Utf8Value();
  spec.mean = triple(object.Get("mean"));
  spec.std = triple(object.Get("std"));
  spec.mask_threshold = object.Get("maskThreshold").As<Napi::Number>().DoubleValue();
  spec.context_length = integer(object, "contextLength");
  spec.pad_token = integer(object, "padToken");
  const auto parts = object.Get("parts").As<Napi::Object>();
  const Napi::Array names = parts.GetPropertyNames();
  for (std::uint32_t i = 0; i < names.Length(); ++i) {
    const auto name = names.Get(i).As<Napi::String>().Utf8Value();
    spec.parts.emplace_back(name, parts.Get(name).As<Napi::String>().Utf8Value());
  }
  return spec;
}

template <class Typed, class T>
std::vector<T> copy_typed(const Napi::Value& value) {
  const auto typed = value.As<Typed>();
  return {typed.Data(), typed.Data() + typed.ElementLength()};
}

Napi::Object write_object(Napi::Env env, const FoundObject& found) {
  auto object = Napi::Object::New(env);
  object.Set("score", number(env, found.score));
  auto box = Napi::Float64Array::New(env, 4);
  std::copy(found.box.begin(), found.box.end(), box.Data());
  object.Set("box", box);
  auto counts = Napi::Uint32Array::New(env, found.mask.counts.size());
  std::copy(found.mask.counts.begin(), found.mask.counts.end(), counts.Data());
  object.Set("counts", counts);
  object.Set("area", number(env, static_cast<double>(found.mask.area)));
  return object;
}

Napi::Object write_finding(Napi::Env env, const ConceptFinding& finding) {
  auto objects = Napi::Array::New(env, finding.objects.size());
  for (std::size_t i = 0; i < finding.objects.size(); ++i) {
    const Napi::HandleScope scope(env);
    objects.Set(static_cast<std::uint32_t>(i), write_object(env, finding.objects[i]));
  }
  auto result = Napi::Object::New(env);
  result.Set("presence", number(env, finding.presence));
  result.Set("objects", objects);
  return result;
}

// Runs `call` with a fresh promise. What goes wrong on the way is a rejection, so that callers have one way to fail.
template <class Call>
Napi::Value promised(Napi::Env env, const Call& call) {
  const auto pending = std::make_shared<Pending>(env);
  const Napi::Promise promise = pending->promise();
  try {
    call(pending);
  } catch (const Error& error) {
    pending->reject(env, error);
  } catch (const Napi::Error& error) {
    pending->reject(env, Error("INVALID_ARGUMENT", error.Message()));
  }
  return promise;
}

}  // namespace

Napi::Function ReplicaHandle::define(Napi::Env env) {
  return DefineClass(env, "Replica",
                     {InstanceMethod("load", &ReplicaHandle::load),
                      InstanceMethod("encodeImage", &ReplicaHandle::encode_image),
                      InstanceMethod("encodeTexts", &ReplicaHandle::encode_texts),
                      InstanceMethod("segmentConcepts", &ReplicaHandle::segment_concepts),
                      InstanceMethod("stats", &ReplicaHandle::stats), InstanceMethod("close", &ReplicaHandle::close)});
}

ReplicaHandle::ReplicaHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ReplicaHandle>(info) {
  const auto options = info[0].As<Napi::Object>();
  try {
    replica_ = std::make_shared<Replica>(options.Get("device").As<Napi::String>().Utf8Value(),
                                         options.Get("threads").As<Napi::Number>().Int32Value());
  } catch (const Error& error) {
    throw coded_error(info.Env(), error);
  } catch (const std::exception& error) {
    throw coded_error(info.Env(), name_failure(std::current_exception(), "DEVICE_FAULT", "Opening the device failed"));
  }
  Environment::of(info.Env()).adopt(replica_);
}

void ReplicaHandle::Finalize(Napi::Env env) {
  Environment* environment = &Environment::of(env);
  environment->retire(std::move(replica_));
}

Napi::Value ReplicaHandle::load(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    BundleSpec spec = read_bundle(info[0].As<Napi::Object>());
    CancelRef cancel = CancelTokenHandle::from(info[1]);
    pending->keep(info[2].As<Napi::Object>());
    pending->keep(info.This().As<Napi::Object>());
    Environment* environment = &Environment::of(info.Env());
    const PartCallback on_part = [environment, pending](const std::string& name, std::size_t done, std::size_t total) {
      environment->post([pending, name, done, total](Napi::Env env) {
        if (env == nullptr) return;
        try {
          pending->kept(0).As<Napi::Function>().Call(
              {Napi::String::New(env, name), number(env, static_cast<double>(done)), number(env, static_cast<double>(total))});
        } catch (const Napi::Error&) {
          // A progress callback that throws must not lose the model; TypeScript's own wrapper never lets one through.
        }
      });
    };
    replica_->load(std::move(spec), std::move(cancel), on_part,
                   settle_with<LoadReport>(info.Env(), pending, [](Napi::Env env, LoadReport report) {
                     auto result = Napi::Object::New(env);
                     result.Set("modelBytes", number(env, static_cast<double>(report.model_bytes)));
                     result.Set("loadMs", number(env, report.load_ms));
                     return result;
                   }));
  });
}

Napi::Value ReplicaHandle::encode_image(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    const auto object = info[0].As<Napi::Object>();
    const auto data = object.Get("data").As<Napi::Uint8Array>();
    const Pixels pixels{data.Data(), data.ByteLength(), integer(object, "width"), integer(object, "height")};
    CancelRef cancel = CancelTokenHandle::from(info[1]);
    pending->keep(data);
    pending->keep(info.This().As<Napi::Object>());
    replica_->encode_image(pixels, std::move(cancel),
                           settle_with<Encoding>(info.Env(), pending, [](Napi::Env env, Encoding encoding) {
                             auto result = Napi::Object::New(env);
                             result.Set("features", FeaturesHandle::make(env, std::move(encoding.features)));
                             result.Set("encodeMs", number(env, encoding.encode_ms));
                             result.Set("queueMs", number(env, encoding.queue_ms));
                             return result;
                           }));
  });
}

Napi::Value ReplicaHandle::encode_texts(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    const auto list = info[0].As<Napi::Array>();
    std::vector<std::vector<std::int32_t>> ids;
    for (std::uint32_t i = 0; i < list.Length(); ++i) {
      ids.push_back(copy_typed<Napi::Int32Array, std::int32_t>(list.Get(i)));
    }
    CancelRef cancel = CancelTokenHandle::from(info[1]);
    pending->keep(info.This().As<Napi::Object>());
    replica_->encode_texts(
        std::move(ids), std::move(cancel),
        settle_with<std::vector<TextRef>>(info.Env(), pending, [](Napi::Env env, std::vector<TextRef> texts) {
          auto result = Napi::Array::New(env, texts.size());
          for (std::size_t i = 0; i < texts.size(); ++i) {
            result.Set(static_cast<std::uint32_t>(i), TextFeaturesHandle::make(env, std::move(texts[i])));
          }
          return result;
        }));
  });
}

Napi::Value ReplicaHandle::segment_concepts(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    ImageRef image = FeaturesHandle::from(info[0]);
    if (!image) throw Error("DISPOSED", "The encoded picture was disposed.");
    const auto list = info[1].As<Napi::Array>();
    std::vector<ConceptPrompt> prompts;
    for (std::uint32_t i = 0; i < list.Length(); ++i) {
      const auto object = list.Get(i).As<Napi::Object>();
      ConceptPrompt prompt{TextFeaturesHandle::from(object.Get("text")),
                           copy_typed<Napi::Float32Array, float>(object.Get("boxes")),
                           copy_typed<Napi::Uint8Array, std::uint8_t>(object.Get("labels")),
                           object.Get("threshold").As<Napi::Number>().DoubleValue()};
      if (!prompt.text) throw Error("DISPOSED", "The encoded text was disposed.");
      prompts.push_back(std::move(prompt));
    }
    CancelRef cancel = CancelTokenHandle::from(info[2]);
    pending->keep(info.This().As<Napi::Object>());
    replica_->segment_concepts(std::move(image), std::move(prompts), std::move(cancel),
                               settle_with<ConceptAnswer>(info.Env(), pending, [](Napi::Env env, ConceptAnswer answer) {
                                 auto list = Napi::Array::New(env, answer.prompts.size());
                                 for (std::size_t i = 0; i < answer.prompts.size(); ++i) {
                                   list.Set(static_cast<std::uint32_t>(i), write_finding(env, answer.prompts[i]));
                                 }
                                 auto result = Napi::Object::New(env);
                                 result.Set("prompts", list);
                                 result.Set("decodeMs", number(env, answer.decode_ms));
                                 result.Set("queueMs", number(env, answer.queue_ms));
                                 return result;
                               }));
  });
}

Napi::Value ReplicaHandle::stats(const Napi::CallbackInfo& info) {
  const ReplicaStats stats = replica_->stats();
  auto result = Napi::Object::New(info.Env());
  result.Set("queued", number(info.Env(), static_cast<double>(stats.queued)));
  result.Set("running", Napi::Boolean::New(info.Env(), stats.running));
  result.Set("modelBytes", number(info.Env(), static_cast<double>(stats.model_bytes)));
  result.Set("featureBytes", number(info.Env(), static_cast<double>(stats.feature_bytes)));
  return result;
}

Napi::Value ReplicaHandle::close(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    pending->keep(info.This().As<Napi::Object>());
    auto settle = settle_with<bool>(info.Env(), pending, [](Napi::Env env, bool) { return env.Undefined(); });
    replica_->close([settle = std::move(settle)]() mutable { settle(Outcome<bool>(true)); });
  });
}

}  // namespace sam3::binding
