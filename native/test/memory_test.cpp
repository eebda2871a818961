#include "core/memory.h"

#include <torch/script.h>

#include <cstdio>

#include "check.h"
#include "core/features.h"
#include "model.h"

using namespace sam3;

TEST("memory: the machine's is known, and a forward may take some of it") {
  const c10::Device cpu(c10::kCPU);
  const MemoryView view = memory_of(cpu);
  EXPECT(view.total_bytes > 1u << 28);
  EXPECT(view.free_bytes > 0);
  EXPECT(view.free_bytes <= view.total_bytes);
  EXPECT(!view.allocated_bytes && !view.peak_bytes);
  EXPECT(working_budget(cpu) > 0);
  give_back_memory(cpu);
}

TEST("memory: as many items as fit, at least one, at most as many as were asked for") {
  const c10::Device cpu(c10::kCPU);
  EXPECT(fit_at_once(cpu, 1, 5) == 5);
  EXPECT(fit_at_once(cpu, std::int64_t{1} << 50, 5) == 1);
  EXPECT(fit_at_once(cpu, working_budget(cpu) / 4, 64) <= 5);
  EXPECT(fit_at_once(cpu, 0, 0) == 1);
}

TEST("memory: an accelerator's allocations are counted") {
  const c10::Device device = test::test_device();
  if (device.is_cpu()) {
    std::printf("     not run: no GPU\n");
    return;
  }
  const auto held = at::zeros({1 << 20}, at::TensorOptions().dtype(at::kFloat).device(device));
  const MemoryView view = memory_of(device);
  EXPECT(view.allocated_bytes.value() >= 4u << 20);
  EXPECT(view.peak_bytes.value() >= view.allocated_bytes.value());
  EXPECT(view.free_bytes <= view.total_bytes);
}

TEST("features: a copy is one, also where it stays on its device") {
  const auto map = at::rand({1, 2, 3, 3});
  const ImageTensors image{map, map, map, map, map, map, 7, 5};
  EXPECT(image.bytes() == 2 * 3 * 3 * 4);  // one storage, counted once
  const auto copy = image.copy_to(c10::Device(c10::kCPU));
  EXPECT(copy.width == 7 && copy.height == 5);
  EXPECT(at::equal(copy.fine, map) && copy.fine.data_ptr() != map.data_ptr());
  EXPECT(copy.bytes() == 6 * image.bytes());
}

TEST("features: rows of one picture are a view, of several a copy in order") {
  const auto make = [](float value) {
    const auto map = at::full({1, 2, 2, 2}, value);
    return ImageTensors{map, map, map, map, map, map, 1, 1};
  };
  const auto a = make(1);
  const auto b = make(2);
  const auto same = rows_of({&a, &a, &a}, &ImageTensors::fine);
  EXPECT(same.sizes() == at::IntArrayRef({3, 2, 2, 2}));
  EXPECT(same.data_ptr() == a.fine.data_ptr());
  const auto mixed = rows_of({&b, &a}, &ImageTensors::coarse);
  EXPECT(mixed[0].eq(2).all().item<bool>() && mixed[1].eq(1).all().item<bool>());
}
