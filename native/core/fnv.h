#pragma once

#include <cstddef>
#include <cstdint>

namespace sam3 {

// FNV-1a, 64 bits: tells accidents from what was written, not forgeries. `hash` continues an earlier one.
inline std::uint64_t fnv1a(const void* data, std::size_t bytes, std::uint64_t hash = 14695981039346656037ULL) {
  const auto* const byte = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < bytes; ++i) hash = (hash ^ byte[i]) * 1099511628211ULL;
  return hash;
}

}  // namespace sam3
