#include "core/image_model.h"

#include <ATen/Parallel.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <unordered_set>

namespace sam3 {
namespace {

namespace jit = torch::jit;

std::int64_t storage_bytes(std::initializer_list<const at::Tensor*> tensors) {
  std::unordered_set<const void*> seen;
  std::int64_t bytes = 0;
  for (const at::Tensor* tensor : tensors) {
    if (!tensor->defined() || !seen.insert(tensor->storage().unsafeGetStorageImpl()).second) continue;
    bytes += static_cast<std::int64_t>(tensor->storage().nbytes());
  }
  return bytes;
}

// Runs a part; what it throws is named, and says which part it was.
std::vector<c10::IValue> run_part(Bundle& bundle, const char* name, std::vector<c10::IValue> inputs,
                                  std::size_t outputs) {
  jit::Module& module = bundle.part(name);
  c10::IValue answer;
  try {
    answer = module.forward(std::move(inputs));
  } catch (...) {
    throw name_failure(std::current_exception(), "MODEL_FAILED", std::string("The model's ") + name + " failed");
  }
  std::vector<c10::IValue> values;
  if (answer.isTuple()) {
    values = answer.toTupleRef().elements().vec();
  } else {
    values.push_back(std::move(answer));
  }
  const bool tensors = std::all_of(values.begin(), values.end(), [](const auto& value) { return value.isTensor(); });
  if (!tensors || values.size() != outputs) {
    throw Error("BUNDLE_INVALID", std::string("The part ") + name + " does not answer with " + std::to_string(outputs) +
                                      " tensors. Export the bundle again.");
  }
  return values;
}

void expect_shape(const char* part, const char* what, const at::Tensor& tensor, at::IntArrayRef shape) {
  bool same = tensor.dim() == static_cast<std::int64_t>(shape.size());
  for (std::size_t i = 0; same && i < shape.size(); ++i) {
    same = shape[i] < 0 || tensor.size(static_cast<std::int64_t>(i)) == shape[i];
  }
  if (same) return;
  throw Error("BUNDLE_INVALID", std::string("The part ") + part + " gives " + what + " another shape than the manifest "
                                                                                     "says. Export the bundle again.");
}

// An accelerator works behind the caller's back: waiting here makes times true, and a fault of the device an error of
// the call that caused it instead of the next one's. The untested half of this file: no accelerator was at hand.
void finish_work_on(c10::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.getStream(device).synchronize();
}

at::Tensor to_cpu_floats(const at::Tensor& tensor) { return tensor.to(at::kCPU, at::kFloat).contiguous(); }

}  // namespace

c10::ScalarType scalar_type(const std::string& dtype) {
  if (dtype == "fp32") return at::kFloat;
  if (dtype == "bf16") return at::kBFloat16;
  if (dtype == "fp16") return at::kHalf;
  throw Error("BUNDLE_INVALID", "The bundle's dtype \"" + dtype + "\" is not fp32, bf16 or fp16.");
}

std::int64_t ImageTensors::bytes() const {
  return storage_bytes({&fine, &middle, &coarse, &tracker_fine, &tracker_middle, &tracker_coarse});
}

std::int64_t TextTensors::bytes() const { return storage_bytes({&tokens}); }

ImageTensors ImageModel::encode(const PixelView& pixels, const CancelToken& cancel) {
  const BundleSpec& spec = bundle_.spec();
  cancel.throw_if_cancelled();
  at::Tensor input =
      preprocess(pixels, spec.resolution, spec.mean, spec.std).to(device_, scalar_type(spec.dtype));
  cancel.throw_if_cancelled();
  const auto out = run_part(bundle_, "image_encoder", {std::move(input)}, 6);
  finish_work_on(device_);
  cancel.throw_if_cancelled();
  // A feature map that is a view of something larger would keep all of it alive.
  const auto own = [](const c10::IValue& value) {
    const at::Tensor tensor = value.toTensor();
    const auto used = static_cast<std::size_t>(tensor.numel()) * tensor.element_size();
    return tensor.storage().nbytes() == used ? tensor : tensor.clone(at::MemoryFormat::Contiguous);
  };
  ImageTensors image{own(out[0]), own(out[1]), own(out[2]), own(out[3]),
                     own(out[4]), own(out[5]), pixels.width, pixels.height};
  const std::int64_t g = spec.feature_size;
  expect_shape("image_encoder", "the fine features", image.fine, {1, -1, 4 * g, 4 * g});
  expect_shape("image_encoder", "the middle features", image.middle, {1, -1, 2 * g, 2 * g});
  expect_shape("image_encoder", "the coarse features", image.coarse, {1, -1, g, g});
  return image;
}

std::vector<TextTensors> ImageModel::encode_texts(const std::vector<std::vector<std::int32_t>>& ids,
                                                  const CancelToken& cancel) {
  cancel.throw_if_cancelled();
  if (ids.empty()) return {};
  const BundleSpec& spec = bundle_.spec();
  std::size_t longest = 1;
  for (const auto& text : ids) longest = std::max(longest, text.size());
  // Attention is causal and the padding masked, so padding to the longest of the batch gives what padding to the
  // context length gives, for less work.
  const auto count = static_cast<std::int64_t>(ids.size());
  const auto length = static_cast<std::int64_t>(longest);
  at::Tensor tokens = at::full({count, length}, spec.pad_token, at::kLong);
  at::Tensor mask = at::zeros({count, length}, at::kBool);
  for (std::int64_t n = 0; n < count; ++n) {
    const auto& text = ids[static_cast<std::size_t>(n)];
    std::copy(text.begin(), text.end(), tokens.mutable_data_ptr<std::int64_t>() + n * length);
    std::fill_n(mask.mutable_data_ptr<bool>() + n * length, text.size(), true);
  }
  const auto out = run_part(bundle_, "text_encoder", {tokens.to(device_), mask.to(device_)}, 1);
  finish_work_on(device_);
  cancel.throw_if_cancelled();
  const at::Tensor encoded = out[0].toTensor();
  expect_shape("text_encoder", "the text", encoded, {count, length, -1});
  std::vector<TextTensors> texts;
  for (std::int64_t n = 0; n < count; ++n) {
    const auto used = static_cast<std::int64_t>(ids[static_cast<std::size_t>(n)].size());
    texts.push_back({encoded[n].narrow(0, 0, used).clone(at::MemoryFormat::Contiguous)});
  }
  return texts;
}

ConceptTensors ImageModel::decode(const ImageTensors& image, const ConceptQuery* queries, std::size_t count) {
  const auto n = static_cast<std::int64_t>(count);
  std::int64_t length = 1;
  std::int64_t boxes = 0;
  for (std::size_t i = 0; i < count; ++i) {
    length = std::max(length, queries[i].text->tokens.size(0));
    boxes = std::max(boxes, static_cast<std::int64_t>(queries[i].labels.size()));
  }
  const at::Tensor& any = queries[0].text->tokens;
  at::Tensor text = at::zeros({n, length, any.size(1)}, any.options());
  at::Tensor text_mask = at::zeros({n, length}, at::kBool);
  // Padding is a harmless small box; its mask says that it is none.
  at::Tensor box = at::full({n, boxes, 4}, 0.5, at::kFloat);
  at::Tensor box_labels = at::zeros({n, boxes}, at::kLong);
  at::Tensor box_mask = at::zeros({n, boxes}, at::kBool);
  for (std::int64_t i = 0; i < n; ++i) {
    const ConceptQuery& query = queries[i];
    const std::int64_t used = query.text->tokens.size(0);
    text[i].narrow(0, 0, used).copy_(query.text->tokens);
    std::fill_n(text_mask.mutable_data_ptr<bool>() + i * length, used, true);
    std::copy(query.boxes.begin(), query.boxes.end(), box.mutable_data_ptr<float>() + i * boxes * 4);
    std::copy(query.labels.begin(), query.labels.end(), box_labels.mutable_data_ptr<std::int64_t>() + i * boxes);
    std::fill_n(box_mask.mutable_data_ptr<bool>() + i * boxes, query.labels.size(), true);
  }
  // One picture's features serve all prompts: expanded, not copied.
  const auto spread = [n](const at::Tensor& map) { return map.expand({n, -1, -1, -1}); };
  const auto out = run_part(bundle_, "concept_decoder",
                            {spread(image.fine), spread(image.middle), spread(image.coarse), text,
                             text_mask.to(device_), box.to(device_), box_labels.to(device_), box_mask.to(device_)},
                            5);
  ConceptTensors answer{out[0].toTensor(), out[1].toTensor(), out[2].toTensor(), out[3].toTensor()};
  const std::int64_t m = bundle_.spec().mask_size;
  expect_shape("concept_decoder", "the scores", answer.logits, {n, -1});
  const std::int64_t slots = answer.logits.size(1);
  expect_shape("concept_decoder", "the boxes", answer.boxes, {n, slots, 4});
  expect_shape("concept_decoder", "the presence", answer.presence, {n, 1});
  expect_shape("concept_decoder", "the masks", answer.masks, {n, slots, m, m});
  return answer;
}

std::size_t ImageModel::queries_at_once(const ImageTensors& image) const {
  // What one prompt needs at its peak is about eight copies of the finest feature map (pixel decoder and mask
  // embedding) and the masks of all queries twice.
  const auto fine = static_cast<std::int64_t>(image.fine.numel() * image.fine.element_size());
  const std::int64_t m = bundle_.spec().mask_size;
  constexpr std::int64_t usual_queries = 200;
  const std::int64_t one = 8 * fine + 2 * usual_queries * m * m * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t budget = std::int64_t{device_.is_cpu() ? 1 : 4} << 30;
  return static_cast<std::size_t>(std::clamp<std::int64_t>(budget / one, 1, 16));
}

std::vector<ConceptFinding> ImageModel::segment(const ImageTensors& image, const std::vector<ConceptQuery>& queries,
                                                const CancelToken& cancel) {
  std::vector<ConceptFinding> findings;
  const std::size_t step = queries_at_once(image);
  for (std::size_t begin = 0; begin < queries.size(); begin += step) {
    cancel.throw_if_cancelled();
    const std::size_t count = std::min(step, queries.size() - begin);
    ConceptTensors answer = decode(image, queries.data() + begin, count);
    cancel.throw_if_cancelled();
    answer.logits = to_cpu_floats(answer.logits);
    answer.presence = to_cpu_floats(answer.presence);
    answer.boxes = to_cpu_floats(answer.boxes);
    for (std::size_t i = 0; i < count; ++i) {
      findings.push_back(
          read(answer, static_cast<std::int64_t>(i), queries[begin + i].threshold, image, cancel));
    }
  }
  return findings;
}

ConceptFinding ImageModel::read(const ConceptTensors& answer, std::int64_t index, double threshold,
                                const ImageTensors& image, const CancelToken& cancel) const {
  const at::Tensor presence = answer.presence[index].sigmoid();
  const at::Tensor scores = (answer.logits[index].sigmoid() * presence).contiguous();
  const float* const score = scores.const_data_ptr<float>();
  std::vector<std::int64_t> kept;
  for (std::int64_t q = 0; q < scores.numel(); ++q) {
    if (!std::isfinite(score[q])) {
      throw Error("MODEL_FAILED", "The model's concept_decoder answered with scores that are not numbers.");
    }
    if (static_cast<double>(score[q]) > threshold) kept.push_back(q);
  }
  std::stable_sort(kept.begin(), kept.end(), [&](std::int64_t a, std::int64_t b) { return score[a] > score[b]; });

  ConceptFinding finding{presence.item<float>(), {}};
  if (kept.empty()) return finding;
  cancel.throw_if_cancelled();

  // Only the masks that are kept leave the device, and only at the size the model made them.
  const at::Tensor chosen = at::tensor(kept, at::kLong).to(answer.masks.device());
  const at::Tensor logits = to_cpu_floats(answer.masks[index].index_select(0, chosen));
  cancel.throw_if_cancelled();
  auto masks = encode_masks({logits.const_data_ptr<float>(), logits.size(0), logits.size(1), logits.size(2)},
                            image.height, image.width, static_cast<float>(bundle_.spec().mask_threshold),
                            at::get_num_threads());

  const at::Tensor boxes = answer.boxes[index].contiguous();
  const float* const box = boxes.const_data_ptr<float>();
  const auto width = static_cast<double>(image.width);
  const auto height = static_cast<double>(image.height);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const float* corner = box + kept[i] * 4;
    finding.objects.push_back({score[kept[i]],
                               {std::clamp(corner[0] * width, 0.0, width), std::clamp(corner[1] * height, 0.0, height),
                                std::clamp(corner[2] * width, 0.0, width), std::clamp(corner[3] * height, 0.0, height)},
                               std::move(masks[i])});
  }
  return finding;
}

}  // namespace sam3
