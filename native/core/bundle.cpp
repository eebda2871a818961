#include "core/bundle.h"

#include <ATen/Context.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/script.h>

#include <filesystem>
#include <mutex>
#include <unordered_set>

namespace sam3 {
namespace {

namespace jit = torch::jit;

// torch::jit::load goes through registries of the whole process that are not safe to use from two threads.
std::mutex& loading_mutex() {
  static std::mutex mutex;
  return mutex;
}

// Walks the graphs of one module tree. Not thread-safe.
class Retargeter {
 public:
  explicit Retargeter(c10::Device device) : device_(device), device_text_(device.str()) {}

  void visit(jit::Module& module) {
    for (auto submodule : module.modules()) {
      for (auto& method : submodule.get_methods()) visit(method.function());
    }
  }

  std::size_t changed() const { return changed_; }

 private:
  void visit(jit::Function& function) {
    if (!function.isGraphFunction() || !seen_.insert(&function).second) return;
    visit(jit::toGraphFunction(function).graph()->block());
  }

  void visit(jit::Block* block) {
    for (jit::Node* node : block->nodes()) {
      if (node->kind() == c10::prim::Constant) visit_constant(node);
      for (jit::Block* inner : node->blocks()) visit(inner);
      if (node->hasAttribute(c10::attr::Subgraph)) visit(node->g(c10::attr::Subgraph)->block());
    }
  }

  void visit_constant(jit::Node* node) {
    const auto& type = node->output()->type();
    if (const auto function = type->cast<c10::FunctionType>()) {
      visit(*function->function());
      return;
    }
    if (!node->hasAttribute(c10::attr::value)) return;  // None
    if (type->kind() == c10::TypeKind::DeviceObjType) {
      if (node->s(c10::attr::value) == device_text_) return;
      node->s_(c10::attr::value, device_text_);
      ++changed_;
    } else if (node->kindOf(c10::attr::value) == jit::AttributeKind::t) {
      const at::Tensor& tensor = node->t(c10::attr::value);
      if (tensor.device() != device_) node->t_(c10::attr::value, tensor.to(device_));
    }
  }

  c10::Device device_;
  std::string device_text_;
  std::unordered_set<jit::Function*> seen_;
  std::size_t changed_ = 0;
};

std::int64_t bytes_of(const jit::Module& module) {
  std::unordered_set<const void*> seen;
  std::int64_t bytes = 0;
  const auto add = [&](const at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.has_storage()) return;
    if (seen.insert(tensor.storage().unsafeGetStorageImpl()).second) {
      bytes += static_cast<std::int64_t>(tensor.storage().nbytes());
    }
  };
  for (const at::Tensor& tensor : module.parameters()) add(tensor);
  for (const at::Tensor& tensor : module.buffers()) add(tensor);
  return bytes;
}

jit::Module load_part(const std::string& name, const std::string& path, c10::Device device) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    throw Error("BUNDLE_PART_MISSING", "The part " + name + " is not at " + path + ". Export the bundle again.");
  }
  try {
    jit::Module module = [&] {
      std::lock_guard lock(loading_mutex());
      return jit::load(path, device);
    }();
    module.eval();
    retarget(module, device);
    return module;
  } catch (...) {
    throw name_failure(std::current_exception(), "BUNDLE_INVALID", "The part " + name + " cannot be loaded from " + path);
  }
}

}  // namespace

std::size_t retarget(jit::Module& module, c10::Device device) {
  Retargeter retargeter(device);
  retargeter.visit(module);
  return retargeter.changed();
}

Bundle Bundle::load(const BundleSpec& spec, c10::Device device, const CancelToken& cancel,
                    const PartCallback& on_part) {
  if (!device.is_cpu()) {
    // Of the whole process. What a bundle keeps in fp32 is to be computed in it: convolutions in TF32, libtorch's default,
    // are off by a thousandth.
    at::globalContext().setAllowTF32CuDNN(false);
    at::globalContext().setAllowTF32CuBLAS(false);
  }
  Bundle bundle;
  bundle.spec_ = spec;
  for (const auto& [name, path] : spec.parts) {
    cancel.throw_if_cancelled();
    auto module = load_part(name, path, device);
    bundle.bytes_ += bytes_of(module);
    bundle.parts_.insert_or_assign(name, std::move(module));
    on_part(name, bundle.parts_.size(), spec.parts.size());
  }
  cancel.throw_if_cancelled();
  return bundle;
}

jit::Module& Bundle::part(const std::string& name) {
  const auto found = parts_.find(name);
  if (found == parts_.end()) throw Error("BUNDLE_PART_MISSING", "The bundle was loaded without the part " + name + ".");
  return found->second;
}

}  // namespace sam3
