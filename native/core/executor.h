#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "core/cancel.h"
#include "core/error.h"

namespace sam3 {

// One thread with one first-in-first-out queue. Thread-safe; close() and the destructor may be called from anywhere.
class Executor {
 public:
  struct Task {
    // Runs on the executor's thread and must not throw; told how long it waited. What it answers is called right after,
    // when the task is no longer counted as running, and tells whoever waits for it.
    std::function<std::function<void()>(double queue_ms)> run;
    // Called instead of `run` when the task is cancelled while it waits, or the executor is closed: never under a lock,
    // on whatever thread brought it about.
    std::function<void(const Error&)> refuse;
    // Of everybody who waits for the task: it is cancelled when all of these are. Without any it cannot be.
    std::vector<CancelRef> cancels;

    bool is_cancelled() const;
  };

  struct Load {
    std::size_t queued;
    bool running;
  };

  // What the thread does, once, when nothing came for so long after it has worked. Must not throw; what comes meanwhile
  // waits for its end.
  struct Rest {
    std::chrono::milliseconds after;
    std::function<void()> deed;
  };

  // `surround` is called once on the new thread and must call the loop it is given; it holds what the thread needs
  // around all its work (inference mode, thread counts).
  explicit Executor(std::function<void(const std::function<void()>& loop)> surround, std::optional<Rest> rest = {});
  // join().
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  void submit(Task task);
  // Refuses what waits and what still comes with DISPOSED, lets what runs end, then runs `last` on the executor's
  // thread as its last deed. A later call's `last` is run too, after the first; where the thread has ended already, at
  // once on the caller's.
  void close(std::function<void()> last);
  // Closes and waits for the thread to end. On the executor's own thread, which cannot wait for itself, it lets go of
  // the thread instead. One caller at a time.
  void join();
  // Cancels the tokens of everything that waits or runs.
  void cancel_all();
  Load load() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace sam3
