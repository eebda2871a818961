#include "binding/replica.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "binding/convert.h"
#include "binding/environment.h"
#include "binding/handles.h"
#include "binding/promised.h"
#include "binding/values.h"

namespace sam3::binding {
namespace {

// The items of a list call. One that cannot be read is carried along as its own failure.
template <class T, class Read>
std::vector<Item<T>> read_items(const Napi::Value& value, const Read& read) {
  if (!value.IsArray()) throw Error("INVALID_ARGUMENT", "Expected a list of items.");
  const auto list = value.As<Napi::Array>();
  std::vector<Item<T>> items;
  for (std::uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::HandleScope scope(value.Env());
    try {
      const Napi::Value entry = list.Get(i);
      if (!entry.IsObject()) throw Error("INVALID_ARGUMENT", "An item is not an object.");
      const auto item = entry.As<Napi::Object>();
      CancelRef cancel = CancelTokenHandle::from(item.Get("token"));
      items.push_back({read(item), std::move(cancel)});
    } catch (const Error& error) {
      items.push_back({error, nullptr});
    } catch (const Napi::Error& error) {
      items.push_back({Error("INVALID_ARGUMENT", error.Message()), nullptr});
    }
  }
  return items;
}

std::size_t read_at_once(const Napi::Value& options) {
  const Napi::Value value = options.IsObject() ? options.As<Napi::Object>().Get("atOnce") : options.Env().Undefined();
  const double at_once = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0;
  if (!(at_once >= 1)) throw Error("INVALID_ARGUMENT", "atOnce is not a number of items.");
  return static_cast<std::size_t>(std::min(at_once, 1e6));
}

// Receives the answer to a list call and makes a NativeBatch of it.
template <class T>
Done<Batch<T>> settle_batch(Napi::Env env, const PendingRef& pending) {
  return settle_with<Batch<T>>(env, pending, [](Napi::Env js, Batch<T> batch) {
    auto items = Napi::Array::New(js, batch.items.size());
    for (std::size_t i = 0; i < batch.items.size(); ++i) {
      const Napi::HandleScope scope(js);
      auto outcome = Napi::Object::New(js);
      if (const Error* error = std::get_if<Error>(&batch.items[i])) {
        outcome.Set("error", coded_error(js, *error).Value());
      } else {
        outcome.Set("value", write(js, std::get<T>(batch.items[i])));
      }
      items.Set(static_cast<std::uint32_t>(i), outcome);
    }
    auto result = Napi::Object::New(js);
    result.Set("items", items);
    result.Set("workMs", number(js, batch.work_ms));
    result.Set("queueMs", number(js, batch.queue_ms));
    return result;
  });
}

// A list call whose items are copied: items and `atOnce` in, the promise of a NativeBatch out.
template <class Asked, class Answer>
Napi::Value ask(const Napi::CallbackInfo& info, Replica& replica, Asked (*read)(const Napi::Object& item),
                void (Replica::*call)(std::vector<Item<Asked>>, std::size_t, Done<Batch<Answer>>)) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    auto items = read_items<Asked>(info[0], read);
    const std::size_t at_once = read_at_once(info[1]);
    pending->keep(info.This().As<Napi::Object>());
    (replica.*call)(std::move(items), at_once, settle_batch<Answer>(info.Env(), pending));
  });
}

}  // namespace

Napi::Function ReplicaHandle::define(Napi::Env env) {
  return DefineClass(env, "Replica",
                     {InstanceMethod("load", &ReplicaHandle::load),
                      InstanceMethod("encodeImages", &ReplicaHandle::encode_images),
                      InstanceMethod("encodeTexts", &ReplicaHandle::encode_texts),
                      InstanceMethod("segmentConcepts", &ReplicaHandle::segment_concepts),
                      InstanceMethod("segmentObjects", &ReplicaHandle::segment_objects),
                      InstanceMethod("moveFeatures", &ReplicaHandle::move_features),
                      InstanceMethod("detectConcepts", &ReplicaHandle::detect_concepts),
                      InstanceMethod("trackObjects", &ReplicaHandle::track_objects),
                      InstanceMethod("seedObjects", &ReplicaHandle::seed_objects),
                      InstanceMethod("rememberObjects", &ReplicaHandle::remember_objects),
                      InstanceMethod("compareMasks", &ReplicaHandle::compare_masks),
                      InstanceMethod("cleanMasks", &ReplicaHandle::clean_masks),
                      InstanceMethod("readMasks", &ReplicaHandle::read_masks),
                      InstanceMethod("moveMemories", &ReplicaHandle::move_memories),
                      InstanceMethod("saveMemories", &ReplicaHandle::save_memories),
                      InstanceMethod("restoreMemories", &ReplicaHandle::restore_memories),
                      InstanceMethod("trim", &ReplicaHandle::trim), InstanceMethod("memory", &ReplicaHandle::memory),
                      InstanceMethod("stats", &ReplicaHandle::stats), InstanceMethod("close", &ReplicaHandle::close)});
}

ReplicaHandle::ReplicaHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ReplicaHandle>(info) {
  try {
    const auto options = info[0].As<Napi::Object>();
    replica_ = std::make_shared<Replica>(options.Get("device").As<Napi::String>().Utf8Value(),
                                         options.Get("threads").As<Napi::Number>().Int32Value());
  } catch (const Error& error) {
    throw coded_error(info.Env(), error);
  } catch (const Napi::Error& error) {
    throw coded_error(info.Env(), Error("INVALID_ARGUMENT", error.Message()));
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

Napi::Value ReplicaHandle::encode_images(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    auto items = read_items<Pixels>(info[0], [&](const Napi::Object& item) {
      const Pixels pixels = read_pixels(item);
      pending->keep(pixels_data(item));
      return pixels;
    });
    const std::size_t at_once = read_at_once(info[1]);
    pending->keep(info.This().As<Napi::Object>());
    replica_->encode_images(std::move(items), at_once, settle_batch<ImageRef>(info.Env(), pending));
  });
}

Napi::Value ReplicaHandle::encode_texts(const Napi::CallbackInfo& info) {
  return ask(info, *replica_, read_ids, &Replica::encode_texts);
}

Napi::Value ReplicaHandle::segment_concepts(const Napi::CallbackInfo& info) {
  return ask(info, *replica_, read_concept, &Replica::segment_concepts);
}

Napi::Value ReplicaHandle::segment_objects(const Napi::CallbackInfo& info) {
  return ask(info, *replica_, read_object, &Replica::segment_objects);
}

Napi::Value ReplicaHandle::move_features(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    ImageRef features = FeaturesHandle::from(info[0]);
    const Tier to = read_tier(info[1]);
    CancelRef cancel = CancelTokenHandle::from(info[2]);
    pending->keep(info.This().As<Napi::Object>());
    replica_->move_features(std::move(features), to, std::move(cancel),
                            settle_with<ImageRef>(info.Env(), pending, [](Napi::Env env, const ImageRef& moved) {
                              return write(env, moved);
                            }));
  });
}

Napi::Value ReplicaHandle::trim(const Napi::CallbackInfo& info) {
  return promised(info.Env(), [&](const PendingRef& pending) {
    pending->keep(info.This().As<Napi::Object>());
    replica_->trim(settle_with<std::monostate>(info.Env(), pending,
                                               [](Napi::Env env, std::monostate) { return env.Undefined(); }));
  });
}

Napi::Value ReplicaHandle::memory(const Napi::CallbackInfo& info) {
  try {
    return write(info.Env(), replica_->memory(), replica_->stats());
  } catch (const Error& error) {
    throw coded_error(info.Env(), error);
  }
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
