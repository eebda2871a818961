// Ours beside transformers: the same random weights, the same inputs, what transformers answered (scripts/export/tiny.py).

#include <torch/script.h>

#include <algorithm>
#include <future>

#include "check.h"
#include "core/error.h"
#include "core/image_model.h"
#include "core/replica.h"
#include "fixtures.h"

using namespace sam3;
using namespace sam3::test;

namespace {

struct Case {
  std::map<std::string, at::Tensor> tensors;
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<ConceptQuery> queries;  // without text

  Case(int seed, const std::string& name) : tensors(read_case(seed, name)) {
    const auto& all_ids = tensors.at("ids");
    const auto& mask = tensors.at("mask");
    for (std::int64_t n = 0; n < all_ids.size(0); ++n) {
      const auto used = all_ids[n].index({mask[n]}).to(at::kInt).contiguous();
      ids.emplace_back(used.const_data_ptr<std::int32_t>(), used.const_data_ptr<std::int32_t>() + used.numel());
      const auto keep = tensors.at("box_mask")[n];
      const auto boxes = tensors.at("boxes")[n].index({keep}).contiguous();
      const auto labels = tensors.at("box_labels")[n].index({keep}).to(at::kByte).contiguous();
      queries.push_back({nullptr,
                         {boxes.const_data_ptr<float>(), boxes.const_data_ptr<float>() + boxes.numel()},
                         {labels.const_data_ptr<std::uint8_t>(), labels.const_data_ptr<std::uint8_t>() + labels.numel()},
                         0.5});
    }
  }

  PixelView pixels() const {
    const auto& picture = tensors.at("picture");
    return {picture.const_data_ptr<std::uint8_t>(), picture.size(1), picture.size(0)};
  }
};

at::Tensor decode_mask(const RunLengths& mask, std::int64_t height, std::int64_t width) {
  auto flat = at::zeros({width * height}, at::kBool);
  std::int64_t at = 0;
  bool inside = false;
  for (const auto run : mask.counts) {
    if (inside) flat.narrow(0, at, run).fill_(true);
    at += run;
    inside = !inside;
  }
  if (at != width * height) throw std::runtime_error("the runs do not sum to the picture");
  return flat.view({width, height}).t().contiguous();
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  return (a - b).abs().max().item<double>();
}

// Final objects of one prompt against transformers': the same number, and for each of theirs, in order of score, ours.
void compare_objects(const Case& one, std::int64_t prompt, const ConceptFinding& finding) {
  const auto height = one.tensors.at("picture").size(0);
  const auto width = one.tensors.at("picture").size(1);
  const auto mine = one.tensors.at("final_prompt").eq(prompt).nonzero().view({-1});
  EXPECT(static_cast<std::int64_t>(finding.objects.size()) == mine.numel());
  if (mine.numel() == 0) return;
  const auto scores = one.tensors.at("final_scores").index_select(0, mine);
  const auto order = std::get<1>(at::sort(scores, /*stable=*/true, 0, /*descending=*/true));
  for (std::int64_t i = 0; i < order.numel(); ++i) {
    const auto& object = finding.objects[static_cast<std::size_t>(i)];
    const auto row = mine[order[i].item<std::int64_t>()].item<std::int64_t>();
    EXPECT_LE(std::abs(object.score - one.tensors.at("final_scores")[row].item<double>()), 1e-4);
    for (std::int64_t c = 0; c < 4; ++c) {
      const double limit = static_cast<double>(c % 2 == 0 ? width : height);
      const double theirs = std::clamp(one.tensors.at("final_boxes")[row][c].item<double>(), 0.0, limit);
      EXPECT_LE(std::abs(object.box[static_cast<std::size_t>(c)] - theirs), 1e-4 * limit);
    }
    const auto ours = decode_mask(object.mask, height, width);
    const auto theirs = one.tensors.at("final_masks")[row].to(at::kBool);
    const auto both = at::logical_and(ours, theirs).sum().item<double>();
    const auto either = at::logical_or(ours, theirs).sum().item<double>();
    EXPECT(either == 0 || both / either >= 0.999);
    EXPECT(static_cast<std::int64_t>(object.mask.area) == ours.sum().item<std::int64_t>());
  }
}

Bundle load(int seed) {
  CancelToken cancel;
  return Bundle::load(read_spec(seed), c10::Device("cpu"), cancel, [](const auto&...) {});
}

}  // namespace

TEST("parity: raw outputs of all prompts together are within 1e-4 of transformers") {
  const c10::InferenceMode inference;
  CancelToken cancel;
  double worst = 0;
  int prompts = 0;
  for (const int seed : seeds()) {
    Bundle bundle = load(seed);
    ImageModel model(bundle, c10::Device("cpu"));
    for (const auto& name : cases(seed)) {
      Case one(seed, name);
      const auto image = model.encode(one.pixels(), cancel);
      const auto texts = model.encode_texts(one.ids, cancel);
      for (std::size_t i = 0; i < texts.size(); ++i) one.queries[i].text = &texts[i];
      const auto answer = model.decode(image, one.queries.data(), one.queries.size());
      for (const auto& [ours, theirs] : {std::pair{answer.logits, "logits"}, {answer.boxes, "pred_boxes"},
                                         {answer.presence, "presence"}, {answer.masks, "masks"}}) {
        const double now = difference(ours, one.tensors.at(theirs));
        if (!(now <= 1e-4)) {
          fail(__FILE__, __LINE__,
               "seed " + std::to_string(seed) + " " + name + ": " + theirs + " differ by " + std::to_string(now));
        }
        worst = std::max(worst, now);
      }
      prompts += static_cast<int>(texts.size());
    }
  }
  std::printf("     %d prompts, largest difference %.2g\n", prompts, worst);
}

TEST("parity: final objects equal transformers', prompts together and one at a time") {
  const c10::InferenceMode inference;
  CancelToken cancel;
  std::size_t objects = 0;
  for (const int seed : seeds()) {
    Bundle bundle = load(seed);
    ImageModel model(bundle, c10::Device("cpu"));
    for (const auto& name : cases(seed)) {
      Case one(seed, name);
      const auto image = model.encode(one.pixels(), cancel);
      const auto texts = model.encode_texts(one.ids, cancel);
      for (std::size_t i = 0; i < texts.size(); ++i) one.queries[i].text = &texts[i];
      const auto together = model.segment(image, one.queries, cancel);
      EXPECT(together.size() == one.queries.size());
      for (std::size_t i = 0; i < one.queries.size(); ++i) {
        compare_objects(one, static_cast<std::int64_t>(i), together[i]);
        const auto alone_text = model.encode_texts({one.ids[i]}, cancel);
        ConceptQuery query = one.queries[i];
        query.text = &alone_text[0];
        const auto alone = model.segment(image, {query}, cancel);
        compare_objects(one, static_cast<std::int64_t>(i), alone[0]);
        objects += together[i].objects.size();
      }
    }
  }
  EXPECT(objects > 0);
  std::printf("     %zu objects\n", objects);
}

TEST("image model: more prompts than fit at once are cut into runs that give the same answers") {
  const c10::InferenceMode inference;
  CancelToken cancel;
  Bundle bundle = load(0);
  ImageModel model(bundle, c10::Device("cpu"));
  Case one(0, cases(0).front());
  const auto image = model.encode(one.pixels(), cancel);
  const auto texts = model.encode_texts(one.ids, cancel);
  std::vector<ConceptQuery> many;
  for (int i = 0; i < 37; ++i) {
    many.push_back(one.queries[static_cast<std::size_t>(i) % one.queries.size()]);
    many.back().text = &texts[static_cast<std::size_t>(i) % texts.size()];
    many.back().threshold = 0.2;
  }
  const auto found = model.segment(image, many, cancel);
  EXPECT(found.size() == many.size());
  for (std::size_t i = 0; i < many.size(); ++i) {
    const auto& first = found[i % one.queries.size()];
    EXPECT(found[i].objects.size() == first.objects.size());
    EXPECT_LE(std::abs(found[i].presence - first.presence), 1e-5);
    for (std::size_t k = 1; k < found[i].objects.size(); ++k) {
      EXPECT(found[i].objects[k - 1].score >= found[i].objects[k].score);
    }
  }
  EXPECT(model.segment(image, {}, cancel).empty());
  EXPECT(model.encode_texts({}, cancel).empty());
}

TEST("image model: a threshold nothing reaches gives no objects; a cancelled token stops every stage") {
  const c10::InferenceMode inference;
  CancelToken cancel;
  Bundle bundle = load(0);
  ImageModel model(bundle, c10::Device("cpu"));
  Case one(0, cases(0).front());
  const auto image = model.encode(one.pixels(), cancel);
  const auto texts = model.encode_texts(one.ids, cancel);
  ConceptQuery query = one.queries[0];
  query.text = &texts[0];
  query.threshold = 1.0;
  EXPECT(model.segment(image, {query}, cancel)[0].objects.empty());
  query.threshold = -1.0;
  EXPECT(!model.segment(image, {query}, cancel)[0].objects.empty());

  CancelToken cancelled;
  cancelled.cancel();
  EXPECT_CODE(model.encode(one.pixels(), cancelled), "ABORTED");
  EXPECT_CODE(model.encode_texts(one.ids, cancelled), "ABORTED");
  EXPECT_CODE(model.segment(image, {query}, cancelled), "ABORTED");
}

TEST("image model: a bundle that answers with other shapes than its manifest says is refused") {
  const c10::InferenceMode inference;
  CancelToken cancel;
  auto spec = read_spec(0);
  spec.feature_size += 1;
  Bundle bundle = Bundle::load(spec, c10::Device("cpu"), cancel, [](const auto&...) {});
  ImageModel model(bundle, c10::Device("cpu"));
  const Case one(0, cases(0).front());
  EXPECT_CODE(model.encode(one.pixels(), cancel), "BUNDLE_INVALID");
}

TEST("replica: calls come back in order, wrong pictures are refused, features are counted and freed, close frees the model") {
  Replica replica("cpu", 1);
  const auto token = [] { return std::make_shared<CancelToken>(); };
  const auto encode = [&](Pixels pixels) {
    std::promise<Outcome<Encoding>> promise;
    replica.encode_image(pixels, token(), [&](Outcome<Encoding> outcome) { promise.set_value(std::move(outcome)); });
    return promise.get_future().get();
  };

  const Case one(0, cases(0).front());
  const auto view = one.pixels();
  Pixels pixels{view.data, static_cast<std::size_t>(view.width * view.height * 3), view.width, view.height};
  EXPECT(std::get<Error>(encode(pixels)).code() == "INTERNAL");  // nothing loaded yet

  std::promise<Outcome<LoadReport>> loaded;
  replica.load(read_spec(0), token(), [](const auto&...) {}, [&](Outcome<LoadReport> outcome) { loaded.set_value(std::move(outcome)); });
  const auto report = std::get<LoadReport>(loaded.get_future().get());
  EXPECT(report.model_bytes > 0);
  EXPECT(replica.stats().model_bytes == report.model_bytes);

  {
    auto encoding = std::get<Encoding>(encode(pixels));
    EXPECT(encoding.features->width() == view.width);
    EXPECT(replica.stats().feature_bytes == encoding.features->bytes());
    EXPECT(!replica.stats().running);
  }
  EXPECT(replica.stats().feature_bytes == 0);
  pixels.bytes -= 1;
  EXPECT(std::get<Error>(encode(pixels)).code() == "INVALID_ARGUMENT");
  pixels.width = 0;
  EXPECT(std::get<Error>(encode(pixels)).code() == "INVALID_ARGUMENT");

  std::promise<void> closed;
  replica.close([&] { closed.set_value(); });
  closed.get_future().wait();
  EXPECT(replica.stats().model_bytes == 0);
  EXPECT(std::get<Error>(encode(pixels)).code() == "DISPOSED");
  EXPECT_CODE(Replica("cuda:99", 0), "DEVICE_UNKNOWN");
  EXPECT_CODE(Replica("tpu", 0), "DEVICE_UNKNOWN");
  EXPECT_CODE(Replica("cuda:", 0), "DEVICE_UNKNOWN");
}
