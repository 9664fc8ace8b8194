#pragma once
/// Timing for the benchmark programs: CPU seconds of this process, all threads together, and wall seconds.
#include <algorithm>
#include <chrono>
#include <ctime>
#include <vector>

namespace jko::benchmarks {

struct Seconds {
  double cpu = 0;
  double wall = 0;
};

/// Calls f once to warm up, then `repeats` times; the least of each figure. Other work on the machine only ever adds to a time, and adds less to the CPU's.
template <class F>
Seconds time_of(int repeats, const F& f) {
  f();
  Seconds best{1e300, 1e300};
  for (int r = 0; r < repeats; ++r) {
    const std::clock_t cpu = std::clock();
    const auto wall = std::chrono::steady_clock::now();
    f();
    best.cpu = std::min(best.cpu, static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC);
    best.wall = std::min(best.wall, std::chrono::duration<double>(std::chrono::steady_clock::now() - wall).count());
  }
  return best;
}

}  // namespace jko::benchmarks
