// Opens libtorch's libraries by absolute path before the addon is required, so that the addon's own dependencies are
// found by their names among what is loaded already. Knows nothing of torch; is not linked to it.

#include <napi.h>

#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

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

// Between two parallel regions libtorch's OpenMP threads wait by spinning, by default for milliseconds. On a machine
// with anything else to do that starves the thread they wait for. Measured with the mini model on two cores (one
// picture, encoder): alone 14 ms with the default and with 20,000 turns, 23 ms without any spinning; beside another
// process that keeps both cores busy 30 to 300 ms with the default, 28 to 37 ms with 20,000 turns.
// OpenMP reads it once, when it is loaded; what the user has set is left alone.
class SpinLimit {
 public:
  SpinLimit() {
#if !defined(_WIN32)
    set_ = !std::getenv("GOMP_SPINCOUNT") && !std::getenv("OMP_WAIT_POLICY") && setenv("GOMP_SPINCOUNT", "20000", 0) == 0;
#endif
  }
  ~SpinLimit() {
#if !defined(_WIN32)
    if (set_) unsetenv("GOMP_SPINCOUNT");
#endif
  }
  SpinLimit(const SpinLimit&) = delete;
  SpinLimit& operator=(const SpinLimit&) = delete;

 private:
  bool set_ = false;
};

// What is open belongs to the process: two libtorch would both answer to the same names. Thread-safe.
class Opened {
 public:
  // Throws std::string, the reason.
  void open(const std::vector<std::string>& paths) {
    const std::lock_guard lock(mutex_);
    if (paths_ == paths) return;
    if (!paths_.empty()) throw "this process uses the libtorch of " + paths_.front() + " already";
    const SpinLimit limit;
    for (const auto& path : paths) {
      if (const auto failure = open_library(path); !failure.empty()) throw failure;
    }
    paths_ = paths;
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> paths_;
};

Opened& opened() {
  static Opened instance;
  return instance;
}

void open(const Napi::CallbackInfo& info) {
  const auto list = info[0].As<Napi::Array>();
  std::vector<std::string> paths;
  for (std::uint32_t i = 0; i < list.Length(); ++i) paths.push_back(list.Get(i).As<Napi::String>().Utf8Value());
  try {
    opened().open(paths);
  } catch (const std::string& reason) {
    throw Napi::Error::New(info.Env(), reason);
  }
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New(env, open, "open"));
  return exports;
}

}  // namespace

NODE_API_MODULE(sam3_loader, init)
