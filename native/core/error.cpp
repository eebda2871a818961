#include "core/error.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <new>
#include <regex>
#include <string_view>

namespace sam3 {
namespace {

bool contains_any(std::string_view text, std::initializer_list<std::string_view> parts) {
  return std::any_of(parts.begin(), parts.end(),
                     [&](std::string_view part) { return text.find(part) != std::string_view::npos; });
}

// The interpreter of traced code rethrows as std::runtime_error, so the type of the cause is lost and the text decides.
const char* code_from_text(std::string_view text, const char* otherwise) {
  if (contains_any(text, {"out of memory", "not enough memory", "can't allocate memory", "OutOfMemory",
                          "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"})) {
    return "OUT_OF_MEMORY";
  }
  if (contains_any(text, {"CUDA error", "CUDA driver error", "cuDNN error", "CUDNN_STATUS", "CUBLAS_STATUS",
                          "device-side assert", "AcceleratorError"})) {
    return "DEVICE_FAULT";
  }
  return otherwise;
}

// What was asked for and what was free, as libtorch's allocators say it; empty where they do not.
std::string memory_figures(const std::string& text) {
  std::smatch found;
  std::string figures;
  if (std::regex_search(text, found, std::regex("[Tt]ried to allocate ([0-9.]+ (?:[KMGT]iB|bytes))"))) {
    figures = found[1].str() + " were asked for";
  }
  if (std::regex_search(text, found, std::regex("of which ([0-9.]+ (?:[KMGT]iB|bytes)) is free"))) {
    figures += (figures.empty() ? "" : ", ") + found[1].str() + " were free";
  }
  return figures;
}

Error out_of_memory(const std::string& doing, const std::string& text) {
  const std::string figures = memory_figures(text);
  return Error("OUT_OF_MEMORY", doing + ": " + (figures.empty() ? essence(text) : "out of memory, " + figures));
}

// A failure told apart by its text alone.
Error from_text(const char* otherwise, const std::string& doing, const std::string& text) {
  const std::string code = code_from_text(text, otherwise);
  return code == "OUT_OF_MEMORY" ? out_of_memory(doing, text) : Error(code, doing + ": " + essence(text));
}

}  // namespace

std::string essence(const std::string& message) {
  std::string text = message;
  // "…TorchScript interpreter.\nTraceback…\nRuntimeError: what happened"
  if (text.find("TorchScript interpreter") != std::string::npos) {
    const auto at = text.rfind("Error: ");
    if (at != std::string::npos) text.erase(0, at + 7);
  }
  for (const char* mark : {"\nException raised from", "\nTraceback"}) {
    const auto at = text.find(mark);
    if (at != std::string::npos) text.erase(at);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  constexpr std::size_t longest = 600;
  if (text.size() > longest) {
    text.resize(longest);
    text.append("...");
  }
  return text;
}

Error name_failure(std::exception_ptr failure, const char* otherwise, const std::string& doing) {
  try {
    std::rethrow_exception(std::move(failure));
  } catch (const Error& error) {
    return error;
  } catch (const c10::OutOfMemoryError& error) {
    return out_of_memory(doing, error.what_without_backtrace());
  } catch (const c10::AcceleratorError& error) {
    return from_text("DEVICE_FAULT", doing, error.what_without_backtrace());
  } catch (const c10::Error& error) {
    return from_text(otherwise, doing, error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return Error("OUT_OF_MEMORY", doing + ": the process has too little memory");
  } catch (const std::exception& error) {
    return from_text(otherwise, doing, error.what());
  } catch (...) {
    return Error("INTERNAL", doing + ": an unknown C++ exception");
  }
}

}  // namespace sam3
