#include "core/part.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <string>

namespace sam3 {

std::vector<at::Tensor> run_part(Bundle& bundle, const char* name, std::vector<c10::IValue> inputs,
                                 std::size_t outputs, const char* method) {
  torch::jit::Module& module = bundle.part(name);
  const auto run = module.find_method(method);
  if (!run) {
    throw Error("BUNDLE_INVALID",
                std::string("The part ") + name + " has no method " + method + ". Export the bundle again.");
  }
  c10::IValue answer;
  try {
    answer = (*run)(std::move(inputs));
  } catch (...) {
    throw name_failure(std::current_exception(), "MODEL_FAILED", std::string("The model's ") + name + " failed");
  }
  std::vector<at::Tensor> tensors;
  if (answer.isTuple()) {
    for (const auto& value : answer.toTupleRef().elements()) {
      if (value.isTensor()) tensors.push_back(value.toTensor());
    }
  } else if (answer.isTensor()) {
    tensors.push_back(answer.toTensor());
  }
  if (tensors.size() != outputs) {
    throw Error("BUNDLE_INVALID", std::string("The part ") + name + " does not answer with " + std::to_string(outputs) +
                                      " tensors. Export the bundle again.");
  }
  return tensors;
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

void finish_work_on(c10::Device device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.getStream(device).synchronize();
}

at::Tensor to_cpu_floats(const at::Tensor& tensor) { return tensor.to(at::kCPU, at::kFloat).contiguous(); }

std::vector<float> to_vector(const at::Tensor& tensor) {
  const at::Tensor values = to_cpu_floats(tensor);
  return {values.const_data_ptr<float>(), values.const_data_ptr<float>() + values.numel()};
}

}  // namespace sam3
