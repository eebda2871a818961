#include "core/tracker.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"
#include "core/features.h"
#include "core/mask_rows.h"
#include "core/memory_block.h"
#include "video.h"

using namespace sam3;
using namespace sam3::test;

namespace {

const at::Tensor& logits_of(const MasksRef& masks) { return masks->tensors().logits; }
const at::Tensor& pointers_of(const Tracked& tracked) { return tracked.pointers->tensors().rows; }

std::vector<MaskRow> all_rows(const MasksRef& masks) {
  std::vector<MaskRow> rows;
  for (std::int64_t i = 0; i < logits_of(masks).size(0); ++i) rows.push_back({masks, i, false});
  return rows;
}

// A rectangle of a frame as run lengths.
std::vector<std::uint32_t> rectangle(std::int64_t height, std::int64_t width, std::int64_t x1, std::int64_t y1,
                                     std::int64_t x2, std::int64_t y2) {
  at::Tensor mask = at::zeros({height, width}, at::kBool);
  mask.slice(0, y1, y2).slice(1, x1, x2).fill_(true);
  return encode_runs(mask);
}

// A clip's frames, and a few objects on its first one.
struct Scene {
  Video video{2};
  at::Tensor clip = read_video(2).at("clip");
  std::int64_t height = clip.size(1);
  std::int64_t width = clip.size(2);
  ImageRef first = frame(0);

  ImageRef frame(std::int64_t at) { return video.encode(clip[at].contiguous()); }

  std::vector<std::uint32_t> block(std::int64_t x1, std::int64_t y1, std::int64_t x2, std::int64_t y2) const {
    return rectangle(height, width, x1, y1, x2, y2);
  }
  Tracked seeds() { return video.seed({first, {block(5, 5, 40, 30), block(30, 20, 80, 55), block(0, 0, 84, 10)}}); }

  std::vector<TrackMemoryRef> remember(const ImageRef& image, const Tracked& tracked, bool binarize = true) {
    RememberRequest request{image, {}};
    request.binarize = binarize;
    request.through_square = true;
    for (std::size_t i = 0; i < tracked.object_scores.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      request.rows.push_back({{tracked.masks, row, false}, tracked.pointers, row, tracked.object_scores[i], -1});
    }
    return video.remember(request);
  }
};

TrackItem item_of(const std::vector<TrackMemoryRef>& memories) {
  TrackItem item;
  const auto n = static_cast<std::int32_t>(memories.size());
  for (std::int32_t i = 0; i < n; ++i) {
    item.memories.push_back(memories[static_cast<std::size_t>(i)]);
    item.rows.push_back(i == 0 ? 6 : n - 1 - i);
    item.pointers.push_back(memories[static_cast<std::size_t>(i)]);
    item.ages.push_back(static_cast<float>(n - i) / 15);
  }
  return item;
}

TrackItem click(float x, float y) {
  TrackItem item;
  item.points = {x, y};
  item.labels = {1};
  return item;
}

void expect_same(const Tracked& together, std::size_t row, const Tracked& alone) {
  const auto at = static_cast<std::int64_t>(row);
  // The same sums in another order.
  EXPECT_LE(difference(logits_of(together.masks)[at], logits_of(alone.masks)[0]), 1e-4);
  EXPECT_LE(difference(pointers_of(together)[at], pointers_of(alone)[0]), 1e-4);
  EXPECT_LE(std::fabs(together.object_scores[row] - alone.object_scores[0]), 1e-4);
  EXPECT_LE(std::fabs(together.quality[row] - alone.quality[0]), 1e-4);
}

}  // namespace

TEST("mask rows: of overlapping masks the better stays, by the order of scores and with a strict threshold") {
  // 0 and 1 overlap by 0.6, 1 and 2 by 0.6, 0 and 2 by exactly the threshold.
  const auto iou = at::tensor({1.0f, 0.6f, 0.5f, 0.6f, 1.0f, 0.6f, 0.5f, 0.6f, 1.0f}).view({3, 3});
  using Kept = std::vector<std::int64_t>;
  EXPECT(keep_best(iou, {0.9f, 0.8f, 0.7f}, 0.5) == Kept({0, 2}));
  EXPECT(keep_best(iou, {0.7f, 0.9f, 0.8f}, 0.5) == Kept({1}));
  EXPECT(keep_best(iou, {0.7f, 0.8f, 0.9f}, 0.4) == Kept({2}));
  EXPECT(keep_best(iou, {0.5f, 0.5f, 0.5f}, 0.5) == Kept({0, 2}));
  EXPECT(keep_best(iou, {0.7f, 0.8f, 0.9f}, 0.6) == Kept({0, 1, 2}));
}

TEST("mask rows: areas and overlaps are those of the cells, hidden masks are empty") {
  Scene scene;
  const auto seeds = scene.seeds();
  auto rows = all_rows(seeds.masks);
  rows.push_back({seeds.masks, 1, true});
  const auto comparison = scene.video.compare({rows, {rows[2], rows[0]}});
  const auto inside = logits_of(seeds.masks).gt(0).cpu();
  EXPECT(comparison.areas_a.size() == 4 && comparison.areas_b.size() == 2 && comparison.iou.size() == 8);
  EXPECT(comparison.areas_a[3] == 0);
  for (std::size_t a = 0; a < 3; ++a) {
    EXPECT(comparison.areas_a[a] == inside[static_cast<std::int64_t>(a)].sum().item<std::int64_t>());
    for (std::size_t b = 0; b < 2; ++b) {
      const auto first = inside[static_cast<std::int64_t>(a)];
      const auto second = inside[b == 0 ? 2 : 0];
      const auto both = first.logical_and(second).sum().item<float>();
      EXPECT(comparison.iou[a * 2 + b] == both / first.logical_or(second).sum().item<float>());
    }
  }
  EXPECT(comparison.iou[6] == 0 && comparison.iou[7] == 0);
  EXPECT(comparison.iou[1] == 1);
  EXPECT(scene.video.compare({rows, {}}).iou.empty());
  EXPECT(scene.video.compare({{}, rows}).areas_b.size() == 4);
}

TEST("mask rows: masks are read at the size of the video, with the box around them") {
  Scene scene;
  const auto seeds = scene.seeds();
  auto rows = all_rows(seeds.masks);
  rows.push_back({seeds.masks, 0, true});
  for (const auto& [width, height] : std::vector<std::pair<std::int64_t, std::int64_t>>{{84, 60}, {641, 359}, {1, 1}, {7, 200}}) {
    const auto read = scene.video.read(rows, width, height);
    EXPECT(read.size() == 4);
    EXPECT(read[3].mask.counts == std::vector<std::uint32_t>{static_cast<std::uint32_t>(width * height)});
    EXPECT(read[3].mask.area == 0 && read[3].box == (std::array<double, 4>{}));
    const auto expected =
        at::upsample_bilinear2d(logits_of(seeds.masks).cpu().unsqueeze(1), {height, width}, false).squeeze(1).gt(0);
    for (std::int64_t i = 0; i < 3; ++i) {
      const auto& one = read[static_cast<std::size_t>(i)];
      EXPECT(at::equal(decode_mask(one.mask, height, width), expected[i]));
      const auto columns = expected[i].any(0).nonzero().flatten();
      const auto lines = expected[i].any(1).nonzero().flatten();
      std::array<double, 4> box{};
      if (columns.numel() > 0) {
        box = {columns.min().item<double>(), lines.min().item<double>(), columns.max().item<double>() + 1,
               lines.max().item<double>() + 1};
      }
      EXPECT(one.box == box);
    }
  }
}

TEST("tracker: objects that remember different lengths, or are clicked, answer together as each alone") {
  Scene scene;
  const auto seeds = scene.seeds();
  std::vector<std::vector<TrackMemoryRef>> remembered;
  for (const auto& memory : scene.remember(scene.first, seeds)) remembered.push_back({memory});
  for (std::int64_t at = 1; at < 4; ++at) {
    const ImageRef image = scene.frame(at);
    TrackRequest request{image, {}, 0};
    for (const auto& memories : remembered) request.items.push_back(item_of(memories));
    const auto kept = scene.remember(image, scene.video.track(request), false);
    // One object more remembers this frame than the last.
    for (std::int64_t i = 0; i < at && i < 3; ++i) {
      remembered[static_cast<std::size_t>(i)].push_back(kept[static_cast<std::size_t>(i)]);
    }
  }
  EXPECT(remembered[0].size() == 4 && remembered[1].size() == 3 && remembered[2].size() == 2);
  const ImageRef image = scene.frame(4);
  TrackRequest request{image, {click(20, 20)}, 0};
  for (const auto& memories : remembered) request.items.push_back(item_of(memories));
  // A refined object, one told three points before those told one, one without pointers.
  request.items.push_back(request.items[1]);
  request.items.back().points = {10, 10, 50, 30};
  request.items.back().labels = {2, 3};
  request.items.push_back(request.items[2]);
  request.items.back().pointers.clear();
  request.items.back().ages.clear();
  const auto together = scene.video.track(request);
  EXPECT(together.object_scores.size() == 6 && logits_of(together.masks).size(0) == 6);
  for (std::size_t i = 0; i < request.items.size(); ++i) {
    expect_same(together, i, scene.video.track({image, {request.items[i]}, 0}));
  }
}

TEST("tracker: cleaned masks lose holes and specks, and are the masks themselves where nothing is to be cleaned") {
  Scene scene;
  const TrackRequest request{scene.first, {click(20, 30), click(60, 20)}, 0};
  const auto plain = scene.video.track(request);
  EXPECT(plain.cleaned == plain.masks);
  auto cleaning = request;
  cleaning.clean_area = 1000;
  const auto cleaned = scene.video.track(cleaning);
  EXPECT(at::equal(logits_of(cleaned.masks), logits_of(plain.masks)));
  EXPECT(at::equal(logits_of(cleaned.cleaned), clean_masks(logits_of(plain.masks), 1000, 1)));
  EXPECT(at::equal(logits_of(scene.video.clean(all_rows(plain.masks), 1000)), logits_of(cleaned.cleaned)));
  EXPECT(!at::equal(logits_of(cleaned.cleaned), logits_of(plain.masks)));
  EXPECT(logits_of(scene.video.clean({}, 3)).size(0) == 0);
}

TEST("tracker: a given mask is taken as it is; an empty one is an object that is not there") {
  Scene scene;
  const auto seeds = scene.video.seed({scene.first, {scene.block(10, 10, 40, 40), scene.block(7, 7, 7, 7)}});
  EXPECT(seeds.object_scores == std::vector<float>({10, -10}));
  EXPECT(seeds.quality == std::vector<float>({1, 1}));
  const auto m = logits_of(seeds.masks).size(1);
  const auto inside = logits_of(seeds.masks)[0].gt(0).to(at::kFloat).cpu();
  const auto expected = 30.0 * 30.0 / static_cast<double>(scene.width * scene.height) * static_cast<double>(m * m);
  EXPECT_LE(std::fabs(inside.sum().item<double>() - expected), 0.1 * expected);
  EXPECT(logits_of(seeds.masks)[1].eq(-10).all().item<bool>());
  // What is over 0.5 of an earlier mask, given again, comes to nearly that mask.
  const auto again = scene.video.seed({scene.first, {MaskRow{seeds.masks, 0, false}, MaskRow{seeds.masks, 0, true}}});
  EXPECT(again.object_scores == std::vector<float>({10, -10}));
  EXPECT(at::equal(pointers_of(again)[1], pointers_of(seeds)[1]));
  const auto overlap = scene.video.compare({{{seeds.masks, 0, false}}, {{again.masks, 0, false}}});
  EXPECT(overlap.iou[0] > 0.9f);
  EXPECT(logits_of(scene.video.seed({scene.first, {}}).masks).size(0) == 0);
}

TEST("tracker: of masks of one group that share their cells the weaker is remembered as empty, of others it is not") {
  Scene scene;
  const auto seeds = scene.video.seed({scene.first, {scene.block(10, 10, 40, 40), scene.block(12, 12, 36, 36), scene.block(30, 10, 80, 40)}});
  const auto remember = [&](std::int64_t group_of_second, bool hidden, double least_kept = 0.3) {
    RememberRequest request{scene.first, {}};
    request.least_kept = least_kept;
    for (std::int64_t row = 0; row < 3; ++row) {
      const bool second = row == 1;
      request.rows.push_back({{seeds.masks, row, second && hidden}, seeds.pointers, row, 5, second ? group_of_second : 0});
    }
    return scene.video.remember(request);
  };
  const auto map = [](const TrackMemoryRef& memory) { return memory->tensors().map; };
  const auto apart = remember(-1, false);
  const auto shared = remember(0, false);
  const auto hidden = remember(-1, true);
  // The second lies inside the first: equally strong there, and the first comes first.
  EXPECT(at::equal(map(shared[1]), map(hidden[1])));
  EXPECT(!at::equal(map(shared[1]), map(apart[1])));
  // The third keeps most of itself, but not nearly all.
  EXPECT(at::equal(map(shared[2]), map(apart[2])));
  EXPECT(!at::equal(map(remember(0, false, 0.95)[2]), map(apart[2])));
  EXPECT(at::equal(map(remember(1, false)[1]), map(apart[1])));
}

TEST("tracker: memories move to the host and back, are saved and restored without a bit changing, and are counted") {
  Scene scene;
  const auto before = scene.video.replica.stats().feature_bytes;
  {
    auto memories = scene.remember(scene.first, scene.seeds());
    const auto bytes = memories[0]->bytes();
    EXPECT(scene.video.replica.stats().feature_bytes == before + 3 * bytes);
    auto host = scene.video.move(memories, Tier::host);
    EXPECT(host[0]->tier() == Tier::host && host[0]->bytes() == bytes);
    EXPECT(scene.video.replica.stats().feature_bytes == before + 3 * bytes);
    const auto blocks = scene.video.save({memories[1], host[1]});
    EXPECT(blocks.size() == 2 && blocks[0] == blocks[1]);
    const auto restored = scene.video.restore({blocks[1]});
    const auto back = scene.video.move({host[1]}, Tier::device);
    for (const auto& memory : {host[1], restored[0], back[0]}) {
      EXPECT(at::equal(memory->tensors().map.cpu(), memories[1]->tensors().map.cpu()));
      EXPECT(at::equal(memory->tensors().pointer.cpu(), memories[1]->tensors().pointer.cpu()));
    }
    EXPECT(restored[0]->tier() == Tier::device);
    EXPECT_CODE(scene.video.track({scene.first, {item_of({host[0]})}, 0}), "INVALID_ARGUMENT");
    // Another replica of the same bundle takes the bytes, one of another bundle does not.
    Video same(2);
    EXPECT(at::equal(same.restore({blocks[0]})[0]->tensors().map.cpu(), memories[1]->tensors().map.cpu()));
    Video other(0);
    EXPECT_CODE(other.restore({blocks[0]}), "INVALID_ARGUMENT");
  }
  EXPECT(scene.video.replica.stats().feature_bytes == before);
}

TEST("tracker: bytes of memories that were changed anywhere, or cut, or made up are refused") {
  Scene scene;
  const auto block = scene.video.save({scene.remember(scene.first, scene.seeds())[0]})[0];
  EXPECT(scene.video.restore({block}).size() == 1);
  for (std::size_t at = 0; at < block.size(); at += at < 64 ? 1 : 997) {
    auto changed = block;
    changed[at] ^= 0x10;
    EXPECT_CODE(scene.video.restore({block, changed}), "INVALID_ARGUMENT");
  }
  for (const std::size_t length : {std::size_t{0}, std::size_t{39}, std::size_t{40}, block.size() - 1, block.size() + 1}) {
    auto cut = block;
    cut.resize(length);
    EXPECT_CODE(scene.video.restore({cut}), "INVALID_ARGUMENT");
  }
  EXPECT_CODE(scene.video.restore({MemoryBlock(block.size(), 0xff)}), "INVALID_ARGUMENT");
  EXPECT(scene.video.restore({}).empty());
}

TEST("tracker: detection finds what the concept decoder finds, in its order, prompt by prompt") {
  Video video(0);
  ConceptCase one(0, "prompts_of_different_length");
  const ImageRef image = video.encode(one.tensors.at("picture"));
  DetectRequest request{image, {}, 0.5, 0};
  for (const auto& ids : one.ids) request.prompts.push_back({video.encode_text(ids), {}, {}});
  const auto found = video.detect(request);
  const auto& prompt = one.tensors.at("final_prompt");
  EXPECT(static_cast<std::int64_t>(found.scores.size()) == prompt.numel() && prompt.numel() > 1);
  EXPECT(found.presence.size() == one.ids.size() && logits_of(found.masks).size(0) == prompt.numel());
  const auto width = static_cast<double>(one.pixels().width);
  const auto height = static_cast<double>(one.pixels().height);
  for (std::size_t i = 0; i < found.scores.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    EXPECT(found.prompts[i] == prompt[at].item<std::int32_t>());
    EXPECT_LE(std::fabs(found.scores[i] - one.tensors.at("final_scores")[at].item<float>()), 1e-4);
    const auto query = one.tensors.at("final_query")[at].item<std::int64_t>();
    EXPECT_LE(difference(logits_of(found.masks)[at], one.tensors.at("masks")[found.prompts[i]][query]), 1e-4);
    for (std::size_t c = 0; c < 4; ++c) {
      const double limit = c % 2 == 0 ? width : height;
      const double theirs = one.tensors.at("final_boxes")[at][static_cast<std::int64_t>(c)].item<double>();
      EXPECT_LE(std::fabs(found.boxes[4 * i + c] - std::clamp(theirs, 0.0, limit)), 1e-4 * limit);
    }
  }
  // No two masks of a prompt that are left overlap more than allowed, and what is left is the greedy choice.
  auto strict = request;
  strict.overlap_threshold = 0.1;
  const auto left = video.detect(strict);
  EXPECT(left.scores.size() < found.scores.size() && !left.scores.empty());
  const auto overlap = video.compare({all_rows(left.masks), all_rows(left.masks)}).iou;
  for (std::size_t a = 0; a < left.scores.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      EXPECT(left.prompts[a] != left.prompts[b] || overlap[a * left.scores.size() + b] <= 0.1f);
    }
  }
  EXPECT(video.detect({image, {}, 0.5, 0}).scores.empty());
}

TEST("tracker: what makes no sense, belongs elsewhere or was cancelled is refused") {
  Scene scene;
  Scene other;
  const auto seeds = scene.seeds();
  const auto memories = scene.remember(scene.first, seeds);
  const auto strange = other.remember(other.first, other.seeds());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto refused = [&](TrackItem item) {
    EXPECT_CODE(scene.video.track({scene.first, {item_of({memories[0]}), item}, 0}), "INVALID_ARGUMENT");
  };
  EXPECT_CODE(scene.video.track({other.first, {click(1, 1)}, 0}), "INVALID_ARGUMENT");
  EXPECT_CODE(scene.video.track({scene.first, {click(1, 1)}, -1}), "INVALID_ARGUMENT");
  refused(item_of({strange[0]}));
  refused(click(nan, 1));
  auto item = item_of({memories[0]});
  item.rows = {7};
  refused(item);
  item.rows = {-1};
  refused(item);
  item.rows = {};
  refused(item);
  item = item_of({memories[0]});
  item.ages = {nan};
  refused(item);
  item.ages = {};
  refused(item);
  item = item_of({memories[0]});
  item.memories.clear();
  item.rows.clear();
  refused(item);
  item = click(1, 1);
  item.labels = {4};
  refused(item);

  const MaskRow row{seeds.masks, 0, false};
  const MaskRow beyond{seeds.masks, 3, false};
  const MaskRow foreign{other.seeds().masks, 0, false};
  for (const MaskRow& bad : {beyond, MaskRow{seeds.masks, -1, false}, foreign}) {
    EXPECT_CODE(scene.video.compare({{row}, {bad}}), "INVALID_ARGUMENT");
    EXPECT_CODE(scene.video.clean({bad}, 3), "INVALID_ARGUMENT");
    EXPECT_CODE(scene.video.read({bad}, 8, 8), "INVALID_ARGUMENT");
    EXPECT_CODE(scene.video.seed({scene.first, {bad}}), "INVALID_ARGUMENT");
    const RememberRow remembered{bad, seeds.pointers, 0, 1, -1};
    EXPECT_CODE(scene.video.remember({scene.first, {remembered}, false, true, false}), "INVALID_ARGUMENT");
  }
  for (const RememberRow& bad : {RememberRow{row, seeds.pointers, 3, 1, -1}, RememberRow{row, other.seeds().pointers, 0, 1, -1},
                                 RememberRow{row, seeds.pointers, 0, std::nan(""), -1}}) {
    EXPECT_CODE(scene.video.remember({scene.first, {bad}, false, true, false}), "INVALID_ARGUMENT");
  }
  EXPECT_CODE(scene.video.read({row}, 0, 8), "INVALID_ARGUMENT");
  EXPECT_CODE(scene.video.read({row}, 1 << 20, 1 << 20), "INVALID_ARGUMENT");
  EXPECT_CODE(scene.video.clean({row}, -1), "INVALID_ARGUMENT");
  EXPECT_CODE(scene.video.seed({scene.first, {std::vector<std::uint32_t>{1, 2, 3}}}), "INVALID_ARGUMENT");
  EXPECT_CODE(scene.video.seed({scene.first, {std::vector<std::uint32_t>(70000, 4294967295u)}}), "INVALID_ARGUMENT");
  EXPECT_CODE(scene.video.move(strange, Tier::host), "INVALID_ARGUMENT");
  EXPECT_CODE(scene.video.save(strange), "INVALID_ARGUMENT");

  const CancelRef cancelled = token();
  cancelled->cancel();
  EXPECT_CODE(scene.video.track({scene.first, {click(1, 1)}, 0}, cancelled), "ABORTED");
  EXPECT_CODE(scene.video.seed({scene.first, {}}, cancelled), "ABORTED");
  EXPECT_CODE(scene.video.remember({scene.first, {}, false, true, false}, cancelled), "ABORTED");
  EXPECT_CODE(scene.video.save(memories, cancelled), "ABORTED");
  EXPECT_CODE(scene.video.compare({{row}, {row}}, cancelled), "ABORTED");
}
