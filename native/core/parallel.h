#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace sam3 {

// Calls body(i) for every i in [0, count) on up to `threads` threads, the caller's included, and returns when all are
// done; the first exception is rethrown. For plain C++ work only: the helper threads know nothing of ATen's
// thread-local state.
//
// Not at::parallel_for: that is a template which would compile OpenMP into our binary, and with it a second OpenMP run
// time into the process wherever libtorch brings its own under another name, as some CUDA wheels do.
template <class Body>
void parallel(std::int64_t count, int threads, const Body& body) {
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex mutex;
  const auto work = [&] {
    try {
      for (std::int64_t i = next++; i < count; i = next++) body(i);
    } catch (...) {
      std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> helpers;
  const auto wanted = std::min<std::int64_t>(threads, count) - 1;
  for (std::int64_t i = 0; i < wanted; ++i) {
    try {
      helpers.emplace_back(work);
    } catch (const std::system_error&) {
      break;  // no more threads to be had: those that are do the work
    }
  }
  work();
  for (auto& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace sam3
