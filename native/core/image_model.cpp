#include "core/image_model.h"

#include <algorithm>

#include "core/memory.h"
#include "core/part.h"

namespace sam3 {
namespace {

// Row `index` of what a batch came to, in storage of its own: a view would keep the whole batch alive.
at::Tensor own_row(const at::Tensor& batch, std::int64_t index) {
  const at::Tensor row = batch.narrow(0, index, 1);
  const auto used = static_cast<std::size_t>(row.numel()) * row.element_size();
  return row.is_contiguous() && row.storage().nbytes() == used ? row : row.clone(at::MemoryFormat::Contiguous);
}

}  // namespace

c10::ScalarType scalar_type(const std::string& dtype) {
  if (dtype == "fp32") return at::kFloat;
  if (dtype == "bf16") return at::kBFloat16;
  if (dtype == "fp16") return at::kHalf;
  throw Error("BUNDLE_INVALID", "The bundle's dtype \"" + dtype + "\" is not fp32, bf16 or fp16.");
}

void ImageModel::encode(const std::vector<PixelView>& pictures, std::size_t at_once, Answers<ImageTensors>& answers) {
  const BundleSpec& spec = bundle_.spec();
  const c10::ScalarType dtype = scalar_type(spec.dtype);
  const std::int64_t g = spec.feature_size;
  // What a picture needs at its peak, in the necks, is about eight maps of the finest scale in fp32; the official width
  // is assumed.
  constexpr std::int64_t channels = 256;
  const std::int64_t one = 8 * channels * 16 * g * g * static_cast<std::int64_t>(sizeof(float));
  const auto run = [&](const std::vector<std::size_t>& some) {
    std::vector<at::Tensor> inputs;
    std::vector<std::size_t> prepared;
    for (const std::size_t index : some) {
      if (answers.still_wanted({index}).empty()) continue;
      inputs.push_back(preprocess(pictures[index], spec.resolution, spec.mean, spec.std));
      prepared.push_back(index);
    }
    if (answers.still_wanted(prepared).empty()) return;
    at::Tensor input = (inputs.size() == 1 ? inputs[0] : at::cat(inputs)).to(device_, dtype);
    inputs.clear();
    const auto count = static_cast<std::int64_t>(prepared.size());
    const auto out = run_part(bundle_, "image_encoder", {std::move(input)}, 6);
    finish_work_on(device_);
    const char* const part = "image_encoder";
    expect_shape(part, "the fine features", out[0], {count, -1, 4 * g, 4 * g});
    expect_shape(part, "the middle features", out[1], {count, -1, 2 * g, 2 * g});
    expect_shape(part, "the coarse features", out[2], {count, -1, g, g});
    expect_shape(part, "the tracker's fine features", out[3], {count, -1, 4 * g, 4 * g});
    expect_shape(part, "the tracker's middle features", out[4], {count, -1, 2 * g, 2 * g});
    expect_shape(part, "the tracker's coarse features", out[5], {count, -1, g, g});
    for (std::int64_t row = 0; row < count; ++row) {
      const std::size_t index = prepared[static_cast<std::size_t>(row)];
      if (answers.still_wanted({index}).empty()) continue;
      answers.set(index, {own_row(out[0], row), own_row(out[1], row), own_row(out[2], row), own_row(out[3], row),
                          own_row(out[4], row), own_row(out[5], row), pictures[index].width, pictures[index].height});
    }
  };
  run_batches(answers.still_wanted(), fit_at_once(device_, one, at_once), answers, "Encoding the picture failed", run);
}

void ImageModel::encode_texts(const std::vector<std::vector<std::int32_t>>& ids, std::size_t at_once,
                              Answers<TextTensors>& answers) {
  const BundleSpec& spec = bundle_.spec();
  // A text's tokens through one wide layer of the official model, several times over.
  const std::int64_t one = spec.context_length * 4096 * 8 * static_cast<std::int64_t>(sizeof(float));
  const auto run = [&](const std::vector<std::size_t>& some) {
    std::size_t longest = 1;
    for (const std::size_t index : some) longest = std::max(longest, ids[index].size());
    // Attention is causal and the padding masked, so padding to the longest of the batch gives what padding to the
    // context length gives, for less work.
    const auto count = static_cast<std::int64_t>(some.size());
    const auto length = static_cast<std::int64_t>(longest);
    at::Tensor tokens = at::full({count, length}, spec.pad_token, at::kLong);
    at::Tensor mask = at::zeros({count, length}, at::kBool);
    for (std::int64_t row = 0; row < count; ++row) {
      const auto& text = ids[some[static_cast<std::size_t>(row)]];
      std::copy(text.begin(), text.end(), tokens.mutable_data_ptr<std::int64_t>() + row * length);
      std::fill_n(mask.mutable_data_ptr<bool>() + row * length, text.size(), true);
    }
    const auto out = run_part(bundle_, "text_encoder", {tokens.to(device_), mask.to(device_)}, 1);
    finish_work_on(device_);
    expect_shape("text_encoder", "the text", out[0], {count, length, -1});
    for (std::int64_t row = 0; row < count; ++row) {
      const std::size_t index = some[static_cast<std::size_t>(row)];
      const auto used = static_cast<std::int64_t>(ids[index].size());
      answers.set(index, {out[0][row].narrow(0, 0, used).clone(at::MemoryFormat::Contiguous)});
    }
  };
  run_batches(answers.still_wanted(), fit_at_once(device_, one, at_once), answers, "Encoding the text failed", run);
}

}  // namespace sam3
