#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "check.h"
#include "core/error.h"
#include "core/executor.h"

using sam3::CancelRef;
using sam3::CancelToken;
using sam3::Error;
using sam3::Executor;

namespace {

using namespace std::chrono_literals;

Executor plain() {
  return Executor([](const std::function<void()>& loop) { loop(); });
}

// A task that says what became of it. The promise is the task's as well: whoever hears of the end may leave while the
// executor's thread is still saying so.
struct Probe {
  std::shared_ptr<std::promise<std::string>> promise = std::make_shared<std::promise<std::string>>();
  std::future<std::string> result = promise->get_future();

  Executor::Task task(std::function<void()> work, std::vector<CancelRef> cancels = {}) {
    return {[said = promise, work = std::move(work)](double) -> std::function<void()> {
              work();
              return [said] { said->set_value("done"); };
            },
            [said = promise](const Error& why) { said->set_value(why.code()); }, std::move(cancels)};
  }
};

// Keeps the executor's thread busy until it is let go.
struct Gate {
  std::promise<void> open;
  std::promise<void> entered;
  Probe probe;

  explicit Gate(Executor& executor) {
    executor.submit(probe.task([this, wait = open.get_future().share()] {
      entered.set_value();
      wait.wait();
    }));
    entered.get_future().wait();
  }
};

}  // namespace

TEST("executor: tasks run in order on one thread that is not the caller's") {
  Executor executor = plain();
  std::vector<int> order;
  std::vector<std::thread::id> threads;
  std::vector<Probe> probes(50);
  for (int i = 0; i < 50; ++i) {
    executor.submit(probes[static_cast<std::size_t>(i)].task([&, i] {
      order.push_back(i);
      threads.push_back(std::this_thread::get_id());
    }));
  }
  for (auto& probe : probes) EXPECT(probe.result.get() == "done");
  for (int i = 0; i < 50; ++i) {
    EXPECT(order[static_cast<std::size_t>(i)] == i);
    EXPECT(threads[static_cast<std::size_t>(i)] == threads[0]);
  }
  EXPECT(threads[0] != std::this_thread::get_id());
}

TEST("executor: what surrounds the thread is in force during its work and undone after it") {
  std::atomic<int> state{0};
  {
    Executor executor([&](const std::function<void()>& loop) {
      state = 1;
      loop();
      state = 2;
    });
    Probe probe;
    int seen = 0;
    executor.submit(probe.task([&] { seen = state; }));
    EXPECT(probe.result.get() == "done");
    EXPECT(seen == 1);
  }
  EXPECT(state == 2);
}

TEST("executor: it rests once after work, when nothing has come for so long, and not before any work") {
  std::atomic<int> rests{0};
  std::thread::id rested_on;
  const auto deed = [&] {
    rested_on = std::this_thread::get_id();
    ++rests;
  };
  Executor executor([](const std::function<void()>& loop) { loop(); }, Executor::Rest{50ms, deed});
  std::this_thread::sleep_for(120ms);
  EXPECT(rests == 0);
  for (int round = 1; round <= 2; ++round) {
    Gate gate(executor);
    Probe probe;
    std::thread::id worked_on;
    int rests_before = -1;
    executor.submit(probe.task([&] {
      worked_on = std::this_thread::get_id();
      rests_before = rests;
    }));
    std::this_thread::sleep_for(120ms);
    gate.open.set_value();
    EXPECT(probe.result.get() == "done");
    EXPECT(rests_before == round - 1);  // not while it works, nor while something waits
    for (int i = 0; i < 1000 && rests < round; ++i) std::this_thread::sleep_for(5ms);
    std::this_thread::sleep_for(120ms);
    EXPECT(rests == round);
    EXPECT(rested_on == worked_on);
  }
}

TEST("executor: closing does not wait for the rest") {
  std::atomic<bool> rested{false};
  {
    Executor executor([](const std::function<void()>& loop) { loop(); },
                      Executor::Rest{std::chrono::hours(1), [&] { rested = true; }});
    Probe probe;
    executor.submit(probe.task([] {}));
    EXPECT(probe.result.get() == "done");
  }
  EXPECT(!rested);
}

TEST("executor: a waiting task that is cancelled is refused at once, others stay") {
  Executor executor = plain();
  Gate gate(executor);
  Probe first;
  Probe second;
  const auto token = std::make_shared<CancelToken>();
  bool ran = false;
  executor.submit(first.task([&] { ran = true; }, {token}));
  executor.submit(second.task([] {}, {std::make_shared<CancelToken>()}));
  EXPECT(executor.load().queued == 2);
  EXPECT(executor.load().running);
  token->cancel();
  EXPECT(first.result.wait_for(0ms) == std::future_status::ready);
  EXPECT(first.result.get() == "ABORTED");
  EXPECT(executor.load().queued == 1);
  gate.open.set_value();
  EXPECT(second.result.get() == "done");
  EXPECT(!ran);
}

TEST("executor: a task whose token was cancelled before is refused without running") {
  Executor executor = plain();
  const auto token = std::make_shared<CancelToken>();
  token->cancel();
  Probe probe;
  executor.submit(probe.task([] {}, {token}));
  EXPECT(probe.result.get() == "ABORTED");
}

TEST("executor: a task several wait for is refused when the last of them has cancelled") {
  Executor executor = plain();
  Gate gate(executor);
  Probe shared;
  const auto one = std::make_shared<CancelToken>();
  const auto other = std::make_shared<CancelToken>();
  executor.submit(shared.task([] {}, {one, other}));
  one->cancel();
  EXPECT(shared.result.wait_for(0ms) == std::future_status::timeout);
  EXPECT(executor.load().queued == 1);
  other->cancel();
  EXPECT(shared.result.wait_for(0ms) == std::future_status::ready);
  EXPECT(shared.result.get() == "ABORTED");
  EXPECT(executor.load().queued == 0);
  gate.open.set_value();
}

TEST("executor: cancel_all reaches what runs and what waits") {
  Executor executor = plain();
  Probe running;
  Probe waiting;
  const auto running_token = std::make_shared<CancelToken>();
  const auto waiting_token = std::make_shared<CancelToken>();
  std::promise<void> entered;
  executor.submit(running.task(
      [&] {
        entered.set_value();
        while (!running_token->is_cancelled()) std::this_thread::sleep_for(1ms);
      },
      {running_token}));
  entered.get_future().wait();
  executor.submit(waiting.task([] {}, {waiting_token}));
  executor.cancel_all();
  EXPECT(running.result.get() == "done");
  EXPECT(waiting.result.get() == "ABORTED");
}

TEST("executor: close refuses what waits, lets what runs end, then does the last deed on its thread") {
  Executor executor = plain();
  Gate gate(executor);
  Probe waiting;
  executor.submit(waiting.task([] {}));
  std::promise<std::thread::id> last;
  executor.close([&] { last.set_value(std::this_thread::get_id()); });
  EXPECT(waiting.result.get() == "DISPOSED");
  auto ended = last.get_future();
  EXPECT(ended.wait_for(20ms) == std::future_status::timeout);
  gate.open.set_value();
  EXPECT(gate.probe.result.get() == "done");
  EXPECT(ended.get() != std::this_thread::get_id());

  Probe late;
  executor.submit(late.task([] {}));
  EXPECT(late.result.get() == "DISPOSED");
  std::promise<void> again;
  executor.close([&] { again.set_value(); });
  again.get_future().wait();
}

TEST("executor: the destructor waits for what runs and refuses the rest") {
  Probe running;
  Probe waiting;
  {
    Executor executor = plain();
    std::promise<void> entered;
    executor.submit(running.task([&] {
      entered.set_value();
      std::this_thread::sleep_for(30ms);
    }));
    entered.get_future().wait();
    executor.submit(waiting.task([] {}));
  }
  EXPECT(running.result.wait_for(0ms) == std::future_status::ready);
  EXPECT(waiting.result.get() == "DISPOSED");
}

TEST("executor: submitting, cancelling and closing from many threads loses no task") {
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> answers{0};
    std::atomic<int> submitted{0};
    {
      Executor executor = plain();
      std::vector<std::thread> threads;
      for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
          for (int i = 0; i < 50; ++i) {
            const auto token = std::make_shared<CancelToken>();
            ++submitted;
            executor.submit({[&](double) -> std::function<void()> { return [&] { ++answers; }; },
                             [&](const Error&) { ++answers; }, {token}});
            if (i % 3 == 0) token->cancel();
            if (t == 0 && i == 40) executor.close([] {});
          }
        });
      }
      for (auto& thread : threads) thread.join();
    }
    EXPECT(answers == submitted);
  }
}

TEST("cancel token: attaching the same executor again and again does not grow it") {
  Executor executor = plain();
  const auto token = std::make_shared<CancelToken>();
  for (int i = 0; i < 1000; ++i) {
    Probe probe;
    executor.submit(probe.task([] {}, {token}));
    EXPECT(probe.result.get() == "done");
  }
  token->cancel();
  token->cancel();
}
