#pragma once

#include <torch/script.h>

#include <cstdint>
#include <map>
#include <string>

#include "core/bundle_spec.h"
#include "core/cancel.h"

namespace sam3 {

// The loaded parts of one bundle on one device. Not thread-safe: used on its replica's executor thread.
class Bundle {
 public:
  // Throws BUNDLE_PART_MISSING, BUNDLE_INVALID, OUT_OF_MEMORY or ABORTED.
  static Bundle load(const BundleSpec& spec, c10::Device device, const CancelToken& cancel, const PartCallback& on_part);

  const BundleSpec& spec() const { return spec_; }
  // Throws BUNDLE_PART_MISSING.
  torch::jit::Module& part(const std::string& name);
  // Bytes of all parameters, buffers and constants.
  std::int64_t bytes() const { return bytes_; }

 private:
  Bundle() = default;
  BundleSpec spec_;
  std::map<std::string, torch::jit::Module> parts_;
  std::int64_t bytes_ = 0;
};

// Points every device constant, and every constant tensor, of a module's graphs to `device`: in nested blocks, in
// forked subgraphs and in the functions they call. A traced graph holds the device it was traced on.
// Answers how many device constants it changed.
std::size_t retarget(torch::jit::Module& module, c10::Device device);

}  // namespace sam3
