#include "core/image_model.h"

#include <torch/script.h>

#include <cmath>
#include <cstdio>
#include <limits>

#include "check.h"
#include "core/error.h"
#include "core/part.h"
#include "fixtures.h"
#include "model.h"

using namespace sam3;
using namespace sam3::test;

namespace {

// A batch may sum in another order than a single item does; both are within this of each other.
constexpr double batch_tolerance = 1e-5;

// Two findings of one prompt: masks may differ where a logit all but touches the threshold.
void expect_same(const ConceptFinding& a, const ConceptFinding& b) {
  EXPECT(a.objects.size() == b.objects.size());
  EXPECT_LE(std::abs(a.presence - b.presence), batch_tolerance);
  for (std::size_t k = 0; k < a.objects.size(); ++k) {
    EXPECT_LE(std::abs(a.objects[k].score - b.objects[k].score), batch_tolerance);
    const double area = static_cast<double>(a.objects[k].mask.area);
    EXPECT_LE(std::abs(area - static_cast<double>(b.objects[k].mask.area)), 1 + 1e-3 * area);
  }
}

void expect_same(const ObjectFinding& a, const ObjectFinding& b) {
  EXPECT(a.masks.size() == b.masks.size());
  EXPECT_LE(std::abs(a.object_score - b.object_score), batch_tolerance);
  for (std::size_t k = 0; k < a.masks.size(); ++k) {
    EXPECT_LE(std::abs(a.masks[k].quality - b.masks[k].quality), batch_tolerance);
    EXPECT_LE(difference(at::tensor(a.masks[k].low_resolution), at::tensor(b.masks[k].low_resolution)), batch_tolerance);
  }
}

// Pictures of a seed's concept cases.
struct Pictures {
  std::vector<ConceptCase> made;
  std::vector<PixelView> views;

  explicit Pictures(int seed) {
    for (const auto& name : cases(seed)) made.emplace_back(seed, name);
    for (const auto& one : made) views.push_back(one.pixels());
  }
};

}  // namespace

TEST("image model: pictures together are encoded as each alone, into storage of their own") {
  const c10::InferenceMode inference;
  Model model(0);
  const Pictures pictures(0);
  const auto together = model.encode(pictures.views, 3);
  const auto alone = model.encode(pictures.views, 1);
  EXPECT(together.size() == pictures.views.size());
  double worst = 0;
  for (std::size_t i = 0; i < together.size(); ++i) {
    EXPECT(together[i].width == pictures.views[i].width);
    EXPECT(together[i].height == pictures.views[i].height);
    for (const auto map : {&ImageTensors::fine, &ImageTensors::middle, &ImageTensors::coarse,
                           &ImageTensors::tracker_fine, &ImageTensors::tracker_middle, &ImageTensors::tracker_coarse}) {
      const auto& ours = together[i].*map;
      EXPECT(ours.storage().nbytes() == static_cast<std::size_t>(ours.numel()) * ours.element_size());
      // Features are no results: their values go up to tens, so the difference is measured by their size.
      const double size = std::max(1.0, (alone[i].*map).abs().max().item<double>());
      worst = std::max(worst, difference(ours, alone[i].*map) / size);
    }
    EXPECT(together[i].bytes() == alone[i].bytes());
  }
  EXPECT_LE(worst, batch_tolerance);
  EXPECT(model.encode({}).empty());
}

TEST("image model: texts together are encoded as each alone") {
  const c10::InferenceMode inference;
  Model model(1);
  const ConceptCase one(1, "prompts_of_different_length");
  const auto together = model.encode_texts(one.ids);
  const auto alone = model.encode_texts(one.ids, 1);
  for (std::size_t i = 0; i < one.ids.size(); ++i) {
    EXPECT(together[i].tokens.size(0) == static_cast<std::int64_t>(one.ids[i].size()));
    EXPECT_LE(difference(together[i].tokens, alone[i].tokens), batch_tolerance);
  }
  EXPECT(model.encode_texts({}).empty());
}

TEST("image model: prompts on one picture and on several, in runs of any size, give the same answers in order") {
  const c10::InferenceMode inference;
  Model model(0);
  Pictures pictures(0);
  const auto images = model.encode(pictures.views);
  std::vector<TextTensors> texts;
  std::vector<ConceptQuery> queries;
  for (const auto& one : pictures.made) {
    for (auto& text : model.encode_texts(one.ids)) texts.push_back(std::move(text));
  }
  std::size_t next = 0;
  for (std::size_t i = 0; i < images.size(); ++i) {
    for (ConceptQuery query : pictures.made[i].queries) {
      query.image = &images[i];
      query.text = &texts[next++];
      query.threshold = 0.3;
      queries.push_back(query);
    }
  }
  // Neighbours on different pictures.
  std::vector<ConceptQuery> mixed;
  for (std::size_t step = 0; step < 3; ++step) {
    for (std::size_t i = step; i < queries.size(); i += 3) mixed.push_back(queries[i]);
  }
  const auto alone = model.find(mixed, 1);
  std::size_t objects = 0;
  for (const std::size_t at_once : {2, 5, 64}) {
    const auto found = model.find(mixed, at_once);
    EXPECT(found.size() == mixed.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      expect_same(found[i], alone[i]);
      objects += found[i].objects.size();
      for (std::size_t k = 1; k < found[i].objects.size(); ++k) {
        EXPECT(found[i].objects[k - 1].score >= found[i].objects[k].score);
      }
    }
  }
  EXPECT(objects > 0);
  EXPECT(model.find(std::vector<ConceptQuery>()).empty());
}

TEST("image model: object prompts of different lengths on different pictures together are as each alone") {
  const c10::InferenceMode inference;
  Model model(2);
  std::vector<ObjectCase> made;
  std::vector<PixelView> views;
  for (const auto& name : object_cases(2)) made.emplace_back(2, name);
  for (const auto& one : made) views.push_back(one.pixels());
  const auto images = model.encode(views);
  std::vector<ObjectQuery> queries;
  for (std::size_t i = 0; i < made.size(); ++i) {
    for (ObjectQuery query : made[i].queries) {
      query.image = &images[i];
      query.multimask = queries.size() % 2 == 0;
      queries.push_back(query);
    }
  }
  EXPECT(queries.size() > 10);
  const auto alone = model.find(queries, 1);
  for (const std::size_t at_once : {3, 64}) {
    const auto found = model.find(queries, at_once);
    for (std::size_t i = 0; i < found.size(); ++i) expect_same(found[i], alone[i]);
  }
  EXPECT(model.find(std::vector<ObjectQuery>()).empty());
}

TEST("image model: an answer refines the next, holes are filled on the mask and not on its logits") {
  const c10::InferenceMode inference;
  Model model(0);
  ObjectCase one(0, "one_point");
  const auto image = model.encode({one.pixels()});
  ObjectQuery query = one.queries[0];
  query.image = &image[0];
  const auto first = model.find(std::vector{query})[0];
  query.mask = first.masks[0].low_resolution;
  const auto second = model.find(std::vector{query})[0];
  EXPECT(second.masks[0].low_resolution != first.masks[0].low_resolution);

  query.mask.clear();
  query.max_hole_area = 1 << 20;  // every background component is a hole
  const auto filled = model.find(std::vector{query})[0];
  EXPECT(filled.masks[0].mask.area == static_cast<std::uint64_t>(image[0].width * image[0].height));
  EXPECT(filled.masks[0].low_resolution == first.masks[0].low_resolution);
  query.max_hole_area = 0;
  query.max_sprinkle_area = 1 << 20;
  EXPECT(model.find(std::vector{query})[0].masks[0].mask.area == 0);
  query.max_sprinkle_area = 0;
  query.mask_threshold = 1000;
  EXPECT(model.find(std::vector{query})[0].masks[0].mask.area == 0);
}

TEST("image model: a threshold nothing reaches gives no objects, and a semantic map only where it was asked for") {
  const c10::InferenceMode inference;
  Model model(0);
  ConceptCase one(0, cases(0).front());
  const auto image = model.encode({one.pixels()});
  const auto texts = model.encode_texts(one.ids);
  ConceptQuery query = one.queries[0];
  query.image = &image[0];
  query.text = &texts[0];
  query.threshold = 1.0;
  EXPECT(model.find(std::vector{query})[0].objects.empty());
  EXPECT(model.find(std::vector{query})[0].semantic.has_value());
  query.threshold = -1.0;
  query.semantic = false;
  EXPECT(!model.find(std::vector{query})[0].objects.empty());
  EXPECT(!model.find(std::vector{query})[0].semantic.has_value());
}

TEST("image model: a cancelled item is dropped, the others are answered") {
  const c10::InferenceMode inference;
  Model model(0);
  ConceptCase one(0, cases(0).front());
  const auto cancels = tokens(3);
  cancels[1]->cancel();
  Answers<ImageTensors> answers(cancels);
  model.image.encode({one.pixels(), one.pixels(), one.pixels()}, 8, answers);
  const auto outcomes = answers.take();
  EXPECT(std::get<Error>(outcomes[1]).code() == "ABORTED");
  EXPECT(std::get<ImageTensors>(outcomes[0]).width == one.pixels().width);
  EXPECT(std::get<ImageTensors>(outcomes[2]).width == one.pixels().width);
}

TEST("image model: one text with a token the model does not know fails alone") {
  const c10::InferenceMode inference;
  if (!test_device().is_cpu()) {
    std::printf("     not run: the check of an accelerator would end all of its work\n");
    return;
  }
  Model model(0);
  Answers<TextTensors> answers(tokens(3));
  model.image.encode_texts({{1, 2}, {1, 1 << 20, 2}, {3}}, 8, answers);
  const auto outcomes = answers.take();
  EXPECT(std::get<Error>(outcomes[1]).code() == "MODEL_FAILED");
  EXPECT(std::get<TextTensors>(outcomes[0]).tokens.size(0) == 2);
  EXPECT(std::get<TextTensors>(outcomes[2]).tokens.size(0) == 1);
}

TEST("image model: features that are not numbers make their own prompt fail") {
  const c10::InferenceMode inference;
  Model model(0);
  ObjectCase one(0, "one_point");
  auto images = model.encode({one.pixels(), one.pixels()});
  for (const auto map : {&ImageTensors::coarse, &ImageTensors::tracker_coarse}) {
    images[1].*map = at::full_like(images[1].*map, std::numeric_limits<double>::quiet_NaN());
  }
  ObjectQuery good = one.queries[0];
  good.image = &images[0];
  ObjectQuery bad = good;
  bad.image = &images[1];
  Answers<ObjectFinding> objects(tokens(3));
  model.image.segment_objects({good, bad, good}, 8, objects);
  const auto found = objects.take();
  EXPECT(std::get<Error>(found[1]).code() == "MODEL_FAILED");
  EXPECT(std::get<ObjectFinding>(found[0]).masks.size() == 1);
  EXPECT(std::get<ObjectFinding>(found[2]).masks.size() == 1);

  const auto text = model.encode_texts({{1, 2}});
  ConceptQuery query;
  query.text = &text[0];
  query.image = &images[0];
  ConceptQuery broken = query;
  broken.image = &images[1];
  Answers<ConceptFinding> concepts(tokens(2));
  model.image.segment_concepts({broken, query}, 8, concepts);
  const auto findings = concepts.take();
  EXPECT(std::get<Error>(findings[0]).code() == "MODEL_FAILED");
  EXPECT(std::get<ConceptFinding>(findings[1]).presence > 0);
}

TEST("image model: a bundle that answers with other shapes than its manifest says, or lacks a part, is refused") {
  const c10::InferenceMode inference;
  const ConceptCase one(0, cases(0).front());
  auto spec = read_spec(0);
  spec.feature_size += 1;
  Model wrong(spec);
  EXPECT_CODE(wrong.encode({one.pixels()}), "BUNDLE_INVALID");

  spec = read_spec(0);
  std::erase_if(spec.parts, [](const auto& part) { return part.first == "tracker_constants"; });
  Model lacking(spec);
  ObjectCase object(0, "box");
  const auto image = lacking.encode({object.pixels()});
  ObjectQuery query = object.queries[0];
  query.image = &image[0];
  EXPECT_CODE(lacking.find(std::vector{query}), "BUNDLE_PART_MISSING");
}
