#include <jko/core/parallel.hpp>

#include <jko/core/check.hpp>

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>

namespace jko {

void parallel_for(Index n, int threads, const std::function<void(Index)>& body) {
  check_at_least("parallel_for", "threads", threads, 1);
  if (threads == 1 || n <= 1) {
    for (Index i = 0; i < n; ++i) body(i);
    return;
  }
  tbb::task_arena arena(threads);
  arena.execute([&] { tbb::parallel_for(Index{0}, n, [&](Index i) { body(i); }); });
}

void parallel_blocks(Index n, Index block, int threads, const std::function<void(Index, Index)>& body) {
  check_at_least("parallel_blocks", "block", block, 1);
  parallel_for((n + block - 1) / block, threads, [&](Index b) { body(b * block, std::min(n, (b + 1) * block)); });
}

}  // namespace jko
