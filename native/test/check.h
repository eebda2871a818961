#pragma once

// A test runner small enough to read. Used on the main thread.

#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace sam3::test {

struct Test {
  std::string name;
  std::function<void()> body;
};

inline std::vector<Test>& registry() {
  static std::vector<Test> tests;
  return tests;
}

struct Registration {
  Registration(const char* name, std::function<void()> body) { registry().push_back({name, std::move(body)}); }
};

// The folder of fixtures given on the command line: <folder>/<seed>/bundle and <folder>/<seed>/<case>.pt.
std::string& fixtures();

[[noreturn]] inline void fail(const char* file, int line, const std::string& message) {
  std::ostringstream text;
  text << file << ":" << line << ": " << message;
  throw std::runtime_error(text.str());
}

}  // namespace sam3::test

#define SAM3_JOIN2(a, b) a##b
#define SAM3_JOIN(a, b) SAM3_JOIN2(a, b)
#define TEST(name)                                                                                       \
  static void SAM3_JOIN(test_body_, __LINE__)();                                                         \
  static const ::sam3::test::Registration SAM3_JOIN(test_, __LINE__)(name, SAM3_JOIN(test_body_, __LINE__)); \
  static void SAM3_JOIN(test_body_, __LINE__)()

#define EXPECT(condition) \
  if (!(condition)) ::sam3::test::fail(__FILE__, __LINE__, "not so: " #condition)

#define EXPECT_LE(value, limit)                                                                     \
  {                                                                                                \
    const auto got = (value);                                                                      \
    if (!(got <= (limit))) {                                                                       \
      ::sam3::test::fail(__FILE__, __LINE__, #value " is " + std::to_string(got) + ", over " #limit); \
    }                                                                                              \
  }

#define EXPECT_CODE(expression, expected)                                                              \
  {                                                                                                   \
    std::string code = "nothing thrown";                                                              \
    try {                                                                                             \
      expression;                                                                                     \
    } catch (const ::sam3::Error& error) {                                                            \
      code = error.code();                                                                            \
    }                                                                                                 \
    if (code != (expected)) ::sam3::test::fail(__FILE__, __LINE__, #expression " gave " + code + ", not " expected); \
  }
