// Opens libtorch's libraries by absolute path before the addon is required, so that the addon's own dependencies are
// found by their names among what is loaded already. Knows nothing of torch; is not linked to it.

#include <napi.h>

#include <string>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace {

// Empty, or why it failed.
std::string open_library(const std::string& path) {
#if defined(_WIN32)  // untested
  const int length = MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, nullptr, 0);
  std::wstring wide(static_cast<std::size_t>(length), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, path.c_str(), -1, wide.data(), length);
  if (LoadLibraryExW(wide.c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH)) return {};
  return "error " + std::to_string(GetLastError());
#else
  // Local: libtorch's symbols are found by those linked to it and by nobody else, so that another copy of one of its
  // dependencies in the process does not get mixed up with it. Never closed: libtorch does not survive that.
  if (dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return {};
  const char* reason = dlerror();
  return reason ? reason : "unknown reason";
#endif
}

void open(const Napi::CallbackInfo& info) {
  const auto paths = info[0].As<Napi::Array>();
  for (std::uint32_t i = 0; i < paths.Length(); ++i) {
    const auto path = paths.Get(i).As<Napi::String>().Utf8Value();
    const std::string failure = open_library(path);
    if (!failure.empty()) throw Napi::Error::New(info.Env(), failure);
  }
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New(env, open, "open"));
  return exports;
}

}  // namespace

NODE_API_MODULE(sam3_loader, init)
