#include "core/threads.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#if !defined(_WIN32)
#include <time.h>
#endif

#include "check.h"
#include "core/error.h"
#include "core/executor.h"

using namespace sam3;
using namespace sam3::test;

namespace {

// An executor as a replica's.
std::unique_ptr<Executor> with_threads(int threads) {
  auto executor = std::make_unique<Executor>([threads](const std::function<void()>& loop) {
    compute_with(threads);
    loop();
  });
  return executor;
}

// Waits for work on the executor's thread; throws what it throws.
template <class T>
T on(Executor& executor, std::function<T()> work) {
  const auto task = std::make_shared<std::packaged_task<T()>>(std::move(work));
  auto result = task->get_future();
  executor.submit({[task](double) -> std::function<void()> {
                     (*task)();
                     return [] {};
                   },
                   [](const Error&) {}, {}});
  return result.get();
}

#if !defined(_WIN32)

double processor_ms(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

// How much of the processor time of `work` was spent by other threads than the one that calls it. Unlike the time that
// goes by, it does not depend on what else the machine does.
double others_share(const std::function<void()>& work) {
  work();  // threads, buffers and kernels are made the first time
  const double process = processor_ms(CLOCK_PROCESS_CPUTIME_ID);
  const double own = processor_ms(CLOCK_THREAD_CPUTIME_ID);
  for (int i = 0; i < 3; ++i) work();
  const double spent = processor_ms(CLOCK_PROCESS_CPUTIME_ID) - process;
  return 1 - (processor_ms(CLOCK_THREAD_CPUTIME_ID) - own) / spent;
}

struct Work {
  std::string name;  // what of libtorch decides about the threads
  std::function<void()> run;
};

std::vector<Work> works() {
  const auto square = at::ones({1000, 1000});
  const auto many = at::ones({1 << 23});
  const auto picture = at::ones({1, 32, 192, 192});
  const auto kernel = at::ones({64, 32, 3, 3});
  return {{"a product of matrices (MKL)", [=] { at::mm(square, square); }},
          {"an operation on every element (OpenMP by ATen)", [=] { at::sigmoid(many); }},
          {"a convolution (oneDNN)", [=] { at::conv2d(picture, kernel); }}};
}

#endif

}  // namespace

TEST("threads: every executor computes with its own number of threads, whichever was made last") {
  for (const auto& numbers : {std::vector<int>{1, 2}, std::vector<int>{2, 1}, std::vector<int>{1, 3, 1}}) {
    std::vector<std::unique_ptr<Executor>> executors;
    for (const int threads : numbers) {
      executors.push_back(with_threads(threads));
      // It has set its number before the next one does.
      on<bool>(*executors.back(), [] { return true; });
    }
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const int threads = numbers[i];
      const int seen = on<int>(*executors[i], [] { return at::get_num_threads(); });
      if (seen != threads) {
        fail(__FILE__, __LINE__, std::to_string(seen) + " threads instead of " + std::to_string(threads));
      }
#if !defined(_WIN32)
      for (const auto& [name, run] : works()) {
        const double share = on<double>(*executors[i], [&run] { return others_share(run); });
        // Alone, a thread does everything; of two, each does half, and may spin for a little while the other ends.
        const bool right = threads == 1 ? share < 0.1 : share > 0.3 && share < 0.9;
        if (!right) {
          fail(__FILE__, __LINE__,
               name + " with " + std::to_string(threads) + " threads: others did " + std::to_string(share));
        }
      }
#endif
    }
  }
}

TEST("threads: what another thread sets later changes nothing") {
  const auto one = with_threads(1);
  on<bool>(*one, [] { return true; });
  std::async(std::launch::async, [] { compute_with(2); }).get();
  EXPECT(on<int>(*one, [] { return at::get_num_threads(); }) == 1);
}

TEST("threads: 0 is at least one") {
  EXPECT(on<int>(*with_threads(0), [] { return at::get_num_threads(); }) >= 1);
}
