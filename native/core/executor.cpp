#include "core/executor.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

namespace sam3 {
namespace {

using Clock = std::chrono::steady_clock;

struct Waiting {
  Executor::Task task;
  Clock::time_point since;
};

void refuse_all(std::vector<Waiting> waiting, const Error& why) {
  for (auto& entry : waiting) entry.task.refuse(why);
}

}  // namespace

bool Executor::Task::is_cancelled() const {
  return !cancels.empty() &&
         std::all_of(cancels.begin(), cancels.end(), [](const CancelRef& token) { return token->is_cancelled(); });
}

// Shared by the handle and the thread, so that either may go first. Guarded by `mutex`.
struct Executor::State : CancelListener, std::enable_shared_from_this<Executor::State> {
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::deque<Waiting> queue;
  std::deque<std::function<void()>> last;
  std::vector<CancelRef> running_cancels;
  bool running = false;
  bool closed = false;
  bool ended = false;
  std::optional<Rest> rest;  // touched by the thread only

  void cancelled() override {
    std::vector<Waiting> dropped;
    {
      std::lock_guard lock(mutex);
      for (auto it = queue.begin(); it != queue.end();) {
        if (it->task.is_cancelled()) {
          dropped.push_back(std::move(*it));
          it = queue.erase(it);
        } else {
          ++it;
        }
      }
    }
    refuse_all(std::move(dropped), Error("ABORTED", "The call was cancelled."));
  }

  void loop() {
    std::unique_lock lock(mutex);
    const auto called = [this] { return closed || !queue.empty(); };
    bool worked = false;
    for (;;) {
      if (worked && rest && !changed.wait_for(lock, rest->after, called)) {
        worked = false;
        lock.unlock();
        rest->deed();
        lock.lock();
      }
      changed.wait(lock, called);
      if (queue.empty()) break;
      Waiting next = std::move(queue.front());
      queue.pop_front();
      running = true;
      running_cancels = next.task.cancels;
      lock.unlock();
      std::function<void()> tell;
      if (next.task.is_cancelled()) {
        tell = [refuse = std::move(next.task.refuse)] { refuse(Error("ABORTED", "The call was cancelled.")); };
      } else {
        tell = next.task.run(std::chrono::duration<double, std::milli>(Clock::now() - next.since).count());
      }
      next = {};  // what the task holds is freed before anybody hears of its end
      lock.lock();
      running = false;
      running_cancels.clear();
      worked = true;
      lock.unlock();
      tell();
      tell = nullptr;
      lock.lock();
    }
    while (!last.empty()) {
      auto deed = std::move(last.front());
      last.pop_front();
      lock.unlock();
      deed();
      deed = nullptr;
      lock.lock();
    }
    ended = true;
  }
};

Executor::Executor(std::function<void(const std::function<void()>& loop)> surround, std::optional<Rest> rest)
    : state_(std::make_shared<State>()) {
  state_->rest = std::move(rest);
  thread_ = std::thread([state = state_, surround = std::move(surround)] {
    surround([&state] { state->loop(); });
  });
}

Executor::~Executor() { join(); }

void Executor::join() {
  if (!thread_.joinable()) return;
  close([] {});
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

void Executor::submit(Task task) {
  for (const auto& token : task.cancels) token->attach(state_);
  {
    std::lock_guard lock(state_->mutex);
    // A token cancelled between attach() and here has told its listeners already: refuse below instead of queueing.
    const bool cancelled = task.is_cancelled();
    if (!state_->closed && !cancelled) {
      state_->queue.push_back({std::move(task), Clock::now()});
      state_->changed.notify_one();
      return;
    }
  }
  if (task.is_cancelled()) {
    task.refuse(Error("ABORTED", "The call was cancelled."));
  } else {
    task.refuse(Error("DISPOSED", "The model was closed."));
  }
}

void Executor::close(std::function<void()> last) {
  std::vector<Waiting> dropped;
  bool ended = false;
  {
    std::lock_guard lock(state_->mutex);
    state_->closed = true;
    while (!state_->queue.empty()) {
      dropped.push_back(std::move(state_->queue.front()));
      state_->queue.pop_front();
    }
    ended = state_->ended;
    if (!ended) state_->last.push_back(std::move(last));
    state_->changed.notify_one();
  }
  refuse_all(std::move(dropped), Error("DISPOSED", "The model was closed while the call waited."));
  if (ended) last();
}

void Executor::cancel_all() {
  std::vector<CancelRef> tokens;
  {
    std::lock_guard lock(state_->mutex);
    tokens = state_->running_cancels;
    for (const auto& entry : state_->queue) {
      tokens.insert(tokens.end(), entry.task.cancels.begin(), entry.task.cancels.end());
    }
  }
  for (const auto& token : tokens) token->cancel();
}

Executor::Load Executor::load() const {
  std::lock_guard lock(state_->mutex);
  return {state_->queue.size(), state_->running};
}

}  // namespace sam3
