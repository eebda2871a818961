#include "core/tracker_constants.h"

#include <ATen/ATen.h>

#include <string>

#include "core/fnv.h"
#include "core/image_model.h"
#include "core/part.h"

namespace sam3 {
namespace {

// The memory encoder answers every memory with the same table of positions: asked once, with a frame of nothing.
at::Tensor read_position(Bundle& bundle, c10::Device device, std::int64_t width, std::int64_t channels) {
  const std::int64_t g = bundle.spec().feature_size;
  const at::TensorOptions options = at::TensorOptions().dtype(scalar_type(bundle.spec().dtype)).device(device);
  const char* const part = "memory_encoder";
  const auto out = run_part(bundle, part, {at::zeros({1, width, g, g}, options), at::zeros({1, 1, 16 * g, 16 * g}, options)}, 2);
  expect_shape(part, "the memory", out[0], {1, channels, g, g});
  expect_shape(part, "the position", out[1], {1, channels, g, g});
  return out[1].flatten(2).transpose(1, 2).to(at::kFloat).contiguous();
}

}  // namespace

at::Tensor tracker_constant(Bundle& bundle, const char* name) {
  const torch::jit::Module& constants = bundle.part("tracker_constants");
  if (!constants.hasattr(name) || !constants.attr(name).isTensor()) {
    throw Error("BUNDLE_INVALID",
                std::string("The part tracker_constants has no tensor ") + name + ". Export the bundle again.");
  }
  return constants.attr(name).toTensor();
}

TrackerConstants TrackerConstants::read(Bundle& bundle, c10::Device device) {
  const auto get = [&](const char* name) { return tracker_constant(bundle, name); };
  TrackerConstants constants{get("no_memory"),
                             get("no_object_pointer"),
                             get("no_object_spatial"),
                             get("memory_temporal"),
                             get("pointer_temporal_weight"),
                             get("pointer_temporal_bias"),
                             get("mask_downsample_weight"),
                             get("mask_downsample_bias"),
                             {},
                             0};
  const char* const part = "tracker_constants";
  expect_shape(part, "no_object_pointer", constants.no_object_pointer, {1, -1});
  expect_shape(part, "no_object_spatial", constants.no_object_spatial, {1, -1});
  const std::int64_t width = constants.width();
  const std::int64_t channels = constants.channels();
  expect_shape(part, "no_memory", constants.no_memory, {1, width, 1, 1});
  expect_shape(part, "memory_temporal", constants.memory_temporal, {-1, channels});
  expect_shape(part, "pointer_temporal_weight", constants.pointer_weight, {channels, width});
  expect_shape(part, "pointer_temporal_bias", constants.pointer_bias, {channels});
  expect_shape(part, "mask_downsample_weight", constants.downsample_weight, {1, 1, 4, 4});
  expect_shape(part, "mask_downsample_bias", constants.downsample_bias, {1});
  if (width % channels != 0 || constants.temporal_rows() < 1) {
    throw Error("BUNDLE_INVALID", "The tracker's width is no multiple of a memory's channels. Export the bundle again.");
  }
  constants.memory_position = read_position(bundle, device, width, channels);
  constants.fingerprint = fnv1a(nullptr, 0);
  for (const at::Tensor* tensor : {&constants.no_memory, &constants.no_object_pointer, &constants.no_object_spatial,
                                   &constants.memory_temporal, &constants.pointer_weight, &constants.pointer_bias}) {
    const at::Tensor values = to_cpu_floats(*tensor);
    constants.fingerprint =
        fnv1a(values.const_data_ptr<float>(), static_cast<std::size_t>(values.numel()) * sizeof(float), constants.fingerprint);
  }
  return constants;
}

}  // namespace sam3
