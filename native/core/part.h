#pragma once

#include <torch/script.h>

#include <cstddef>
#include <vector>

#include "core/bundle.h"

namespace sam3 {

// Runs a part, `forward` unless another method is named, and answers with its `outputs` tensors; what it throws is named,
// and says which part it was. Throws BUNDLE_INVALID where the part has no such method.
std::vector<at::Tensor> run_part(Bundle& bundle, const char* name, std::vector<c10::IValue> inputs,
                                 std::size_t outputs, const char* method = "forward");

// Throws BUNDLE_INVALID where a part's answer has another shape than the manifest promises; -1 stands for any size.
void expect_shape(const char* part, const char* what, const at::Tensor& tensor, at::IntArrayRef shape);

// Waits for what an accelerator does behind the caller's back: times become true, and a fault of the device becomes an
// error of the call that caused it instead of the next one's.
void finish_work_on(c10::Device device);

at::Tensor to_cpu_floats(const at::Tensor& tensor);

// The same as plain numbers, row by row.
std::vector<float> to_vector(const at::Tensor& tensor);

}  // namespace sam3
