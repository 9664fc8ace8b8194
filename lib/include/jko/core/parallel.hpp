#pragma once
/// Parallel loops whose results do not depend on the number of threads: the body writes only to its own index, and
/// sums are taken over fixed blocks combined in order.
#include <jko/core/types.hpp>

#include <functional>

namespace jko {

/// Calls body(i) for i in [0, n). threads >= 1; threads = 1 runs in the caller. The first exception is rethrown.
void parallel_for(Index n, int threads, const std::function<void(Index)>& body);
/// Calls body(begin, end) on consecutive blocks of at most `block` indices; the blocks do not depend on threads.
void parallel_blocks(Index n, Index block, int threads, const std::function<void(Index, Index)>& body);

}  // namespace jko
