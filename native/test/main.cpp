#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>

#include "check.h"

std::string& sam3::test::fixtures() {
  static std::string folder;
  return folder;
}

// core_tests <fixtures> [part of a test's name]
int main(int argc, char** argv) {
  if (argc < 2 || !std::filesystem::is_directory(argv[1])) {
    std::fprintf(stderr, "usage: core_tests <folder made by scripts/export/tiny.py> [part of a test's name]\n");
    return 2;
  }
  sam3::test::fixtures() = argv[1];
  const std::string wanted = argc > 2 ? argv[2] : "";
  int passed = 0;
  int failed = 0;
  for (const auto& test : sam3::test::registry()) {
    if (test.name.find(wanted) == std::string::npos) continue;
    const auto start = std::chrono::steady_clock::now();
    std::string failure;
    try {
      test.body();
    } catch (const std::exception& error) {
      failure = error.what();
    } catch (...) {
      failure = "an unknown exception";
    }
    const auto ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    std::printf("%s %s (%.0f ms)\n", failure.empty() ? "ok  " : "FAIL", test.name.c_str(), ms);
    if (!failure.empty()) std::printf("     %s\n", failure.c_str());
    std::fflush(stdout);
    ++(failure.empty() ? passed : failed);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}
