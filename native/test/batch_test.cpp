#include "core/batch.h"

#include <memory>
#include <set>

#include "check.h"

using sam3::Answers;
using sam3::CancelRef;
using sam3::CancelToken;
using sam3::Error;
using Runs = std::vector<std::vector<std::size_t>>;

namespace {

std::vector<CancelRef> tokens(std::size_t count) {
  std::vector<CancelRef> made;
  for (std::size_t i = 0; i < count; ++i) made.push_back(std::make_shared<CancelToken>());
  return made;
}

std::vector<std::size_t> order(std::size_t count) {
  std::vector<std::size_t> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = i;
  return all;
}

// Each item as a word: its value, or the code of its failure.
std::vector<std::string> words(Answers<int>& answers) {
  std::vector<std::string> said;
  for (const auto& outcome : answers.take()) {
    const Error* error = std::get_if<Error>(&outcome);
    said.push_back(error ? error->code() : std::to_string(std::get<int>(outcome)));
  }
  return said;
}

}  // namespace

TEST("batches: items are worked on in runs of at most so many and answered in order") {
  Answers<int> answers(tokens(5));
  Runs runs;
  sam3::run_batches(order(5), 2, answers, "Working failed", [&](const auto& some) {
    runs.push_back(some);
    for (const std::size_t index : some) answers.set(index, static_cast<int>(index * 10));
  });
  EXPECT((runs == Runs{{0, 1}, {2, 3}, {4}}));
  EXPECT((words(answers) == std::vector<std::string>{"0", "10", "20", "30", "40"}));
}

TEST("batches: when a run fails for a reason of one item, that one fails alone") {
  Answers<int> answers(tokens(4));
  Runs runs;
  sam3::run_batches(order(4), 4, answers, "Working failed", [&](const auto& some) {
    runs.push_back(some);
    for (const std::size_t index : some) {
      if (index == 2) throw std::runtime_error("bad item");
    }
    for (const std::size_t index : some) answers.set(index, 1);
  });
  EXPECT((runs == Runs{{0, 1, 2, 3}, {0}, {1}, {2}, {3}}));
  EXPECT((words(answers) == std::vector<std::string>{"1", "1", "MODEL_FAILED", "1"}));
}

TEST("batches: what was answered before a run failed stays answered") {
  Answers<int> answers(tokens(3));
  int runs = 0;
  sam3::run_batches(order(3), 3, answers, "Working failed", [&](const auto& some) {
    ++runs;
    for (const std::size_t index : some) {
      if (index == 1) throw Error("MODEL_FAILED", "bad item");
      answers.set(index, runs);
    }
  });
  EXPECT((words(answers) == std::vector<std::string>{"1", "MODEL_FAILED", "3"}));
}

TEST("batches: a lack of memory is reported for its run and not tried again, later runs are worked on") {
  Answers<int> answers(tokens(4));
  int runs = 0;
  sam3::run_batches(order(4), 2, answers, "Working failed", [&](const auto& some) {
    if (++runs == 1) throw std::bad_alloc();
    for (const std::size_t index : some) answers.set(index, 1);
  });
  EXPECT(runs == 2);
  EXPECT((words(answers) == std::vector<std::string>{"OUT_OF_MEMORY", "OUT_OF_MEMORY", "1", "1"}));
}

TEST("batches: after a fault of the device nothing more is tried") {
  Answers<int> answers(tokens(4));
  int runs = 0;
  sam3::run_batches(order(4), 1, answers, "Working failed", [&](const auto& some) {
    if (++runs == 2) throw std::runtime_error("CUDA error: an illegal memory access was encountered");
    for (const std::size_t index : some) answers.set(index, 1);
  });
  EXPECT(runs == 2);
  EXPECT((words(answers) == std::vector<std::string>{"1", "DEVICE_FAULT", "DEVICE_FAULT", "DEVICE_FAULT"}));
}

TEST("batches: cancelled items are dropped before their run and in its middle, without a trace in the others") {
  const auto cancels = tokens(5);
  Answers<int> answers(cancels);
  cancels[0]->cancel();
  Runs runs;
  sam3::run_batches(order(5), 2, answers, "Working failed", [&](const auto& some) {
    runs.push_back(some);
    cancels[3]->cancel();
    for (const std::size_t index : answers.still_wanted(some)) answers.set(index, 1);
  });
  // An item cancelled while it waits leaves its place empty: runs are cut first.
  EXPECT((runs == Runs{{1}, {2}, {4}}));
  EXPECT((words(answers) == std::vector<std::string>{"ABORTED", "1", "1", "ABORTED", "1"}));
}

TEST("batches: items that were answered before are left alone, an item nobody answers is a defect") {
  Answers<int> answers(tokens(3));
  answers.fail(1, Error("INVALID_ARGUMENT", "x"));
  EXPECT((answers.still_wanted() == std::vector<std::size_t>{0, 2}));
  sam3::run_batches(answers.still_wanted(), 8, answers, "Working failed",
                    [&](const auto& some) { answers.set(some[0], 7); });
  EXPECT((words(answers) == std::vector<std::string>{"7", "INVALID_ARGUMENT", "INTERNAL"}));
}
