#include "model.h"

#include <cstdlib>
#include <limits>
#include <stdexcept>

#include "core/devices.h"
#include "fixtures.h"

namespace sam3::test {
namespace {

template <class T>
std::vector<T> copy(const at::Tensor& tensor, at::ScalarType type) {
  const at::Tensor flat = tensor.to(type).contiguous();
  return {flat.const_data_ptr<T>(), flat.const_data_ptr<T>() + flat.numel()};
}

}  // namespace

c10::Device test_device() {
  const char* const named = std::getenv("SAM3_TEST_DEVICE");
  const std::string name = named ? named : "cpu";
  return parse_device(name == "cuda" ? "cuda:0" : name);
}

Model::Model(const BundleSpec& spec)
    : bundle(Bundle::load(spec, test_device(), CancelToken(), [](const auto&...) {})) {}

BundleSpec Model::read(int seed) { return read_spec(seed); }

std::vector<ImageTensors> Model::encode(const std::vector<PixelView>& pictures, std::size_t at_once) {
  Answers<ImageTensors> answers(tokens(pictures.size()));
  image.encode(pictures, at_once, answers);
  return values(answers);
}

std::vector<TextTensors> Model::encode_texts(const std::vector<std::vector<std::int32_t>>& ids, std::size_t at_once) {
  Answers<TextTensors> answers(tokens(ids.size()));
  image.encode_texts(ids, at_once, answers);
  return values(answers);
}

std::vector<ConceptFinding> Model::find(const std::vector<ConceptQuery>& queries, std::size_t at_once) {
  Answers<ConceptFinding> answers(tokens(queries.size()));
  image.segment_concepts(queries, at_once, answers);
  return values(answers);
}

std::vector<ObjectFinding> Model::find(const std::vector<ObjectQuery>& queries, std::size_t at_once) {
  Answers<ObjectFinding> answers(tokens(queries.size()));
  image.segment_objects(queries, at_once, answers);
  return values(answers);
}

PixelView view_of(const at::Tensor& picture) {
  return {picture.const_data_ptr<std::uint8_t>(), picture.size(1), picture.size(0)};
}

ConceptCase::ConceptCase(int seed, const std::string& name) : tensors(read_case(seed, name)) {
  const auto& mask = tensors.at("mask");
  for (std::int64_t n = 0; n < mask.size(0); ++n) {
    ids.push_back(copy<std::int32_t>(tensors.at("ids")[n].index({mask[n]}), at::kInt));
    const auto keep = tensors.at("box_mask")[n];
    ConceptQuery query;
    query.boxes = copy<float>(tensors.at("boxes")[n].index({keep}), at::kFloat);
    query.labels = copy<std::uint8_t>(tensors.at("box_labels")[n].index({keep}), at::kByte);
    query.semantic = true;
    queries.push_back(query);
  }
}

ObjectCase::ObjectCase(int seed, const std::string& name) : tensors(read_object_case(seed, name)) {
  const auto& points = tensors.at("points");
  for (std::int64_t n = 0; n < points.size(0); ++n) {
    ObjectQuery query;
    query.points = copy<float>(points[n], at::kFloat);
    query.labels = copy<std::int32_t>(tensors.at("labels")[n], at::kInt);
    if (tensors.at("previous").size(0) > 0) query.mask = copy<float>(tensors.at("previous")[n], at::kFloat);
    queries.push_back(query);
  }
}

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

std::vector<std::uint32_t> encode_runs(const at::Tensor& mask) {
  const at::Tensor columns = mask.to(at::kBool).t().contiguous();
  const bool* const cell = columns.const_data_ptr<bool>();
  std::vector<std::uint32_t> counts{0};
  bool inside = false;
  for (std::int64_t i = 0; i < columns.numel(); ++i) {
    if (cell[i] != inside) {
      counts.push_back(0);
      inside = !inside;
    }
    ++counts.back();
  }
  return counts;
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return std::numeric_limits<double>::infinity();
  if (a.numel() == 0) return 0;
  return (a.to(at::kCPU, at::kFloat) - b.to(at::kCPU, at::kFloat)).abs().max().item<double>();
}

std::vector<CancelRef> tokens(std::size_t count) {
  std::vector<CancelRef> made;
  for (std::size_t i = 0; i < count; ++i) made.push_back(std::make_shared<CancelToken>());
  return made;
}

}  // namespace sam3::test
