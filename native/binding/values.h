#pragma once

#include <napi.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/masks.h"

namespace sam3::binding {

// Single values of the objects of lib/native/addon.ts. Reading throws a TypeError for what is not as it should be. Used
// on the environment's thread.

[[noreturn]] void refuse(const Napi::Value& value, const char* key, const char* what);
double read_number(const Napi::Object& object, const char* key);
std::int64_t read_integer(const Napi::Object& object, const char* key);
bool read_flag(const Napi::Object& object, const char* key);
std::string read_text(const Napi::Object& object, const char* key);
Napi::Object read_object_of(const Napi::Object& object, const char* key);
Napi::Array read_array(const Napi::Object& object, const char* key);
std::array<double, 3> read_triple(const Napi::Object& object, const char* key);
std::vector<float> copy_floats(const Napi::Object& object, const char* key);
std::vector<std::int32_t> copy_integers(const Napi::Object& object, const char* key);
Napi::Number number(Napi::Env env, double value);

template <class T>
Napi::TypedArrayOf<T> read_typed(const Napi::Object& object, const char* key, napi_typedarray_type type,
                                 const char* what) {
  const Napi::Value value = object.Get(key);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) refuse(value, key, what);
  return value.As<Napi::TypedArrayOf<T>>();
}

template <class T>
std::vector<T> copy_typed(const Napi::Object& object, const char* key, napi_typedarray_type type, const char* what) {
  const auto typed = read_typed<T>(object, key, type, what);
  return {typed.Data(), typed.Data() + typed.ElementLength()};
}

// What `read` makes of every object in a list.
template <class T, class Read>
std::vector<T> read_list(const Napi::Array& list, const Read& read) {
  std::vector<T> items;
  for (std::uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::HandleScope scope(list.Env());
    items.push_back(read(list.Get(i)));
  }
  return items;
}

template <class Typed, class T>
Typed write_typed(Napi::Env env, const T& values) {
  auto typed = Typed::New(env, values.size());
  std::copy(values.begin(), values.end(), typed.Data());
  return typed;
}

// `counts` and `area`.
void write_runs(Napi::Env env, Napi::Object& object, const RunLengths& mask);

// A list of what `make` gives for each of `items`.
template <class T, class Make>
Napi::Array write_list(Napi::Env env, const std::vector<T>& items, const Make& make) {
  auto list = Napi::Array::New(env, items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Napi::HandleScope scope(env);
    list.Set(static_cast<std::uint32_t>(i), make(items[i]));
  }
  return list;
}

}  // namespace sam3::binding
