#include "binding/values.h"

namespace sam3::binding {

void refuse(const Napi::Value& value, const char* key, const char* what) {
  throw Napi::TypeError::New(value.Env(), std::string(key) + " is not " + what + ".");
}

double read_number(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsNumber()) refuse(value, key, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

std::int64_t read_integer(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsNumber()) refuse(value, key, "a number");
  return value.As<Napi::Number>().Int64Value();
}

bool read_flag(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsBoolean()) refuse(value, key, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string read_text(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsString()) refuse(value, key, "a string");
  return value.As<Napi::String>().Utf8Value();
}

Napi::Object read_object_of(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsObject()) refuse(value, key, "an object");
  return value.As<Napi::Object>();
}

std::array<double, 3> read_triple(const Napi::Object& object, const char* key) {
  const Napi::Object list = read_object_of(object, key);
  std::array<double, 3> result{};
  for (std::uint32_t i = 0; i < 3; ++i) {
    const Napi::Value value = list.Get(i);
    if (!value.IsNumber()) refuse(value, key, "three numbers");
    result[i] = value.As<Napi::Number>().DoubleValue();
  }
  return result;
}

Napi::Array read_array(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsArray()) refuse(value, key, "a list");
  return value.As<Napi::Array>();
}

std::vector<float> copy_floats(const Napi::Object& object, const char* key) {
  return copy_typed<float>(object, key, napi_float32_array, "a Float32Array");
}

std::vector<std::int32_t> copy_integers(const Napi::Object& object, const char* key) {
  return copy_typed<std::int32_t>(object, key, napi_int32_array, "an Int32Array");
}

Napi::Number number(Napi::Env env, double value) { return Napi::Number::New(env, value); }

void write_runs(Napi::Env env, Napi::Object& object, const RunLengths& mask) {
  object.Set("counts", write_typed<Napi::Uint32Array>(env, mask.counts));
  object.Set("area", number(env, static_cast<double>(mask.area)));
}

}  // namespace sam3::binding
