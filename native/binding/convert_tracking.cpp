#include "binding/convert_tracking.h"

#include "binding/handles.h"
#include "binding/values.h"

namespace sam3::binding {
namespace {

Napi::Object as_object(const Napi::Value& value) {
  if (!value.IsObject()) refuse(value, "An entry of a list", "an object");
  return value.As<Napi::Object>();
}

MaskRow read_row(const Napi::Value& value) {
  const Napi::Object row = as_object(value);
  MaskRow read{MasksHandle::from(row.Get("masks")), read_integer(row, "row"), false};
  if (!row.Get("hidden").IsUndefined()) read.hidden = read_flag(row, "hidden");
  return read;
}

Napi::Array as_list(const Napi::Value& value, const char* what) {
  if (!value.IsArray()) refuse(value, what, "a list");
  return value.As<Napi::Array>();
}

}  // namespace

DetectRequest read_detect(const Napi::Object& request) {
  DetectRequest read;
  read.image = FeaturesHandle::from(request.Get("features"));
  read.prompts = read_list<DetectPrompt>(read_array(request, "prompts"), [](const Napi::Value& value) {
    const Napi::Object prompt = as_object(value);
    return DetectPrompt{TextFeaturesHandle::from(prompt.Get("text")), copy_floats(prompt, "boxes"),
                        copy_typed<std::uint8_t>(prompt, "labels", napi_uint8_array, "a Uint8Array")};
  });
  read.threshold = read_number(request, "threshold");
  read.overlap_threshold = read_number(request, "overlapThreshold");
  return read;
}

TrackRequest read_track(const Napi::Object& request) {
  TrackRequest read;
  read.image = FeaturesHandle::from(request.Get("features"));
  read.items = read_list<TrackItem>(read_array(request, "items"), [](const Napi::Value& value) {
    const Napi::Object item = as_object(value);
    return TrackItem{read_memories(item.Get("memories")), copy_integers(item, "rows"),
                     read_memories(item.Get("pointers")), copy_floats(item, "ages"),
                     copy_floats(item, "points"),         copy_integers(item, "labels")};
  });
  read.clean_area = read_integer(request, "cleanArea");
  return read;
}

SeedRequest read_seed(const Napi::Object& request) {
  SeedRequest read;
  read.image = FeaturesHandle::from(request.Get("features"));
  read.items = read_list<SeedMask>(read_array(request, "items"), [](const Napi::Value& value) -> SeedMask {
    const Napi::Object item = as_object(value);
    if (item.Get("counts").IsUndefined()) return read_row(value);
    return copy_typed<std::uint32_t>(item, "counts", napi_uint32_array, "a Uint32Array");
  });
  return read;
}

RememberRequest read_remember(const Napi::Object& request) {
  RememberRequest read;
  read.image = FeaturesHandle::from(request.Get("features"));
  read.rows = read_list<RememberRow>(read_array(request, "rows"), [](const Napi::Value& value) {
    const Napi::Object row = as_object(value);
    return RememberRow{read_row(value), PointersHandle::from(row.Get("pointers")), read_integer(row, "pointerRow"),
                       read_number(row, "objectScore"), read_integer(row, "group")};
  });
  read.binarize = read_flag(request, "binarize");
  read.through_square = read_flag(request, "throughSquare");
  if (!request.Get("leastKept").IsNull()) read.least_kept = read_number(request, "leastKept");
  return read;
}

CompareRequest read_compare(const Napi::Object& request) { return {read_rows(request, "a"), read_rows(request, "b")}; }

std::vector<MaskRow> read_rows(const Napi::Object& request, const char* key) {
  return read_list<MaskRow>(read_array(request, key), read_row);
}

std::vector<TrackMemoryRef> read_memories(const Napi::Value& list) {
  return read_list<TrackMemoryRef>(as_list(list, "memories"),
                                   [](const Napi::Value& value) { return TrackMemoryHandle::from(value); });
}

std::vector<MemoryBlock> read_blocks(const Napi::Value& list) {
  return read_list<MemoryBlock>(as_list(list, "blocks"), [](const Napi::Value& value) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
      refuse(value, "A block", "a Uint8Array");
    }
    const auto bytes = value.As<Napi::Uint8Array>();
    return MemoryBlock(bytes.Data(), bytes.Data() + bytes.ByteLength());
  });
}

Napi::Value write(Napi::Env env, const Detections& found) {
  auto result = Napi::Object::New(env);
  result.Set("scores", write_typed<Napi::Float32Array>(env, found.scores));
  result.Set("boxes", write_typed<Napi::Float64Array>(env, found.boxes));
  result.Set("prompts", write_typed<Napi::Int32Array>(env, found.prompts));
  result.Set("presence", write_typed<Napi::Float32Array>(env, found.presence));
  result.Set("masks", MasksHandle::make(env, found.masks));
  return result;
}

Napi::Value write(Napi::Env env, const Tracked& tracked) {
  auto result = Napi::Object::New(env);
  result.Set("masks", MasksHandle::make(env, tracked.masks));
  // A handle of its own where it holds the same masks, so that each can be disposed without the other.
  result.Set("cleaned", MasksHandle::make(env, tracked.cleaned));
  result.Set("pointers", PointersHandle::make(env, tracked.pointers));
  result.Set("objectScores", write_typed<Napi::Float32Array>(env, tracked.object_scores));
  result.Set("quality", write_typed<Napi::Float32Array>(env, tracked.quality));
  return result;
}

Napi::Value write(Napi::Env env, const Comparison& comparison) {
  auto result = Napi::Object::New(env);
  result.Set("iou", write_typed<Napi::Float32Array>(env, comparison.iou));
  result.Set("areasA", write_typed<Napi::Uint32Array>(env, comparison.areas_a));
  result.Set("areasB", write_typed<Napi::Uint32Array>(env, comparison.areas_b));
  return result;
}

Napi::Value write(Napi::Env env, const MasksRef& masks) { return MasksHandle::make(env, masks); }

Napi::Value write(Napi::Env env, const std::vector<ReadMask>& masks) {
  return write_list(env, masks, [env](const ReadMask& read) {
    auto mask = Napi::Object::New(env);
    write_runs(env, mask, read.mask);
    mask.Set("box", write_typed<Napi::Float64Array>(env, read.box));
    return mask;
  });
}

Napi::Value write(Napi::Env env, const std::vector<TrackMemoryRef>& memories) {
  return write_list(env, memories, [env](const TrackMemoryRef& memory) { return TrackMemoryHandle::make(env, memory); });
}

Napi::Value write(Napi::Env env, const std::vector<MemoryBlock>& blocks) {
  return write_list(env, blocks, [env](const MemoryBlock& block) { return write_typed<Napi::Uint8Array>(env, block); });
}

}  // namespace sam3::binding
