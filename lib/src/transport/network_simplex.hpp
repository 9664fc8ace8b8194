#pragma once
// LEMON 1.3 does not compile as C++20: its solver is a library of its own in C++17 behind this plain interface.
#include <cstdint>
#include <functional>
#include <vector>

namespace jko::lemon_solver {

struct Arc {
  int from, to;
  std::int64_t cost;
};

// min sum cost x over x >= 0 with row sums supply (n) and column sums demand (m), exactly; (n + m + 1) max|cost| must stay below 2^61. Both call flow(i, j, amount) for every
// positive entry, row by row, and write potentials with from[i] + to[j] <= cost(i, j), equal where the flow is positive. They return false where no x exists.

/// Every entry, cost[i m + j].
bool network_simplex(int n, int m, const std::int64_t* supply, const std::int64_t* demand, const std::int64_t* cost, const std::function<void(int, int, std::int64_t)>& flow, std::int64_t* from, std::int64_t* to);
/// Some entries, in the order of `from`; the potentials bound the costs of these alone.
bool network_simplex(int n, int m, const std::int64_t* supply, const std::int64_t* demand, const std::vector<Arc>& arcs, const std::function<void(int, int, std::int64_t)>& flow, std::int64_t* from, std::int64_t* to);

}  // namespace jko::lemon_solver
