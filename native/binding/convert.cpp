#include "binding/convert.h"

#include <optional>
#include <string>

#include "binding/handles.h"
#include "binding/values.h"

namespace sam3::binding {

BundleSpec read_bundle(const Napi::Object& object) {
  BundleSpec spec;
  spec.resolution = read_integer(object, "resolution");
  spec.feature_size = read_integer(object, "featureSize");
  spec.mask_size = read_integer(object, "maskSize");
  spec.dtype = read_text(object, "dtype");
  spec.mean = read_triple(object, "mean");
  spec.std = read_triple(object, "std");
  spec.mask_threshold = read_number(object, "maskThreshold");
  spec.stability_delta = read_number(object, "stabilityDelta");
  spec.stability_threshold = read_number(object, "stabilityThreshold");
  spec.memory_mask_scale = read_number(object, "memoryMaskScale");
  spec.memory_mask_bias = read_number(object, "memoryMaskBias");
  spec.context_length = read_integer(object, "contextLength");
  spec.pad_token = read_integer(object, "padToken");
  const auto parts = read_object_of(object, "parts");
  const Napi::Array names = parts.GetPropertyNames();
  for (std::uint32_t i = 0; i < names.Length(); ++i) {
    const auto name = names.Get(i).As<Napi::String>().Utf8Value();
    spec.parts.emplace_back(name, read_text(parts, name.c_str()));
  }
  return spec;
}

namespace {

std::optional<YuvKind> read_yuv(const Napi::Object& pixels) {
  const Napi::Value value = pixels.Get("yuv");
  if (value.IsUndefined()) return std::nullopt;
  const Napi::Object yuv = read_object_of(pixels, "yuv");
  const std::string matrix = read_text(yuv, "matrix");
  const std::string range = read_text(yuv, "range");
  if (matrix != "bt601" && matrix != "bt709") refuse(value, "matrix", "bt601 or bt709");
  if (range != "limited" && range != "full") refuse(value, "range", "limited or full");
  return YuvKind{matrix == "bt601" ? YuvKind::Matrix::bt601 : YuvKind::Matrix::bt709,
                 range == "limited" ? YuvKind::Range::limited : YuvKind::Range::full};
}

}  // namespace

Pixels read_pixels(const Napi::Object& item) {
  const Napi::Object pixels = read_object_of(item, "pixels");
  const auto data = read_typed<std::uint8_t>(pixels, "data", napi_uint8_array, "a Uint8Array");
  return {data.Data(), data.ByteLength(), read_integer(pixels, "width"), read_integer(pixels, "height"),
          read_yuv(pixels)};
}

Napi::Object pixels_data(const Napi::Object& item) {
  return read_object_of(read_object_of(item, "pixels"), "data");
}

std::vector<std::int32_t> read_ids(const Napi::Object& item) {
  return copy_integers(item, "ids");
}

ConceptPrompt read_concept(const Napi::Object& item) {
  ConceptPrompt prompt;
  prompt.image = FeaturesHandle::from(item.Get("features"));
  prompt.text = TextFeaturesHandle::from(item.Get("text"));
  prompt.boxes = copy_floats(item, "boxes");
  prompt.labels = copy_typed<std::uint8_t>(item, "labels", napi_uint8_array, "a Uint8Array");
  prompt.threshold = read_number(item, "threshold");
  prompt.semantic = read_flag(item, "semantic");
  return prompt;
}

ObjectPrompt read_object(const Napi::Object& item) {
  ObjectPrompt prompt;
  prompt.image = FeaturesHandle::from(item.Get("features"));
  prompt.points = copy_floats(item, "points");
  prompt.labels = copy_integers(item, "labels");
  prompt.has_mask = !item.Get("mask").IsNull();
  if (prompt.has_mask) prompt.mask = copy_floats(item, "mask");
  prompt.multimask = read_flag(item, "multimask");
  prompt.mask_threshold = read_number(item, "maskThreshold");
  prompt.max_hole_area = read_integer(item, "maxHoleArea");
  prompt.max_sprinkle_area = read_integer(item, "maxSprinkleArea");
  return prompt;
}

Tier read_tier(const Napi::Value& value) {
  const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  if (name == "device") return Tier::device;
  if (name == "host") return Tier::host;
  throw Error("INVALID_ARGUMENT", "Features and memories are moved to \"host\" or to \"device\".");
}

Napi::Value write(Napi::Env env, const ConceptFinding& finding) {
  auto result = Napi::Object::New(env);
  result.Set("presence", number(env, finding.presence));
  result.Set("objects", write_list(env, finding.objects, [env](const FoundObject& found) {
    auto object = Napi::Object::New(env);
    object.Set("score", number(env, found.score));
    object.Set("box", write_typed<Napi::Float64Array>(env, found.box));
    write_runs(env, object, found.mask);
    return object;
  }));
  if (finding.semantic) {
    auto semantic = Napi::Object::New(env);
    write_runs(env, semantic, *finding.semantic);
    result.Set("semantic", semantic);
  } else {
    result.Set("semantic", env.Null());
  }
  return result;
}

Napi::Value write(Napi::Env env, const ObjectFinding& finding) {
  auto result = Napi::Object::New(env);
  result.Set("masks", write_list(env, finding.masks, [env](const ObjectMask& found) {
    auto mask = Napi::Object::New(env);
    mask.Set("quality", number(env, found.quality));
    write_runs(env, mask, found.mask);
    mask.Set("lowRes", write_typed<Napi::Float32Array>(env, found.low_resolution));
    return mask;
  }));
  result.Set("objectScore", number(env, finding.object_score));
  return result;
}

Napi::Value write(Napi::Env env, const ImageRef& features) { return FeaturesHandle::make(env, features); }

Napi::Value write(Napi::Env env, const TextRef& features) { return TextFeaturesHandle::make(env, features); }

Napi::Value write(Napi::Env env, const MemoryView& memory, const ReplicaStats& stats) {
  const auto ours = static_cast<std::uint64_t>(stats.model_bytes + stats.feature_bytes);
  auto result = Napi::Object::New(env);
  const auto set = [&](const char* key, double value) { result.Set(key, number(env, value)); };
  set("totalBytes", static_cast<double>(memory.total_bytes));
  set("freeBytes", static_cast<double>(memory.free_bytes));
  set("allocatedBytes", static_cast<double>(memory.allocated_bytes.value_or(ours)));
  if (memory.peak_bytes) {
    set("peakBytes", static_cast<double>(*memory.peak_bytes));
  } else {
    result.Set("peakBytes", env.Null());
  }
  set("modelBytes", static_cast<double>(stats.model_bytes));
  set("featureBytes", static_cast<double>(stats.feature_bytes));
  return result;
}

}  // namespace sam3::binding
