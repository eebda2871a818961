#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace sam3 {

// A failure with a name. `code` is one of the codes of lib/errors.ts, or ABORTED. Immutable.
class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

// What a piece of work came to.
template <class T>
using Outcome = std::variant<T, Error>;

// Names any failure: ours keep their code, a lack of memory and a fault of the device are recognised, everything else
// gets `otherwise`. `doing` says what was being done, for the message.
Error name_failure(std::exception_ptr failure, const char* otherwise, const std::string& doing);

// The part of a libtorch message that helps: without C++ backtrace and without the traceback of the traced code.
std::string essence(const std::string& message);

}  // namespace sam3
