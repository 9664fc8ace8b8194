#pragma once
// LEMON 1.3 does not compile as C++20: its solver is a library of its own in C++17 behind this plain interface.
#include <cstdint>
#include <functional>

namespace jko::lemon_solver {

/// min sum cost x over x >= 0 with row sums supply (n) and column sums demand (m); cost(i, j) the integer nearest scale * cost[i m + j] * unit. The result is exact for these
/// integers; (n + m + 1) max|cost(i, j)| must stay below 2^61. Calls flow(i, j, amount) for every positive entry, row by row, and writes potentials with
/// from[i] + to[j] <= cost(i, j), equal where the flow is positive. Returns false where the supplies do not balance.
bool network_simplex(int n, int m, const std::int64_t* supply, const std::int64_t* demand, const double* cost, double scale, double unit, const std::function<void(int, int, std::int64_t)>& flow, std::int64_t* from, std::int64_t* to);

}  // namespace jko::lemon_solver
