#pragma once

#include <torch/script.h>

#include <map>
#include <string>
#include <vector>

#include "core/bundle_spec.h"

namespace sam3::test {

// The bundle of one seed, from its manifest.
BundleSpec read_spec(int seed);
// Seeds there are.
std::vector<int> seeds();
// Names of the cases of one seed: concept prompts, or object prompts.
std::vector<std::string> cases(int seed);
std::vector<std::string> object_cases(int seed);
// The tensors of one case.
std::map<std::string, at::Tensor> read_case(int seed, const std::string& name);
std::map<std::string, at::Tensor> read_object_case(int seed, const std::string& name);
// The clip of one seed.
std::map<std::string, at::Tensor> read_video(int seed);

}  // namespace sam3::test
