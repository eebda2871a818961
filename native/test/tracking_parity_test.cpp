// Our calls, driven by transformers' rules of what a track attends to, beside its Sam3TrackerVideoModel: the same random
// weights, the same clip, call by call (scripts/export/tiny_models/videos.py).

#include <torch/script.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <set>

#include "check.h"
#include "core/features.h"
#include "video.h"

using namespace sam3;
using namespace sam3::test;

namespace {

constexpr int memories = 7;
constexpr int conditioning_frames = 4;
constexpr int object_pointers = 16;

// What transformers' session holds of one object.
struct Track {
  std::int64_t id = 0;
  std::map<int, TrackMemoryRef> conditioning;
  std::map<int, TrackMemoryRef> others;
  std::set<int> tracked;
  // The answer to a frame with prompts, given again when the frame comes again.
  std::map<int, std::pair<at::Tensor, float>> answers;
};

struct Told {
  std::vector<float> points;
  std::vector<std::int32_t> labels;
  std::vector<std::uint32_t> counts;
};

// _select_closest_cond_frames.
std::vector<int> closest(const Track& track, int frame) {
  std::vector<int> all;
  for (const auto& [at, memory] : track.conditioning) all.push_back(at);
  if (all.size() <= conditioning_frames) return all;
  std::vector<int> chosen;
  const auto after = std::lower_bound(all.begin(), all.end(), frame);
  if (after != all.begin()) chosen.push_back(*std::prev(after));
  if (after != all.end()) chosen.push_back(*after);
  std::stable_sort(all.begin(), all.end(), [&](int a, int b) { return std::abs(a - frame) < std::abs(b - frame); });
  for (const int at : all) {
    if (chosen.size() < conditioning_frames && std::count(chosen.begin(), chosen.end(), at) == 0) chosen.push_back(at);
  }
  return chosen;
}

// _gather_memory_frame_outputs and _get_object_pointers.
TrackItem attend_to(const Track& track, int frame, bool reverse, int frames) {
  const int back = reverse ? 1 : -1;
  TrackItem item;
  const auto chosen = closest(track, frame);
  for (const int at : chosen) {
    item.memories.push_back(track.conditioning.at(at));
    item.rows.push_back(memories - 1);
  }
  for (int offset = memories - 1; offset > 0; --offset) {
    const int at = frame + back * offset;
    const bool unselected = track.conditioning.count(at) > 0 && std::count(chosen.begin(), chosen.end(), at) == 0;
    const auto found = track.others.find(at);
    if (found == track.others.end() && !unselected) continue;
    item.memories.push_back(found != track.others.end() ? found->second : track.conditioning.at(at));
    item.rows.push_back(offset - 1);
  }
  const int most = std::min(frames, object_pointers);
  const auto point = [&](const TrackMemoryRef& memory, int age) {
    item.pointers.push_back(memory);
    item.ages.push_back(static_cast<float>(age) / static_cast<float>(most - 1));
  };
  for (const auto& [at, memory] : track.conditioning) {
    if (reverse ? at >= frame : at <= frame) point(memory, (at - frame) * back);
  }
  for (int age = 1; age < most; ++age) {
    const int at = frame + back * age;
    if (at < 0 || at >= frames) break;
    const auto found = track.others.find(at);
    if (found != track.others.end()) point(found->second, age);
  }
  return item;
}

// One clip through a replica.
class Clip {
 public:
  explicit Clip(int seed) : video_(seed), tensors_(read_video(seed)) {
    for (std::int64_t t = 0; t < tensors_.at("clip").size(0); ++t) frames_.push_back(video_.encode(tensors_.at("clip")[t].contiguous()));
  }

  int calls() const { return static_cast<int>(tensors_.at("frames").numel()); }

  // Runs call `number` and answers with the largest difference of masks and scores.
  double run(int number) {
    const int frame = tensors_.at("frames")[number].item<int>();
    const bool backward = tensors_.at("reverse")[number].item<bool>();
    const auto told = read_told(number);
    const ImageRef& image = frames_[static_cast<std::size_t>(frame)];
    std::vector<at::Tensor> masks(tracks_.size());
    std::vector<float> scores(tracks_.size());
    TrackRequest asked{image, {}, 0};
    SeedRequest given{image, {}};
    std::vector<std::size_t> asked_of;
    std::vector<std::size_t> given_to;
    std::set<std::size_t> beginning;
    for (std::size_t i = 0; i < tracks_.size(); ++i) {
      const Track& track = tracks_[i];
      const auto prompt = told.find(track.id);
      if (prompt == told.end() && track.conditioning.count(frame) > 0) {
        std::tie(masks[i], scores[i]) = track.answers.at(frame);
        continue;
      }
      const bool begins = prompt != told.end() && track.tracked.count(frame) == 0;
      if (begins) beginning.insert(i);
      if (prompt != told.end() && !prompt->second.counts.empty()) {
        given.items.emplace_back(prompt->second.counts);
        given_to.push_back(i);
        continue;
      }
      TrackItem item;
      if (!begins) item = attend_to(track, frame, backward, static_cast<int>(frames_.size()));
      if (prompt != told.end()) {
        item.points = prompt->second.points;
        item.labels = prompt->second.labels;
      }
      lengths_.insert(item.memories.size());
      asked.items.push_back(item);
      asked_of.push_back(i);
    }
    RememberRequest remember{image, {}};
    remember.binarize = !told.empty();
    remember.through_square = true;
    std::vector<std::size_t> order;
    const auto take = [&](const Tracked& tracked, const std::vector<std::size_t>& whose) {
      for (std::size_t row = 0; row < whose.size(); ++row) {
        const auto at = static_cast<std::int64_t>(row);
        masks[whose[row]] = tracked.masks->tensors().logits[at];
        scores[whose[row]] = tracked.object_scores[row];
        remember.rows.push_back({{tracked.masks, at, false}, tracked.pointers, at, tracked.object_scores[row], -1});
        order.push_back(whose[row]);
      }
    };
    if (!asked_of.empty()) take(video_.track(asked), asked_of);
    if (!given_to.empty()) take(video_.seed(given), given_to);
    const auto remembered = video_.remember(remember);
    for (std::size_t k = 0; k < order.size(); ++k) {
      Track& track = tracks_[order[k]];
      if (beginning.count(order[k]) > 0) {
        track.conditioning[frame] = remembered[k];
        track.answers[frame] = {masks[order[k]], scores[order[k]]};
      } else {
        track.others[frame] = remembered[k];
        track.tracked.insert(frame);
      }
    }
    const at::Tensor theirs = tensors_.at("scores_" + std::to_string(number));
    EXPECT(theirs.numel() == static_cast<std::int64_t>(scores.size()));
    for (const float score : scores) ++(score > 0 ? there_ : absent_);
    return std::max(difference(at::stack(masks), tensors_.at("masks_" + std::to_string(number))),
                    difference(at::tensor(scores), theirs));
  }

  // Answers with and without their object, and the different numbers of frames that were attended to.
  int there() const { return there_; }
  int absent() const { return absent_; }
  std::size_t lengths() const { return lengths_.size(); }

 private:
  // What objects are told on a call; new ones get a track.
  std::map<std::int64_t, Told> read_told(int number) {
    std::map<std::int64_t, Told> told;
    for (int row = 0; row < tensors_.at("prompts")[number].item<int>(); ++row) {
      const std::string name = std::to_string(number) + "_" + std::to_string(row);
      const auto id = tensors_.at("object_" + name).item<std::int64_t>();
      if (std::none_of(tracks_.begin(), tracks_.end(), [id](const Track& track) { return track.id == id; })) {
        tracks_.emplace_back();
        tracks_.back().id = id;
      }
      Told& one = told[id];
      if (tensors_.count("mask_" + name) > 0) {
        one.counts = encode_runs(tensors_.at("mask_" + name));
        continue;
      }
      const at::Tensor points = tensors_.at("points_" + name).to(at::kFloat).contiguous();
      const at::Tensor labels = tensors_.at("labels_" + name).to(at::kInt).contiguous();
      one.points.assign(points.const_data_ptr<float>(), points.const_data_ptr<float>() + points.numel());
      one.labels.assign(labels.const_data_ptr<std::int32_t>(), labels.const_data_ptr<std::int32_t>() + labels.numel());
    }
    return told;
  }

  Video video_;
  std::map<std::string, at::Tensor> tensors_;
  std::vector<ImageRef> frames_;
  std::vector<Track> tracks_;
  int there_ = 0;
  int absent_ = 0;
  std::set<std::size_t> lengths_;
};

}  // namespace

TEST("tracking parity: objects by points, boxes and masks, forward, refined and backward, are within 1e-3 of transformers") {
  double worst = 0;
  int there = 0;
  int absent = 0;
  for (const int seed : seeds()) {
    Clip clip(seed);
    for (int number = 0; number < clip.calls(); ++number) {
      const double now = clip.run(number);
      if (!(now <= 1e-3)) {
        fail(__FILE__, __LINE__, "seed " + std::to_string(seed) + " call " + std::to_string(number) + " differs by " + std::to_string(now));
      }
      worst = std::max(worst, now);
    }
    EXPECT(clip.lengths() >= memories);
    there += clip.there();
    absent += clip.absent();
  }
  EXPECT(there > 100 && absent > 100);
  std::printf("     %d masks with their object, %d without, largest difference %.2g\n", there, absent, worst);
}
