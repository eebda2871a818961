#include "core/memory_block.h"

#include <ATen/ATen.h>

#include <array>
#include <bit>
#include <cstring>

#include "core/fnv.h"
#include "core/part.h"
#include "core/prompt_checks.h"

static_assert(std::endian::native == std::endian::little, "blocks are written as the machine has its numbers");

namespace sam3 {
namespace {

constexpr std::array<char, 8> magic{'S', 'A', 'M', '3', 'M', 'E', 'M', '\n'};
constexpr std::uint32_t version = 1;

struct Header {
  std::array<char, 8> magic{};
  std::uint32_t version = 0;
  std::uint32_t cells = 0;
  std::uint32_t channels = 0;
  std::uint32_t width = 0;
  std::uint64_t fingerprint = 0;
  // Of everything before it and of what follows the header.
  std::uint64_t checksum = 0;
};
static_assert(sizeof(Header) == 40, "no padding: every byte of a block has a meaning");

std::uint64_t checksum_of(const Header& header, const std::uint8_t* body, std::size_t bytes) {
  return fnv1a(body, bytes, fnv1a(&header, offsetof(Header, checksum)));
}

}  // namespace

MemoryBlock write_block(const TrackMemoryTensors& memory, std::uint64_t fingerprint) {
  const at::Tensor map = memory.map.to(at::kCPU).contiguous();
  const at::Tensor pointer = to_cpu_floats(memory.pointer);
  const std::size_t map_bytes = map.nbytes();
  MemoryBlock block(sizeof(Header) + map_bytes + pointer.nbytes());
  std::uint8_t* const body = block.data() + sizeof(Header);
  std::memcpy(body, map.const_data_ptr(), map_bytes);
  std::memcpy(body + map_bytes, pointer.const_data_ptr(), pointer.nbytes());
  Header header{magic,
                version,
                static_cast<std::uint32_t>(map.size(0)),
                static_cast<std::uint32_t>(map.size(1)),
                static_cast<std::uint32_t>(pointer.size(0)),
                fingerprint,
                0};
  header.checksum = checksum_of(header, body, block.size() - sizeof(Header));
  std::memcpy(block.data(), &header, sizeof(Header));
  return block;
}

TrackMemoryTensors read_block(const MemoryBlock& block, const TrackerConstants& constants, std::int64_t cells) {
  Header header;
  if (block.size() < sizeof(Header)) refuse("The bytes of a memory end too early.");
  std::memcpy(&header, block.data(), sizeof(Header));
  if (header.magic != magic) refuse("The bytes are not those of a memory.");
  if (header.version != version) refuse("The memory was written by another version.");
  if (header.cells != cells || header.channels != constants.channels() || header.width != constants.width() ||
      header.fingerprint != constants.fingerprint) {
    refuse("The memory was written with another model.");
  }
  at::Tensor map = at::empty({cells, constants.channels()}, at::kBFloat16);
  at::Tensor pointer = at::empty({constants.width()}, at::kFloat);
  const std::uint8_t* const body = block.data() + sizeof(Header);
  if (block.size() != sizeof(Header) + map.nbytes() + pointer.nbytes()) refuse("The bytes of a memory are too few or too many.");
  if (header.checksum != checksum_of(header, body, block.size() - sizeof(Header))) refuse("The bytes of a memory are damaged.");
  std::memcpy(map.mutable_data_ptr(), body, map.nbytes());
  std::memcpy(pointer.mutable_data_ptr(), body + map.nbytes(), pointer.nbytes());
  return {map, pointer};
}

}  // namespace sam3
