#include "core/replica.h"

#include <torch/script.h>

#include <limits>

#include "check.h"
#include "core/features.h"
#include "fixtures.h"
#include "model.h"
#include "wait.h"

using namespace sam3;
using namespace sam3::test;

namespace {

// A replica with the tiny bundle, and its calls as plain functions.
struct Tiny {
  Replica replica{test_device().str(), 1};
  ConceptCase one{0, cases(0).front()};

  Outcome<LoadReport> load() {
    return wait_for<LoadReport>([&](auto done) { replica.load(read_spec(0), token(), [](const auto&...) {}, done); });
  }
  Pixels pixels() const {
    const auto view = one.pixels();
    return {view.data, static_cast<std::size_t>(view.width * view.height * 3), view.width, view.height};
  }
  Outcome<Batch<ImageRef>> encode(std::vector<Item<Pixels>> items) {
    return wait_for<Batch<ImageRef>>([&](auto done) { replica.encode_images(std::move(items), 8, done); });
  }
  ImageRef encode_one() {
    return std::get<ImageRef>(std::get<Batch<ImageRef>>(encode({{pixels(), token()}})).items.at(0));
  }
  TextRef encode_text() {
    auto outcome = wait_for<Batch<TextRef>>([&](auto done) {
      replica.encode_texts({{std::vector<std::int32_t>{1, 2}, token()}}, 8, done);
    });
    return std::get<TextRef>(std::get<Batch<TextRef>>(outcome).items.at(0));
  }
  std::vector<Outcome<ConceptFinding>> find(std::vector<Item<ConceptPrompt>> items) {
    auto outcome = wait_for<Batch<ConceptFinding>>(
        [&](auto done) { replica.segment_concepts(std::move(items), 8, done); });
    return std::get<Batch<ConceptFinding>>(outcome).items;
  }
  std::vector<Outcome<ObjectFinding>> find(std::vector<Item<ObjectPrompt>> items) {
    auto outcome = wait_for<Batch<ObjectFinding>>(
        [&](auto done) { replica.segment_objects(std::move(items), 8, done); });
    return std::get<Batch<ObjectFinding>>(outcome).items;
  }
  Outcome<ImageRef> move(ImageRef features, Tier to, CancelRef cancel = token()) {
    return wait_for<ImageRef>([&](auto done) { replica.move_features(features, to, cancel, done); });
  }
};

}  // namespace

TEST("replica: nothing works before a bundle is loaded; features are counted and freed; close frees the model") {
  Tiny tiny;
  EXPECT(code_of(tiny.encode({{tiny.pixels(), token()}})) == "INTERNAL");
  const auto report = std::get<LoadReport>(tiny.load());
  EXPECT(report.model_bytes > 0);
  EXPECT(tiny.replica.stats().model_bytes == report.model_bytes);
  {
    const auto batch = std::get<Batch<ImageRef>>(tiny.encode({{tiny.pixels(), token()}, {tiny.pixels(), token()}}));
    const auto& features = std::get<ImageRef>(batch.items[0]);
    EXPECT(features->tensors().width == tiny.pixels().width);
    EXPECT(tiny.replica.stats().feature_bytes == 2 * features->bytes());
    EXPECT(batch.work_ms > 0 && batch.queue_ms >= 0);
    EXPECT(!tiny.replica.stats().running);
  }
  EXPECT(tiny.replica.stats().feature_bytes == 0);
  EXPECT(tiny.replica.memory().free_bytes > 0);

  std::promise<void> closed;
  tiny.replica.close([&] { closed.set_value(); });
  closed.get_future().wait();
  EXPECT(tiny.replica.stats().model_bytes == 0);
  EXPECT(code_of(tiny.encode({{tiny.pixels(), token()}})) == "DISPOSED");
  EXPECT(code_of(wait_for<std::monostate>([&](auto done) { tiny.replica.trim(done); })) == "DISPOSED");
}

TEST("replica: there is no such device") {
  for (const char* device : {"cuda:99", "tpu", "cuda:", ""}) EXPECT_CODE(Replica(device, 0), "DEVICE_UNKNOWN");
}

TEST("replica: items that ask for nothing sensible fail alone") {
  Tiny tiny;
  tiny.load();
  Pixels few = tiny.pixels();
  few.bytes -= 1;
  Pixels none = tiny.pixels();
  none.width = 0;
  Pixels nowhere = tiny.pixels();
  nowhere.data = nullptr;
  const auto unread = Error("INVALID_ARGUMENT", "not an object");
  const auto images = std::get<Batch<ImageRef>>(tiny.encode({{few, token()},
                                                             {tiny.pixels(), token()},
                                                             {none, token()},
                                                             {unread, nullptr},
                                                             {nowhere, token()}}))
                          .items;
  EXPECT(code_of(images[1]) == "none");
  for (const std::size_t bad : {0, 2, 3, 4}) EXPECT(code_of(images[bad]) == "INVALID_ARGUMENT");

  const ImageRef image = std::get<ImageRef>(images[1]);
  const TextRef text = tiny.encode_text();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const ConceptPrompt good{image, text, {}, {}, 0.5, false};
  ConceptPrompt short_box = good;
  short_box.boxes = {0.5f, 0.5f, 0.1f};
  short_box.labels = {1};
  ConceptPrompt wild_box = good;
  wild_box.boxes = {nan, 0.5f, 0.1f, 0.1f};
  wild_box.labels = {1};
  ConceptPrompt odd_label = wild_box;
  odd_label.boxes[0] = 0.5f;
  odd_label.labels = {2};
  ConceptPrompt no_threshold = good;
  no_threshold.threshold = nan;
  const auto concepts = tiny.find(std::vector<Item<ConceptPrompt>>{
      {short_box, token()}, {wild_box, token()}, {odd_label, token()}, {no_threshold, token()}, {good, token()}});
  for (std::size_t bad = 0; bad < 4; ++bad) EXPECT(code_of(concepts[bad]) == "INVALID_ARGUMENT");
  EXPECT(code_of(concepts[4]) == "none");

  ObjectPrompt point;
  point.image = image;
  point.points = {3, 4};
  point.labels = {1};
  std::vector<ObjectPrompt> bad(8, point);
  bad[0].points = {3};
  bad[1].points = {3, nan};
  bad[2].labels = {4};
  bad[3].labels = {-1};
  bad[4].points.clear();
  bad[4].labels.clear();
  bad[5].has_mask = true;
  bad[6].has_mask = true;
  bad[6].mask.assign(32 * 32, nan);
  bad[7].mask_threshold = nan;
  std::vector<Item<ObjectPrompt>> items;
  for (const auto& prompt : bad) items.push_back({prompt, token()});
  items.push_back({point, token()});
  const auto objects = tiny.find(std::move(items));
  for (std::size_t i = 0; i < bad.size(); ++i) EXPECT(code_of(objects[i]) == "INVALID_ARGUMENT");
  EXPECT(code_of(objects[8]) == "none");

  for (const auto& ids : {std::vector<std::int32_t>(), std::vector<std::int32_t>(33, 1), std::vector<std::int32_t>{-1}}) {
    auto outcome = wait_for<Batch<TextRef>>([&](auto done) { tiny.replica.encode_texts({{ids, token()}}, 8, done); });
    EXPECT(code_of(std::get<Batch<TextRef>>(outcome).items[0]) == "INVALID_ARGUMENT");
  }
}

TEST("replica: features of another replica, or in the host's memory, cannot be decoded from; moved back they can") {
  Tiny tiny;
  Tiny other;
  tiny.load();
  other.load();
  const ImageRef image = tiny.encode_one();
  const TextRef text = tiny.encode_text();
  const auto find = [&](const ImageRef& on, const TextRef& what) {
    auto found = tiny.find(std::vector<Item<ConceptPrompt>>{{ConceptPrompt{on, what, {}, {}, 0.5, false}, token()}});
    return std::move(found[0]);
  };
  EXPECT(code_of(find(other.encode_one(), text)) == "INVALID_ARGUMENT");
  EXPECT(code_of(find(image, other.encode_text())) == "INVALID_ARGUMENT");
  EXPECT(code_of(tiny.move(other.encode_one(), Tier::host)) == "INVALID_ARGUMENT");

  const auto counted = tiny.replica.stats().feature_bytes;
  const ImageRef host = std::get<ImageRef>(tiny.move(image, Tier::host));
  EXPECT(host->tier() == Tier::host && host->bytes() == image->bytes());
  EXPECT(tiny.replica.stats().feature_bytes == counted);
  EXPECT(code_of(find(host, text)) == "INVALID_ARGUMENT");
  const ImageRef back = std::get<ImageRef>(tiny.move(host, Tier::device));
  EXPECT(tiny.replica.stats().feature_bytes == counted + image->bytes());
  EXPECT(back->tensors().fine.data_ptr() != image->tensors().fine.data_ptr());
  const auto before = std::get<ConceptFinding>(find(image, text));
  const auto after = std::get<ConceptFinding>(find(back, text));
  EXPECT(before.presence == after.presence && before.objects.size() == after.objects.size());

  const auto cancelled = token();
  cancelled->cancel();
  EXPECT(code_of(tiny.move(image, Tier::host, cancelled)) == "ABORTED");
}

TEST("replica: a batch all of whose items are cancelled is answered at once, one cancelled item is dropped") {
  Tiny tiny;
  tiny.load();
  const auto cancelled = token();
  cancelled->cancel();
  auto batch = std::get<Batch<ImageRef>>(tiny.encode({{tiny.pixels(), cancelled}, {tiny.pixels(), token()}}));
  EXPECT(code_of(batch.items[0]) == "ABORTED" && code_of(batch.items[1]) == "none");
  const auto unread = Error("INVALID_ARGUMENT", "not an object");
  batch = std::get<Batch<ImageRef>>(tiny.encode({{tiny.pixels(), cancelled}, {unread, nullptr}}));
  EXPECT(code_of(batch.items[0]) == "ABORTED" && code_of(batch.items[1]) == "INVALID_ARGUMENT");
  EXPECT(std::get<Batch<ImageRef>>(tiny.encode({})).items.empty());
}
