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

TEST("errors: a lack of memory is told with what was asked for and what was free, where libtorch says so") {
  const auto said = [](const std::string& text) {
    try {
      throw std::runtime_error(text);
    } catch (...) {
      return std::string(sam3::name_failure(std::current_exception(), "MODEL_FAILED", "Doing it failed").what());
    }
  };
  EXPECT(said("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB of which 1.25 GiB "
              "is free. Including non-PyTorch memory, this process has 14.5 GiB memory in use.") ==
         "Doing it failed: out of memory, 2.00 GiB were asked for, 1.25 GiB were free");
  EXPECT(said("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12") ==
         "Doing it failed: out of memory, 4096 bytes were asked for");
  EXPECT(said("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate") ==
         "Doing it failed: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate");
}
