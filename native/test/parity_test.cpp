// Ours beside transformers: the same random weights, the same inputs, what transformers answered (scripts/export/tiny.py).

#include <torch/script.h>

#include <algorithm>
#include <cstdio>
#include <functional>

#include "check.h"
#include "core/error.h"
#include "fixtures.h"
#include "model.h"

using namespace sam3;
using namespace sam3::test;

namespace {

void expect_close(const std::string& where, const at::Tensor& ours, const at::Tensor& theirs, double& worst) {
  const double now = difference(ours, theirs);
  if (!(now <= 1e-4)) fail(__FILE__, __LINE__, where + " differ by " + std::to_string(now));
  worst = std::max(worst, now);
}

// Two masks of one picture agree in all but a thousandth of what either covers.
void expect_same_mask(const RunLengths& mask, const at::Tensor& theirs) {
  const auto ours = decode_mask(mask, theirs.size(0), theirs.size(1));
  const auto both = at::logical_and(ours, theirs.to(at::kBool)).sum().item<double>();
  const auto either = at::logical_or(ours, theirs.to(at::kBool)).sum().item<double>();
  EXPECT(either == 0 || both / either >= 0.999);
  EXPECT(static_cast<std::int64_t>(mask.area) == ours.sum().item<std::int64_t>());
}

// Runs `body` for every concept case of every seed, its picture and texts encoded.
void for_every_case(const std::function<void(Model& model, ConceptCase& one, const std::string& where)>& body) {
  const c10::InferenceMode inference;
  for (const int seed : seeds()) {
    Model model(seed);
    for (const auto& name : cases(seed)) {
      ConceptCase one(seed, name);
      const auto image = model.encode({one.pixels()});
      const auto texts = model.encode_texts(one.ids);
      for (std::size_t i = 0; i < texts.size(); ++i) {
        one.queries[i].image = &image[0];
        one.queries[i].text = &texts[i];
      }
      body(model, one, "seed " + std::to_string(seed) + " " + name + ": ");
    }
  }
}

// Likewise for object cases.
void for_every_object_case(const std::function<void(Model& model, ObjectCase& one, const std::string& where)>& body) {
  const c10::InferenceMode inference;
  for (const int seed : seeds()) {
    Model model(seed);
    for (const auto& name : object_cases(seed)) {
      ObjectCase one(seed, name);
      const auto image = model.encode({one.pixels()});
      for (auto& query : one.queries) query.image = &image[0];
      body(model, one, "seed " + std::to_string(seed) + " " + name + ": ");
    }
  }
}

// Final objects of one prompt against transformers': the same number, and for each of theirs, in order of score, ours.
void compare_objects(const ConceptCase& one, std::int64_t prompt, const ConceptFinding& finding) {
  const auto height = one.tensors.at("picture").size(0);
  const auto width = one.tensors.at("picture").size(1);
  expect_same_mask(finding.semantic.value(), one.tensors.at("final_semantic")[prompt]);
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
    expect_same_mask(object.mask, one.tensors.at("final_masks")[row]);
  }
}

}  // namespace

TEST("parity: raw outputs of all prompts together are within 1e-4 of transformers") {
  double worst = 0;
  std::size_t prompts = 0;
  for_every_case([&](Model& model, ConceptCase& one, const std::string& where) {
    std::vector<const ConceptQuery*> all;
    for (const auto& query : one.queries) all.push_back(&query);
    const auto answer = model.image.decode_concepts(all);
    expect_close(where + "scores", answer.logits, one.tensors.at("logits"), worst);
    expect_close(where + "boxes", answer.boxes, one.tensors.at("pred_boxes"), worst);
    expect_close(where + "presence", answer.presence, one.tensors.at("presence"), worst);
    expect_close(where + "masks", answer.masks, one.tensors.at("masks"), worst);
    expect_close(where + "semantic maps", answer.semantic, one.tensors.at("semantic"), worst);
    prompts += all.size();
  });
  std::printf("     %zu prompts, largest difference %.2g\n", prompts, worst);
}

TEST("parity: final objects and semantic maps equal transformers', prompts together and one at a time") {
  std::size_t objects = 0;
  for_every_case([&](Model& model, ConceptCase& one, const std::string&) {
    const auto together = model.find(one.queries);
    EXPECT(together.size() == one.queries.size());
    for (std::size_t i = 0; i < one.queries.size(); ++i) {
      compare_objects(one, static_cast<std::int64_t>(i), together[i]);
      const auto alone_text = model.encode_texts({one.ids[i]});
      ConceptQuery query = one.queries[i];
      query.text = &alone_text[0];
      compare_objects(one, static_cast<std::int64_t>(i), model.find(std::vector{query})[0]);
      objects += together[i].objects.size();
    }
  });
  EXPECT(objects > 0);
  std::printf("     %zu objects\n", objects);
}

TEST("parity: object prompts of every kind are within 1e-4 of transformers, one mask and three") {
  double worst = 0;
  std::size_t prompts = 0;
  std::size_t fallen_back = 0;
  for_every_object_case([&](Model& model, ObjectCase& one, const std::string& where) {
    for (const bool multimask : {true, false}) {
      const std::string kind = multimask ? "three" : "single";
      for (auto& query : one.queries) query.multimask = multimask;
      const auto found = model.find(one.queries);
      for (std::size_t i = 0; i < found.size(); ++i) {
        const auto row = static_cast<std::int64_t>(i);
        const auto& masks = one.tensors.at(kind + "_masks");
        const auto& quality = one.tensors.at(kind + "_quality");
        EXPECT(static_cast<std::int64_t>(found[i].masks.size()) == masks.size(1));
        EXPECT_LE(std::abs(found[i].object_score - one.tensors.at("object_score")[row][0].item<double>()), 1e-4);
        for (std::int64_t token = 0; token < masks.size(1); ++token) {
          const ObjectMask& mask = found[i].masks[static_cast<std::size_t>(token)];
          const auto ours = at::tensor(mask.low_resolution).view_as(masks[row][token]);
          expect_close(where + "low-resolution masks", ours, masks[row][token].clamp(-32, 32), worst);
          EXPECT_LE(std::abs(mask.quality - quality[row][token].item<double>()), 1e-4);
          expect_same_mask(mask.mask, one.tensors.at(kind + "_final")[row][token]);
        }
        if (!multimask) {
          const auto three = one.tensors.at("three_quality")[row];
          fallen_back += three.eq(quality[row][0]).any().item<bool>() ? 1 : 0;
        }
      }
      prompts += found.size();
    }
  });
  // Both ways to a single mask must have been gone.
  EXPECT(fallen_back > 0 && fallen_back < prompts / 2);
  std::printf("     %zu prompts, %zu single masks replaced for want of stability, largest difference %.2g\n", prompts,
              fallen_back, worst);
}
