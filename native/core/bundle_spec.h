#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace sam3 {

// What must be known of a bundle; the manifest was read and checked before.
struct BundleSpec {
  std::int64_t resolution = 0;
  std::int64_t feature_size = 0;
  std::int64_t mask_size = 0;
  std::string dtype = "fp32";
  std::array<double, 3> mean{};
  std::array<double, 3> std{};
  double mask_threshold = 0;
  // The object decoder's single mask is taken as it is where so large a share of the cells over -delta is over delta.
  double stability_delta = 0;
  double stability_threshold = 0;
  // A mask of 0 to 1 becomes this times it plus that before it is remembered.
  double memory_mask_scale = 0;
  double memory_mask_bias = 0;
  std::int64_t context_length = 0;
  std::int64_t pad_token = 0;
  // Name and absolute path of every part, in the order of loading.
  std::vector<std::pair<std::string, std::string>> parts;
};

// Told after every part: its name, how many are loaded, how many there are.
using PartCallback = std::function<void(const std::string& name, std::size_t done, std::size_t total)>;

}  // namespace sam3
