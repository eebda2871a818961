#pragma once

// A tiny model and its cases as the tests of the model like to have them.

#include <torch/script.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/bundle.h"
#include "core/image_model.h"

namespace sam3::test {

// Where the model is tested: SAM3_TEST_DEVICE (`cpu`, `cuda`, `cuda:1`, …), else the processor.
c10::Device test_device();

// A bundle on the test's device. Not thread-safe.
struct Model {
  Bundle bundle;
  ImageModel image{bundle, test_device()};

  explicit Model(int seed) : Model(read(seed)) {}
  explicit Model(const BundleSpec& spec);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // One forward of at most `at_once` items after the other; an item that fails throws.
  std::vector<ImageTensors> encode(const std::vector<PixelView>& pictures, std::size_t at_once = 8);
  std::vector<TextTensors> encode_texts(const std::vector<std::vector<std::int32_t>>& ids, std::size_t at_once = 8);
  std::vector<ConceptFinding> find(const std::vector<ConceptQuery>& queries, std::size_t at_once = 8);
  std::vector<ObjectFinding> find(const std::vector<ObjectQuery>& queries, std::size_t at_once = 8);

 private:
  static BundleSpec read(int seed);
};

PixelView view_of(const at::Tensor& picture);

// One picture, N concept prompts and what transformers answers for them.
struct ConceptCase {
  std::map<std::string, at::Tensor> tensors;
  std::vector<std::vector<std::int32_t>> ids;
  std::vector<ConceptQuery> queries;  // without picture and text

  ConceptCase(int seed, const std::string& name);
  PixelView pixels() const { return view_of(tensors.at("picture")); }
};

// One picture, N object prompts and what transformers answers for them.
struct ObjectCase {
  std::map<std::string, at::Tensor> tensors;
  std::vector<ObjectQuery> queries;  // without picture, for a single mask

  ObjectCase(int seed, const std::string& name);
  PixelView pixels() const { return view_of(tensors.at("picture")); }
};

// The mask [height, width] that run lengths stand for.
at::Tensor decode_mask(const RunLengths& mask, std::int64_t height, std::int64_t width);

// The run lengths of a mask [height, width].
std::vector<std::uint32_t> encode_runs(const at::Tensor& mask);

// Largest absolute difference; infinite where the shapes differ.
double difference(const at::Tensor& a, const at::Tensor& b);

std::vector<CancelRef> tokens(std::size_t count);

// The values of answers that all succeeded; throws the first failure.
template <class T>
std::vector<T> values(Answers<T>& answers) {
  std::vector<T> values;
  for (auto& outcome : answers.take()) {
    if (const Error* error = std::get_if<Error>(&outcome)) throw *error;
    values.push_back(std::move(std::get<T>(outcome)));
  }
  return values;
}

}  // namespace sam3::test
