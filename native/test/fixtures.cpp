#include "fixtures.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include "check.h"

namespace sam3::test {
namespace {

namespace fs = std::filesystem;

fs::path seed_folder(int seed) { return fs::path(fixtures()) / std::to_string(seed); }

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".pt") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  if (names.empty()) throw std::runtime_error("no cases in " + folder.string());
  return names;
}

std::map<std::string, at::Tensor> read_tensors(const fs::path& file) {
  const auto module = torch::jit::load(file.string());
  std::map<std::string, at::Tensor> tensors;
  for (const auto& buffer : module.named_buffers()) tensors[buffer.name] = buffer.value;
  return tensors;
}

// The manifest is written by our own export: plain keys, no escapes.
class Manifest {
 public:
  explicit Manifest(const fs::path& file) {
    std::ifstream in(file);
    if (!in) throw std::runtime_error("no " + file.string());
    std::stringstream text;
    text << in.rdbuf();
    text_ = text.str();
  }

  std::string find(const std::string& pattern) const {
    std::smatch match;
    if (!std::regex_search(text_, match, std::regex(pattern))) throw std::runtime_error("manifest lacks " + pattern);
    return match[1];
  }
  std::int64_t integer(const std::string& key) const { return std::stoll(find("\"" + key + "\"\\s*:\\s*(-?\\d+)")); }
  std::array<double, 3> triple(const std::string& key) const {
    std::stringstream list(find("\"" + key + "\"\\s*:\\s*\\[([^\\]]*)\\]"));
    std::array<double, 3> values{};
    char comma = 0;
    list >> values[0] >> comma >> values[1] >> comma >> values[2];
    return values;
  }

 private:
  std::string text_;
};

}  // namespace

BundleSpec read_spec(int seed) {
  const auto folder = seed_folder(seed) / "bundle";
  const Manifest manifest(folder / "manifest.json");
  BundleSpec spec;
  spec.resolution = manifest.integer("resolution");
  spec.feature_size = manifest.integer("featureSize");
  spec.mask_size = manifest.integer("maskSize");
  spec.dtype = manifest.find("\"dtype\"\\s*:\\s*\"(\\w+)\"");
  spec.mean = manifest.triple("mean");
  spec.std = manifest.triple("std");
  spec.mask_threshold = std::stod(manifest.find("\"mask\"\\s*:\\s*(-?[\\d.]+)"));
  spec.stability_delta = std::stod(manifest.find("\"multimaskStabilityDelta\"\\s*:\\s*([\\d.]+)"));
  spec.stability_threshold = std::stod(manifest.find("\"multimaskStabilityThreshold\"\\s*:\\s*([\\d.]+)"));
  spec.memory_mask_scale = std::stod(manifest.find("\"memoryMaskScale\"\\s*:\\s*(-?[\\d.]+)"));
  spec.memory_mask_bias = std::stod(manifest.find("\"memoryMaskBias\"\\s*:\\s*(-?[\\d.]+)"));
  spec.context_length = manifest.integer("contextLength");
  spec.pad_token = manifest.integer("padToken");
  for (const char* part : {"image_encoder", "text_encoder", "concept_decoder", "object_decoder", "memory_encoder",
                           "memory_attention", "tracker_constants"}) {
    spec.parts.emplace_back(part, (folder / (std::string(part) + ".pt")).string());
  }
  return spec;
}

std::vector<int> seeds() {
  std::vector<int> found;
  for (int seed = 0; fs::exists(seed_folder(seed) / "bundle" / "manifest.json"); ++seed) found.push_back(seed);
  if (found.empty()) throw std::runtime_error("no bundles in " + fixtures());
  return found;
}

std::vector<std::string> cases(int seed) { return names_in(seed_folder(seed)); }

std::vector<std::string> object_cases(int seed) { return names_in(seed_folder(seed) / "objects"); }

std::map<std::string, at::Tensor> read_case(int seed, const std::string& name) {
  return read_tensors(seed_folder(seed) / (name + ".pt"));
}

std::map<std::string, at::Tensor> read_object_case(int seed, const std::string& name) {
  return read_tensors(seed_folder(seed) / "objects" / (name + ".pt"));
}

std::map<std::string, at::Tensor> read_video(int seed) { return read_tensors(seed_folder(seed) / "videos" / "tracking.pt"); }

}  // namespace sam3::test
