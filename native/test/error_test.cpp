#include "core/error.h"

#include <torch/script.h>

#include <new>

#include "check.h"

using sam3::Error;

TEST("errors: failures get their names") {
  const auto named = [](auto thrower) {
    try {
      thrower();
    } catch (...) {
      return sam3::name_failure(std::current_exception(), "MODEL_FAILED", "Doing it failed");
    }
    return Error("none", "none");
  };
  EXPECT(named([] { throw Error("ABORTED", "x"); }).code() == "ABORTED");
  EXPECT(named([] { throw std::bad_alloc(); }).code() == "OUT_OF_MEMORY");
  EXPECT(named([] { TORCH_CHECK(false, "shape"); }).code() == "MODEL_FAILED");
  EXPECT(std::string(named([] { TORCH_CHECK(false, "shape"); }).what()) == "Doing it failed: shape");
  EXPECT(named([] { at::empty({std::int64_t{1} << 50}); }).code() == "OUT_OF_MEMORY");
  EXPECT(named([] { throw std::runtime_error("CUDA error: an illegal memory access"); }).code() == "DEVICE_FAULT");
  EXPECT(named([] { throw std::runtime_error("CUDA out of memory. Tried to allocate 2 GiB"); }).code() == "OUT_OF_MEMORY");
  EXPECT(named([] { throw 7; }).code() == "INTERNAL");
  EXPECT(sam3::essence("The following operation failed in the TorchScript interpreter.\nTraceback of TorchScript\n  x\n"
                      "RuntimeError: sizes differ\n") == "sizes differ");
}
