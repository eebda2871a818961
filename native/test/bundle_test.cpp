#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/script.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "check.h"
#include "core/bundle.h"
#include "core/error.h"
#include "fixtures.h"

using sam3::Bundle;
using sam3::BundleSpec;
using sam3::CancelToken;
using sam3::test::read_spec;

namespace {

namespace jit = torch::jit;

void collect(jit::Block* block, std::vector<std::string>& devices) {
  for (jit::Node* node : block->nodes()) {
    if (node->kind() == c10::prim::Constant && node->hasAttribute(c10::attr::value) &&
        node->output()->type()->kind() == c10::TypeKind::DeviceObjType) {
      devices.push_back(node->s(c10::attr::value));
    }
    for (jit::Block* inner : node->blocks()) collect(inner, devices);
  }
}

std::vector<std::string> devices_of(jit::Module& module) {
  std::vector<std::string> devices;
  for (auto submodule : module.modules()) {
    for (auto& method : submodule.get_methods()) {
      collect(jit::toGraphFunction(method.function()).graph()->block(), devices);
    }
  }
  return devices;
}

// A folder that goes with the test.
struct Folder {
  std::filesystem::path path;
  Folder() : path(std::filesystem::temp_directory_path() / ("sam3-core-tests-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

TEST("retarget: device constants in the graph, in nested blocks and in called methods point to the target") {
  jit::Module module("m");
  module.define(R"(
    def helper(self, x):
        return x.to(torch.device("cuda:3"))
    def forward(self, x, deep: bool):
        y = torch.zeros([2], device=torch.device("cuda:3"))
        if deep:
            for i in range(2):
                if i > 0:
                    y = y + torch.ones([2], device=torch.device("cuda:3"))
        return self.helper(x) + y.to(torch.device("cuda:3"))
  )");
  // The compiler pools equal constants at the top of a graph: give nested blocks their own.
  std::size_t nested = 0;
  const auto graph = jit::toGraphFunction(module.get_method("forward").function()).graph();
  const std::function<void(jit::Block*, bool)> localise = [&](jit::Block* block, bool inner) {
    for (jit::Node* node : block->nodes()) {
      for (jit::Block* next : node->blocks()) localise(next, true);
      for (std::size_t i = 0; inner && i < node->inputs().size(); ++i) {
        if (node->input(i)->type()->kind() != c10::TypeKind::DeviceObjType) continue;
        const jit::WithInsertPoint here(node);
        node->replaceInput(i, graph->insertConstant(c10::Device("cuda:3")));
        ++nested;
      }
    }
  };
  localise(graph->block(), false);
  EXPECT(nested == 1);
  // One pooled in forward, one in its loop, one in the method it calls.
  EXPECT(devices_of(module) == std::vector<std::string>(3, "cuda:3"));
  EXPECT(sam3::retarget(module, c10::Device("cpu")) == 3);
  EXPECT(devices_of(module) == std::vector<std::string>(3, "cpu"));
  EXPECT(sam3::retarget(module, c10::Device("cpu")) == 0);
  const auto out = module.forward({at::ones({2}), true}).toTensor();
  EXPECT(at::equal(out, at::full({2}, 2.0)));
}

TEST("bundle: parts load in order, are counted and answer by name") {
  const BundleSpec spec = read_spec(0);
  std::vector<std::string> seen;
  CancelToken cancel;
  Bundle bundle = Bundle::load(spec, c10::Device("cpu"), cancel, [&](const std::string& name, std::size_t done, std::size_t total) {
    seen.push_back(name);
    EXPECT(done == seen.size());
    EXPECT(total == spec.parts.size());
  });
  EXPECT(seen.size() == spec.parts.size());
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT(seen[i] == spec.parts[i].first);
  EXPECT(bundle.bytes() > 100'000);
  bundle.part("image_encoder");
  EXPECT_CODE(bundle.part("hat"), "BUNDLE_PART_MISSING");
}

TEST("bundle: a damaged or missing part is named, a cancelled load stops") {
  const Folder folder;
  BundleSpec spec = read_spec(0);
  const std::string whole = spec.parts[0].second;
  const auto broken = (folder.path / "broken.pt").string();
  CancelToken cancel;
  const auto load = [&] { Bundle::load(spec, c10::Device("cpu"), cancel, [](const auto&...) {}); };

  std::ifstream in(whole, std::ios::binary);
  std::stringstream bytes;
  bytes << in.rdbuf();
  const std::string content = bytes.str();
  const std::vector<std::string> damaged{std::string(), std::string("not a zip archive"),
                                         content.substr(0, content.size() / 2), content.substr(content.size() / 2)};
  for (const std::string& text : damaged) {
    std::ofstream(broken, std::ios::binary | std::ios::trunc) << text;
    spec.parts[0].second = broken;
    EXPECT_CODE(load(), "BUNDLE_INVALID");
  }
  try {
    load();
  } catch (const sam3::Error& error) {
    EXPECT(std::string(error.what()).find(spec.parts[0].first) != std::string::npos);
    EXPECT(std::string(error.what()).find('\n') == std::string::npos);
  }
  spec.parts[0].second = (folder.path / "nothing.pt").string();
  EXPECT_CODE(load(), "BUNDLE_PART_MISSING");

  spec = read_spec(0);
  const auto stop_after_first = [&] {
    std::size_t loaded = 0;
    CancelToken token;
    try {
      Bundle::load(spec, c10::Device("cpu"), token, [&](const auto&...) {
        ++loaded;
        token.cancel();
      });
    } catch (...) {
      EXPECT(loaded == 1);
      throw;
    }
  };
  EXPECT_CODE(stop_after_first(), "ABORTED");
}
