#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/cancel.h"
#include "core/error.h"

namespace sam3 {

// What the items of one list call come to, in their order. Not thread-safe, but its tokens are cancelled from anywhere.
template <class T>
class Answers {
 public:
  // One token per item; null where it cannot be cancelled.
  explicit Answers(std::vector<CancelRef> cancels) : cancels_(std::move(cancels)), items_(cancels_.size()) {}

  std::size_t size() const { return items_.size(); }

  void set(std::size_t index, T value) { items_[index].emplace(std::move(value)); }
  void fail(std::size_t index, Error error) { items_[index].emplace(std::move(error)); }

  // Those of `some` that nobody has answered yet, after the cancelled ones were answered with ABORTED.
  std::vector<std::size_t> still_wanted(const std::vector<std::size_t>& some) {
    std::vector<std::size_t> wanted;
    for (const std::size_t index : some) {
      if (items_[index]) continue;
      if (cancels_[index] && cancels_[index]->is_cancelled()) {
        fail(index, Error("ABORTED", "The call was cancelled."));
      } else {
        wanted.push_back(index);
      }
    }
    return wanted;
  }

  std::vector<std::size_t> still_wanted() {
    std::vector<std::size_t> all(size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    return still_wanted(all);
  }

  // Everything must have been answered.
  std::vector<Outcome<T>> take() {
    std::vector<Outcome<T>> outcomes;
    for (auto& item : items_) {
      outcomes.push_back(item ? std::move(*item) : Outcome<T>(Error("INTERNAL", "An item was left without an answer.")));
    }
    return outcomes;
  }

 private:
  std::vector<CancelRef> cancels_;
  std::vector<std::optional<Outcome<T>>> items_;
};

// True for what says something about the device and not about the items that were on it.
inline bool is_fault_of_device(const Error& error) {
  return error.code() == "OUT_OF_MEMORY" || error.code() == "DEVICE_FAULT";
}

// Works on the items of `order` in runs of at most `at_once`. `run` takes the indices of one run's items, answers every
// one that is still wanted, or throws for all of them. When a run of several throws something that may be the doing of
// one item, its items are run one by one, so that only the bad one fails. A lack of memory is reported as it is: who
// asked knows what else could be freed. After a fault of the device the rest is not tried.
template <class T, class Run>
void run_batches(const std::vector<std::size_t>& order, std::size_t at_once, Answers<T>& answers,
                 const std::string& doing, const Run& run) {
  std::optional<Error> fault;
  const auto attempt = [&](const std::vector<std::size_t>& some) -> std::optional<Error> {
    try {
      run(some);
      return std::nullopt;
    } catch (...) {
      return name_failure(std::current_exception(), "MODEL_FAILED", doing);
    }
  };
  const std::function<void(const std::vector<std::size_t>&)> work = [&](const std::vector<std::size_t>& candidates) {
    const auto some = answers.still_wanted(candidates);
    if (some.empty()) return;
    const auto failure = fault ? fault : attempt(some);
    if (!failure) return;
    if (failure->code() == "DEVICE_FAULT") fault = failure;
    if (some.size() > 1 && !is_fault_of_device(*failure)) {
      for (const std::size_t index : some) work({index});
      return;
    }
    for (const std::size_t index : answers.still_wanted(some)) answers.fail(index, *failure);
  };
  const std::size_t step = std::max<std::size_t>(at_once, 1);
  for (std::size_t begin = 0; begin < order.size(); begin += step) {
    const std::size_t end = std::min(begin + step, order.size());
    work({order.begin() + static_cast<std::ptrdiff_t>(begin), order.begin() + static_cast<std::ptrdiff_t>(end)});
  }
}

}  // namespace sam3
