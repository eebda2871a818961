#include "core/threads.h"

#include <ATen/Parallel.h>

#include "core/devices.h"

namespace sam3 {

void compute_with(int threads) {
  // OpenMP and MKL keep the number per calling thread, and oneDNN goes by OpenMP's. But the first parallel work of a
  // thread makes ATen set the number that any thread of the process has set last (lazy_init_num_threads): without this
  // question, which has it done now, a replica would compute with the threads of the replica that was made last.
  at::get_num_threads();
  at::set_num_threads(threads > 0 ? threads : usable_cores());
}

}  // namespace sam3
