#include "core/replica.h"

#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <chrono>
#include <optional>

#include "core/devices.h"
#include "core/image_model.h"
#include "core/part.h"
#include "core/queries.h"
#include "core/replica_state.h"
#include "core/replica_submit.h"
#include "core/threads.h"
#include "core/track_tensors.h"

namespace sam3 {
namespace {

class Stopwatch {
 public:
  double ms() const { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

template <class Tensors>
Features<Tensors>::Features(std::shared_ptr<ReplicaState> owner, Tensors tensors, Tier tier)
    : owner_(std::move(owner)),
      tensors_(std::make_unique<const Tensors>(std::move(tensors))),
      bytes_(tensors_->bytes()),
      tier_(tier) {
  if (tier_ == Tier::device) owner_->feature_bytes += bytes_;
}

template <class Tensors>
Features<Tensors>::~Features() {
  if (tier_ == Tier::device) owner_->feature_bytes -= bytes_;
}

template class Features<ImageTensors>;
template class Features<TextTensors>;
template class Features<MaskTensors>;
template class Features<PointerTensors>;
template class Features<TrackMemoryTensors>;

namespace {

// What the items ask, in a form the model takes; those that ask for nothing sensible are answered at once.
template <class Query, class Asked, class T>
std::vector<Query> check_all(const std::vector<Item<Asked>>& items, const ReplicaState& state, const BundleSpec& spec,
                             Answers<T>& answers) {
  std::vector<Query> queries(items.size());
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (const Error* unread = std::get_if<Error>(&items[i].asked)) {
      answers.fail(i, *unread);
      continue;
    }
    try {
      queries[i] = to_query(std::get<Asked>(items[i].asked), &state, spec);
    } catch (const Error& error) {
      answers.fail(i, error);
    }
  }
  return queries;
}

template <class Asked>
std::vector<CancelRef> tokens_of(const std::vector<Item<Asked>>& items) {
  std::vector<CancelRef> tokens;
  for (const auto& item : items) tokens.push_back(item.cancel);
  return tokens;
}

// What the model answers to all that are asked something sensible.
template <class Asked, class Query, class T>
std::vector<Outcome<T>> answer_all(ReplicaState& state, const std::vector<Item<Asked>>& asked, std::size_t at_once,
                                   void (ImageModel::*work)(const std::vector<Query>&, std::size_t, Answers<T>&)) {
  Answers<T> answers(tokens_of(asked));
  ImageModel model(state.bundle(), state.device());
  const auto queries = check_all<Query>(asked, state, state.bundle().spec(), answers);
  (model.*work)(queries, at_once, answers);
  return answers.take();
}

// Features that belong to a replica, and are counted by it.
template <class Tensors>
std::vector<Outcome<std::shared_ptr<const Features<Tensors>>>> own(const std::shared_ptr<ReplicaState>& state,
                                                                   std::vector<Outcome<Tensors>> made) {
  std::vector<Outcome<std::shared_ptr<const Features<Tensors>>>> owned;
  for (auto& outcome : made) {
    if (const Error* error = std::get_if<Error>(&outcome)) {
      owned.push_back(*error);
    } else {
      owned.push_back(std::make_shared<const Features<Tensors>>(state, std::move(std::get<Tensors>(outcome))));
    }
  }
  return owned;
}

// On the CPU, what intermediate results took stays with the C library's heap, several hundred megabytes after batches.
std::optional<Executor::Rest> rest_on(c10::Device device) {
  if (!device.is_cpu()) return {};
  return Executor::Rest{std::chrono::seconds(1), [device] { give_back_memory(device); }};
}

}  // namespace

Replica::Replica(const std::string& device, int threads)
    : state_(std::make_shared<ReplicaState>(parse_device(device))),
      executor_([threads](const std::function<void()>& loop) {
        compute_with(threads);
        const c10::InferenceMode inference;
        // Per thread. The profiling executor gains nothing on these graphs and recompiles for new shapes. Milliseconds of
        // processor time of the first calls with mini, one thread: image encoder 119, 76, 21, 21, … with it and 45, 23,
        // 23, 23, … without; concept decoder 121, 135, 13, 14, … and 36, 16, 17, 14, …. Freezing the modules made later
        // calls no faster either.
        const torch::jit::GraphOptimizerEnabledGuard plain_graphs(false);
        loop();
      }, rest_on(state_->device())) {}

Replica::~Replica() { shut_down(); }

template <class Asked, class Answer, class Work>
void Replica::submit_batch(std::vector<Item<Asked>> items, const char* doing, Work work, Done<Batch<Answer>> done) {
  const auto shared = std::make_shared<const std::vector<Item<Asked>>>(std::move(items));
  // What hits all alike, without being the end of the replica, is the answer to every item.
  const auto all_alike = [shared](const Error& why) {
    Batch<Answer> batch;
    for (const auto& item : *shared) {
      const Error* unread = std::get_if<Error>(&item.asked);
      batch.items.push_back(unread ? *unread : why);
    }
    return batch;
  };
  submit<Batch<Answer>>(
      tokens_of(*shared), doing,
      [state = state_, shared, work = std::move(work), all_alike, doing](double queue_ms) {
        const Stopwatch watch;
        Batch<Answer> batch;
        try {
          batch.items = work(state, *shared);
        } catch (...) {
          const Error why = name_failure(std::current_exception(), "MODEL_FAILED", doing);
          if (why.code() == "INTERNAL") throw why;
          batch = all_alike(why);
        }
        batch.work_ms = watch.ms();
        batch.queue_ms = queue_ms;
        return batch;
      },
      std::move(done),
      [all_alike](const Error& why) {
        return why.code() == "ABORTED" ? Outcome<Batch<Answer>>(all_alike(why)) : Outcome<Batch<Answer>>(why);
      });
}

void Replica::load(BundleSpec spec, CancelRef cancel, PartCallback on_part, Done<LoadReport> done) {
  submit<LoadReport>(
      {cancel}, "Loading the bundle failed",
      [state = state_, spec = std::move(spec), cancel, on_part = std::move(on_part)](double) {
        const Stopwatch watch;
        scalar_type(spec.dtype);
        state->set_bundle(Bundle::load(spec, state->device(), *cancel, on_part));
        return LoadReport{state->model_bytes, watch.ms()};
      },
      std::move(done));
}

void Replica::encode_images(std::vector<Item<Pixels>> items, std::size_t at_once, Done<Batch<ImageRef>> done) {
  submit_batch<Pixels, ImageRef>(
      std::move(items), "Encoding the picture failed",
      [at_once](const std::shared_ptr<ReplicaState>& state, const auto& asked) {
        return own<ImageTensors>(state, answer_all(*state, asked, at_once, &ImageModel::encode));
      },
      std::move(done));
}

void Replica::encode_texts(std::vector<Item<std::vector<std::int32_t>>> items, std::size_t at_once,
                           Done<Batch<TextRef>> done) {
  submit_batch<std::vector<std::int32_t>, TextRef>(
      std::move(items), "Encoding the text failed",
      [at_once](const std::shared_ptr<ReplicaState>& state, const auto& asked) {
        return own<TextTensors>(state, answer_all(*state, asked, at_once, &ImageModel::encode_texts));
      },
      std::move(done));
}

void Replica::segment_concepts(std::vector<Item<ConceptPrompt>> items, std::size_t at_once,
                               Done<Batch<ConceptFinding>> done) {
  submit_batch<ConceptPrompt, ConceptFinding>(
      std::move(items), "Segmenting failed",
      [at_once](const std::shared_ptr<ReplicaState>& state, const auto& asked) {
        return answer_all(*state, asked, at_once, &ImageModel::segment_concepts);
      },
      std::move(done));
}

void Replica::segment_objects(std::vector<Item<ObjectPrompt>> items, std::size_t at_once,
                              Done<Batch<ObjectFinding>> done) {
  submit_batch<ObjectPrompt, ObjectFinding>(
      std::move(items), "Segmenting failed",
      [at_once](const std::shared_ptr<ReplicaState>& state, const auto& asked) {
        return answer_all(*state, asked, at_once, &ImageModel::segment_objects);
      },
      std::move(done));
}

void Replica::move_features(ImageRef features, Tier to, CancelRef cancel, Done<ImageRef> done) {
  submit<ImageRef>(
      {std::move(cancel)}, "Moving the features failed",
      [state = state_, features = std::move(features), to](double) -> ImageRef {
        if (features->owner() != state.get()) {
          throw Error("INVALID_ARGUMENT", "The picture was encoded by another replica.");
        }
        const c10::Device target = to == Tier::host ? c10::Device(c10::kCPU) : state->device();
        auto moved = features->tensors().copy_to(target);
        finish_work_on(state->device());
        return std::make_shared<const ImageFeatures>(state, std::move(moved), to);
      },
      std::move(done));
}

void Replica::trim(Done<std::monostate> done) {
  submit<std::monostate>(
      {}, "Giving memory back failed",
      [state = state_](double) {
        give_back_memory(state->device());
        return std::monostate();
      },
      std::move(done));
}

MemoryView Replica::memory() const {
  try {
    return memory_of(state_->device());
  } catch (...) {
    throw name_failure(std::current_exception(), "DEVICE_FAULT", "Asking the device for its memory failed");
  }
}

ReplicaStats Replica::stats() const {
  const auto load = executor_.load();
  return {load.queued, load.running, state_->model_bytes, state_->feature_bytes};
}

void Replica::close(std::function<void()> done) {
  executor_.close([state = state_, done = std::move(done)] {
    state->release();
    done();
  });
}

void Replica::cancel_all() { executor_.cancel_all(); }

void Replica::shut_down() {
  cancel_all();
  close([] {});  // the model is freed on the thread that used it
  executor_.join();
}

}  // namespace sam3
