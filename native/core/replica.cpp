#include "core/replica.h"

#include <ATen/Parallel.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/runtime/graph_executor.h>

#include <chrono>
#include <optional>

#include "core/bundle.h"
#include "core/devices.h"
#include "core/image_model.h"

namespace sam3 {
namespace {

class Stopwatch {
 public:
  double ms() const { return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

// What a replica's calls work on. The bundle is touched on the executor's thread only; the counts from anywhere.
class ReplicaState {
 public:
  explicit ReplicaState(c10::Device device) : device_(device) {}

  c10::Device device() const { return device_; }

  Bundle& bundle() {
    if (!bundle_) throw Error("INTERNAL", "The replica was asked to work before a bundle was loaded.");
    return *bundle_;
  }
  void set_bundle(std::optional<Bundle> bundle) {
    bundle_ = std::move(bundle);
    model_bytes = bundle_ ? bundle_->bytes() : 0;
  }

  // Frees the model and gives the memory back to the device, not only to libtorch's cache of it. Never throws: it is
  // the last thing a replica does, also after the device has failed.
  void release() noexcept {
    try {
      set_bundle(std::nullopt);
      if (!device_.is_cpu()) c10::getDeviceAllocator(device_.type())->emptyCache();
    } catch (...) {
    }
  }

  std::atomic<std::int64_t> model_bytes{0};
  std::atomic<std::int64_t> feature_bytes{0};

 private:
  c10::Device device_;
  std::optional<Bundle> bundle_;
};

ImageFeatures::ImageFeatures(std::shared_ptr<ReplicaState> owner, ImageTensors tensors)
    : owner_(std::move(owner)),
      tensors_(std::make_unique<const ImageTensors>(std::move(tensors))),
      bytes_(tensors_->bytes()) {
  owner_->feature_bytes += bytes_;
}
ImageFeatures::~ImageFeatures() { owner_->feature_bytes -= bytes_; }
std::int64_t ImageFeatures::width() const { return tensors_->width; }
std::int64_t ImageFeatures::height() const { return tensors_->height; }

TextFeatures::TextFeatures(std::shared_ptr<ReplicaState> owner, TextTensors tensors)
    : owner_(std::move(owner)),
      tensors_(std::make_unique<const TextTensors>(std::move(tensors))),
      bytes_(tensors_->bytes()) {
  owner_->feature_bytes += bytes_;
}
TextFeatures::~TextFeatures() { owner_->feature_bytes -= bytes_; }

Replica::Replica(const std::string& device, int threads)
    : state_(std::make_shared<ReplicaState>(parse_device(device))),
      executor_([threads](const std::function<void()>& loop) {
        // OpenMP keeps the number of threads per calling thread, so replicas may differ.
        at::set_num_threads(threads > 0 ? threads : usable_cores());
        const c10::InferenceMode inference;
        // Per thread. The profiling executor gains nothing on these graphs and recompiles for new shapes. Milliseconds of
        // processor time of the first calls with mini, one thread: image encoder 119, 76, 21, 21, … with it and 45, 23,
        // 23, 23, … without; concept decoder 121, 135, 13, 14, … and 36, 16, 17, 14, …. Freezing the modules made later
        // calls no faster either.
        const torch::jit::GraphOptimizerEnabledGuard plain_graphs(false);
        loop();
      }) {}

Replica::~Replica() { shut_down(); }

template <class T>
void Replica::submit(CancelRef cancel, const char* doing, std::function<T(double queue_ms)> work, Done<T> done) {
  const auto shared_done = std::make_shared<Done<T>>(std::move(done));
  const auto device = state_->device().is_cpu() ? std::nullopt : std::optional<c10::Device>(state_->device());
  executor_.submit({[doing, device, work = std::move(work), shared_done](double queue_ms) -> std::function<void()> {
                      const auto outcome = std::make_shared<std::optional<Outcome<T>>>();
                      try {
                        const c10::OptionalDeviceGuard current(device);
                        outcome->emplace(work(queue_ms));
                      } catch (...) {
                        outcome->emplace(name_failure(std::current_exception(), "MODEL_FAILED", doing));
                      }
                      return [outcome, shared_done] { (*shared_done)(std::move(**outcome)); };
                    },
                    [shared_done](const Error& why) { (*shared_done)(Outcome<T>(why)); }, std::move(cancel)});
}

void Replica::load(BundleSpec spec, CancelRef cancel, PartCallback on_part, Done<LoadReport> done) {
  submit<LoadReport>(
      cancel, "Loading the bundle failed",
      [state = state_, spec = std::move(spec), cancel, on_part = std::move(on_part)](double) {
        const Stopwatch watch;
        scalar_type(spec.dtype);
        state->set_bundle(Bundle::load(spec, state->device(), *cancel, on_part));
        return LoadReport{state->model_bytes, watch.ms()};
      },
      std::move(done));
}

void Replica::encode_image(Pixels pixels, CancelRef cancel, Done<Encoding> done) {
  submit<Encoding>(
      cancel, "Encoding the picture failed",
      [state = state_, pixels, cancel](double queue_ms) {
        const Stopwatch watch;
        if (pixels.width < 1 || pixels.height < 1 ||
            pixels.bytes / 3 / static_cast<std::size_t>(pixels.width) < static_cast<std::size_t>(pixels.height)) {
          throw Error("INVALID_ARGUMENT", "The picture has fewer bytes than width * height * 3.");
        }
        ImageModel model(state->bundle(), state->device());
        auto tensors = model.encode({pixels.data, pixels.width, pixels.height}, *cancel);
        return Encoding{std::make_shared<ImageFeatures>(state, std::move(tensors)), watch.ms(), queue_ms};
      },
      std::move(done));
}

void Replica::encode_texts(std::vector<std::vector<std::int32_t>> ids, CancelRef cancel,
                           Done<std::vector<TextRef>> done) {
  submit<std::vector<TextRef>>(
      cancel, "Encoding the text failed",
      [state = state_, ids = std::move(ids), cancel](double) {
        ImageModel model(state->bundle(), state->device());
        std::vector<TextRef> texts;
        for (auto& tensors : model.encode_texts(ids, *cancel)) {
          texts.push_back(std::make_shared<TextFeatures>(state, std::move(tensors)));
        }
        return texts;
      },
      std::move(done));
}

void Replica::segment_concepts(ImageRef image, std::vector<ConceptPrompt> prompts, CancelRef cancel,
                               Done<ConceptAnswer> done) {
  submit<ConceptAnswer>(
      cancel, "Segmenting failed",
      [state = state_, image = std::move(image), prompts = std::move(prompts), cancel](double queue_ms) {
        const Stopwatch watch;
        if (image->owner() != state.get()) {
          throw Error("INVALID_ARGUMENT", "The picture was encoded by another replica.");
        }
        std::vector<ConceptQuery> queries;
        for (const ConceptPrompt& prompt : prompts) {
          if (prompt.text->owner() != state.get()) {
            throw Error("INVALID_ARGUMENT", "The text was encoded by another replica.");
          }
          if (prompt.boxes.size() != prompt.labels.size() * 4) {
            throw Error("INVALID_ARGUMENT", "An exemplar box is four numbers and one label.");
          }
          queries.push_back({&prompt.text->tensors(), prompt.boxes, prompt.labels, prompt.threshold});
        }
        ImageModel model(state->bundle(), state->device());
        auto findings = model.segment(image->tensors(), queries, *cancel);
        return ConceptAnswer{std::move(findings), watch.ms(), queue_ms};
      },
      std::move(done));
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
