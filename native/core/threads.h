#pragma once

namespace sam3 {

// Sets how many threads libtorch computes with when it is called on the calling thread; other threads keep their number.
// 0: as many as physical cores.
void compute_with(int threads);

}  // namespace sam3
