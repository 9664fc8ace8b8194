#include <jko/transport/exact.hpp>

#include <jko/core/check.hpp>

#include "../core/vector_math.hpp"
#include "network_simplex.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace jko {
namespace {

constexpr std::int64_t unit_mass = std::int64_t{1} << 52;

void check_weights(const char* what, const ConstVectorRef& w) {
  check_finite("exact_transport", what, w);
  if (w.minCoeff() < 0) throw DomainError(fmt::format("exact_transport: the smallest of {} is {}, but they must be >= 0", what, w.minCoeff()));
  if (!(std::abs(w.sum() - 1) <= 1e-10)) throw DomainError(fmt::format("exact_transport: {} sum to {:.12g}, but must sum to 1", what, w.sum()));
}

bool equal_weights(const ConstVectorRef& w) { return (w.array() == w[0]).all(); }

/// Weights as integers with the sum `total`: rounded, and what is missing goes to the largest.
std::vector<std::int64_t> integers(const ConstVectorRef& w, std::int64_t total) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(w.size()));
  const double scale = static_cast<double>(total) / w.sum();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::llround(scale * w[static_cast<Index>(i)]);
  *std::max_element(out.begin(), out.end()) += total - std::accumulate(out.begin(), out.end(), std::int64_t{0});
  return out;
}

template <class Cost>
void finish(ExactTransport& t, const Cost& cost, const ConstVectorRef& a, const ConstVectorRef& b) {
  t.cost = 0;
  for (const auto& [i, j, mass] : t.plan) t.cost += cost(i, j) * mass;
  t.dual = a.dot(t.from_potential) + b.dot(t.to_potential);
  t.status = std::isfinite(t.cost) && std::isfinite(t.dual) ? Status::converged : Status::not_finite;
}

/// The integers of a transport problem; cost(i, j) at i m + j.
struct Problem {
  int n, m;
  std::vector<std::int64_t> supply, demand, costs;
  [[nodiscard]] const std::int64_t* row(int i) const { return costs.data() + static_cast<std::size_t>(i) * static_cast<std::size_t>(m); }
};

struct Solution {
  struct Entry {
    int from, to;
    std::int64_t amount;
  };
  std::vector<Entry> plan;  ///< by rows
  std::vector<std::int64_t> from, to;
};

constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();

/// Nearest integers to scale * cost, which lie below 2^51: adding 3 2^51 leaves them in the low bits.
JKO_VECTOR_CLONES void round(const double* __restrict cost, Index count, double scale, double unit, std::int64_t* __restrict out) {
  constexpr double shift = 0x1.8p52;
  for (Index k = 0; k < count; ++k) out[k] = std::bit_cast<std::int64_t>(scale * cost[k] * unit + shift) - std::bit_cast<std::int64_t>(shift);
}
/// Is one of the costs below u + v?
JKO_VECTOR_CLONES bool violated(const std::int64_t* __restrict cost, const std::int64_t* __restrict v, int m, std::int64_t u) {
  std::int64_t signs = 0;
  for (int j = 0; j < m; ++j) signs |= cost[j] - v[j] - u;
  return signs < 0;
}
/// v = min(v, cost - u).
JKO_VECTOR_CLONES void lower(const std::int64_t* __restrict cost, std::int64_t u, int m, std::int64_t* __restrict v) {
  for (int j = 0; j < m; ++j) v[j] = std::min(v[j], cost[j] - u);
}
JKO_VECTOR_CLONES std::int64_t least(const std::int64_t* __restrict cost, const std::int64_t* __restrict v, int m) {
  std::int64_t out = highest;
  for (int j = 0; j < m; ++j) out = std::min(out, cost[j] - v[j]);
  return out;
}

Solution solve(const Problem& p);

/// Potentials of the problem of every third row and column, extended by v_j = min_i c_ij - u_i over those rows, then u_i = min_j c_ij - v_j.
Solution coarse_potentials(const Problem& p) {
  constexpr int stride = 3;
  Problem coarse{(p.n + stride - 1) / stride, (p.m + stride - 1) / stride, {}, {}, {}};
  const auto sample = [](const std::vector<std::int64_t>& all, int count) {
    Vector part(count);
    for (int i = 0; i < count; ++i) part[i] = static_cast<double>(all[static_cast<std::size_t>(i * stride)]);
    if (!(part.sum() > 0)) part.setOnes();
    return integers(part, unit_mass);
  };
  coarse.supply = sample(p.supply, coarse.n);
  coarse.demand = sample(p.demand, coarse.m);
  for (int i = 0; i < p.n; i += stride) {
    for (int j = 0; j < p.m; j += stride) coarse.costs.push_back(p.row(i)[j]);
  }
  const Solution s = solve(coarse);
  Solution out;
  out.from.resize(static_cast<std::size_t>(p.n));
  out.to.assign(static_cast<std::size_t>(p.m), highest);
  for (int i = 0; i < coarse.n; ++i) lower(p.row(i * stride), s.from[static_cast<std::size_t>(i)], p.m, out.to.data());
  for (int i = 0; i < p.n; ++i) out.from[static_cast<std::size_t>(i)] = least(p.row(i), out.to.data(), p.m);
  return out;
}

/// The columns of each row that the first round tries: the smallest reduced costs of each row and of each column, and a plan's (by the corner rule).
std::vector<std::vector<int>> candidates(const Problem& p, const Solution& guess) {
  constexpr int nearest = 16;
  const int by_row = std::min(nearest, p.m), by_column = std::min(nearest, p.n);
  std::vector<std::vector<int>> out(static_cast<std::size_t>(p.n));
  std::vector<std::pair<std::int64_t, int>> slack(static_cast<std::size_t>(p.m));
  std::vector<std::pair<std::int64_t, int>> best(static_cast<std::size_t>(p.m) * static_cast<std::size_t>(by_column), {highest, -1});  // a heap for each column
  for (int i = 0; i < p.n; ++i) {
    const std::int64_t u = guess.from[static_cast<std::size_t>(i)];
    for (int j = 0; j < p.m; ++j) {
      const std::int64_t r = p.row(i)[j] - u - guess.to[static_cast<std::size_t>(j)];
      slack[static_cast<std::size_t>(j)] = {r, j};
      const auto heap = best.begin() + static_cast<std::ptrdiff_t>(j) * by_column;
      if (r >= heap->first) continue;
      std::pop_heap(heap, heap + by_column);
      heap[by_column - 1] = {r, i};
      std::push_heap(heap, heap + by_column);
    }
    std::nth_element(slack.begin(), slack.begin() + by_row - 1, slack.end());
    for (int k = 0; k < by_row; ++k) out[static_cast<std::size_t>(i)].push_back(slack[static_cast<std::size_t>(k)].second);
  }
  for (std::size_t k = 0; k < best.size(); ++k) out[static_cast<std::size_t>(best[k].second)].push_back(static_cast<int>(k) / by_column);
  auto supply = p.supply, demand = p.demand;
  for (int i = 0, j = 0; i < p.n && j < p.m;) {
    out[static_cast<std::size_t>(i)].push_back(j);
    std::int64_t &a = supply[static_cast<std::size_t>(i)], &b = demand[static_cast<std::size_t>(j)];
    const std::int64_t amount = std::min(a, b);
    a -= amount, b -= amount;
    if (a == 0) ++i;
    else ++j;
  }
  return out;
}

void impossible(bool solved) {
  if (!solved) throw Error("exact_transport: the network simplex found no plan");  // cannot happen: the supplies balance and the arcs hold a plan
}

Solution solve_all_arcs(const Problem& p) {
  Solution out;
  out.from.resize(static_cast<std::size_t>(p.n));
  out.to.resize(static_cast<std::size_t>(p.m));
  impossible(lemon_solver::network_simplex(p.n, p.m, p.supply.data(), p.demand.data(), p.costs.data(),
                                           [&](int i, int j, std::int64_t amount) { out.plan.push_back({i, j, amount}); }, out.from.data(), out.to.data()));
  return out;
}

/// Column generation: the simplex on a few arcs of each node, then on those too whose costs its potentials exceed, until they exceed none: then plan and potentials are optimal among all arcs.
/// The simplex of all arcs spends nine tenths of its time looking for the arc to enter.
Solution solve(const Problem& p) {
  constexpr std::int64_t few_entries = 40'000;
  constexpr int added = 8, most_rounds = 30;  // five to ten rounds are usual
  if (static_cast<std::int64_t>(p.n) * p.m <= few_entries) return solve_all_arcs(p);
  Solution out = coarse_potentials(p);
  auto columns = candidates(p, out);
  std::vector<std::pair<std::int64_t, int>> slack;
  for (int round = 0; round < most_rounds; ++round) {
    // Costs less the last potentials lead the simplex to an optimum near theirs. They stay below the bound of network_simplex.hpp as the costs do, or the costs are taken.
    std::vector<lemon_solver::Arc> arcs;
    std::int64_t largest = 0;
    for (int i = 0; i < p.n; ++i) {
      auto& list = columns[static_cast<std::size_t>(i)];
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
      for (const int j : list) {
        arcs.push_back({i, j, p.row(i)[j] - out.from[static_cast<std::size_t>(i)] - out.to[static_cast<std::size_t>(j)]});
        largest = std::max(largest, std::abs(arcs.back().cost));
      }
    }
    if (largest > (std::int64_t{1} << 60) / (p.n + p.m + 1)) {
      for (auto& [i, j, cost] : arcs) cost = p.row(i)[j];
      std::fill(out.from.begin(), out.from.end(), 0);
      std::fill(out.to.begin(), out.to.end(), 0);
    }
    std::vector<std::int64_t> u(out.from.size()), v(out.to.size());
    out.plan.clear();
    impossible(lemon_solver::network_simplex(p.n, p.m, p.supply.data(), p.demand.data(), arcs, [&](int i, int j, std::int64_t amount) { out.plan.push_back({i, j, amount}); }, u.data(), v.data()));
    std::transform(u.begin(), u.end(), out.from.begin(), out.from.begin(), std::plus<>());
    std::transform(v.begin(), v.end(), out.to.begin(), out.to.begin(), std::plus<>());
    bool optimal = true;
    for (int i = 0; i < p.n; ++i) {
      const std::int64_t from = out.from[static_cast<std::size_t>(i)];
      if (!violated(p.row(i), out.to.data(), p.m, from)) continue;
      optimal = false;
      slack.clear();
      for (int j = 0; j < p.m; ++j) {
        const std::int64_t r = p.row(i)[j] - out.to[static_cast<std::size_t>(j)] - from;
        if (r < 0) slack.emplace_back(r, j);
      }
      const auto end = slack.begin() + std::min<std::ptrdiff_t>(added, static_cast<std::ptrdiff_t>(slack.size()));
      std::partial_sort(slack.begin(), end, slack.end());
      for (auto it = slack.begin(); it != end; ++it) columns[static_cast<std::size_t>(i)].push_back(it->second);
    }
    if (optimal) return out;
  }
  return solve_all_arcs(p);
}

/// costs: m x n, the entry (j, i) belonging to row i of the plan, as the solver numbers its arcs.
ExactTransport simplex(const Matrix& costs, const ConstVectorRef& a, const ConstVectorRef& b) {
  const Index n = costs.cols(), m = costs.rows();
  // Equal weights are integers as they are: m units leave every row, n enter every column.
  const bool exact = equal_weights(a) && equal_weights(b);
  const std::int64_t total = exact ? static_cast<std::int64_t>(n) * m : unit_mass;
  const auto supply = integers(a, total), demand = integers(b, total);
  const double largest = costs.cwiseAbs().maxCoeff<Eigen::PropagateNaN>();
  ExactTransport t;
  t.from_potential = Vector::Zero(n);
  t.to_potential = Vector::Zero(m);
  if (!std::isfinite(largest)) {
    t.status = Status::not_finite;
    return t;
  }
  int exponent = 0;
  (void)std::frexp(largest, &exponent);  // largest < 2^exponent
  exponent = std::max(exponent, -1021);   // so that 2^-exponent is finite
  int bits = 50;
  while (std::ldexp(static_cast<double>(n + m + 1), bits) > 0x1p60) --bits;
  Problem problem{static_cast<int>(n), static_cast<int>(m), supply, demand, std::vector<std::int64_t>(static_cast<std::size_t>(costs.size()))};
  round(costs.data(), costs.size(), std::ldexp(1.0, -exponent), std::ldexp(1.0, bits), problem.costs.data());
  const Solution solution = solve(problem);
  for (const auto& [i, j, amount] : solution.plan) t.plan.push_back({i, j, static_cast<double>(amount) / static_cast<double>(total)});
  // Feasible for the costs as given: v_j = min_i c_ij - u_i, then u_i = min_j c_ij - v_j.
  for (Index i = 0; i < n; ++i) t.from_potential[i] = std::ldexp(static_cast<double>(solution.from[static_cast<std::size_t>(i)]), exponent - bits);
  t.to_potential.setConstant(std::numeric_limits<double>::infinity());
  for (Index i = 0; i < n; ++i) t.to_potential = t.to_potential.cwiseMin((costs.col(i).array() - t.from_potential[i]).matrix());
  for (Index i = 0; i < n; ++i) t.from_potential[i] = (costs.col(i) - t.to_potential).minCoeff();
  finish(t, [&](Index i, Index j) { return costs(j, i); }, a, b);
  return t;
}

void check_entries(Index n, Index m, const ExactTransportOptions& options) {
  if (n <= options.max_entries / m) return;
  throw DomainError(fmt::format("exact_transport: {} x {} entries would take about {:.1f} GB, but max_entries is {}", n, m,
                                8.5e-8 * static_cast<double>(n) * static_cast<double>(m), options.max_entries));
}

std::vector<Index> sorted(const ConstMatrixRef& x) {
  std::vector<Index> order(static_cast<std::size_t>(x.cols()));
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index i, Index j) { return x(0, i) < x(0, j); });
  return order;
}

/// The monotone plan. Along its staircase u_i + v_j = c_ij; squared distances are a Monge array, so that the inequality holds elsewhere.
ExactTransport line(const Particles& a, const Particles& b) {
  const auto first = sorted(a.points()), second = sorted(b.points());
  const auto cost = [&](Index i, Index j) {
    const double z = a.points()(0, i) - b.points()(0, j);
    return z * z;
  };
  ExactTransport t;
  t.from_potential = Vector::Zero(a.size());
  t.to_potential = Vector::Zero(b.size());
  const bool exact = equal_weights(a.weights()) && equal_weights(b.weights());
  const std::int64_t total = exact ? static_cast<std::int64_t>(a.size()) * b.size() : unit_mass;
  auto supply = integers(a.weights(), total), demand = integers(b.weights(), total);
  std::size_t p = 0, q = 0;
  t.to_potential[second[0]] = cost(first[0], second[0]);
  for (;;) {
    const Index i = first[p], j = second[q];
    std::int64_t &left = supply[static_cast<std::size_t>(i)], &right = demand[static_cast<std::size_t>(j)];
    const std::int64_t amount = std::min(left, right);
    if (amount > 0) t.plan.push_back({i, j, static_cast<double>(amount) / static_cast<double>(total)});
    left -= amount;
    right -= amount;
    if (p + 1 < first.size() && (left == 0 || q + 1 == second.size())) {
      ++p;
      t.from_potential[first[p]] = cost(first[p], j) - t.to_potential[j];
    } else if (q + 1 < second.size()) {
      ++q;
      t.to_potential[second[q]] = cost(i, second[q]) - t.from_potential[i];
    } else {
      break;
    }
  }
  std::sort(t.plan.begin(), t.plan.end(), [](const TransportEntry& x, const TransportEntry& y) { return x.from != y.from ? x.from < y.from : x.to < y.to; });
  finish(t, cost, a.weights(), b.weights());
  return t;
}

}  // namespace

ExactTransport exact_transport(const ConstMatrixRef& costs, const ConstVectorRef& a, const ConstVectorRef& b, const ExactTransportOptions& options) {
  check_at_least("exact_transport", "the number of rows", costs.rows(), 1);
  check_at_least("exact_transport", "the number of columns", costs.cols(), 1);
  check_size("exact_transport", "the row weights", a.size(), costs.rows());
  check_size("exact_transport", "the column weights", b.size(), costs.cols());
  check_finite("exact_transport", "costs", costs);
  check_weights("the row weights", a);
  check_weights("the column weights", b);
  check_entries(costs.rows(), costs.cols(), options);
  return simplex(costs.transpose(), a, b);
}

ExactTransport exact_transport(const Particles& a, const Particles& b, const ExactTransportOptions& options) {
  check_at_least("exact_transport", "the number of points", std::min(a.size(), b.size()), 1);
  check_size("exact_transport", "the second measure's dimension", b.dimension(), a.dimension());
  if (a.dimension() == 1) return line(a, b);
  check_entries(a.size(), b.size(), options);
  Matrix costs(b.size(), a.size());
  for (Index i = 0; i < a.size(); ++i) {
    costs.col(i) = (b.points().row(0).array() - a.points()(0, i)).square();
    for (Index k = 1; k < a.dimension(); ++k) costs.col(i).array() += (b.points().row(k).array() - a.points()(k, i)).square().transpose();
  }
  return simplex(costs, a.weights(), b.weights());
}

double w2(const Particles& a, const Particles& b) {
  const ExactTransport t = exact_transport(a, b);
  require(t.status, "w2 of particles");
  return std::sqrt(std::max(0.0, t.cost));
}

Particles displacement(const ExactTransport& transport, const Particles& a, const Particles& b, double s) {
  check_finite("displacement", "time s", s);
  check_size("displacement", "the second measure's dimension", b.dimension(), a.dimension());
  check_size("displacement", "the first measure", a.size(), transport.from_potential.size());
  check_size("displacement", "the second measure", b.size(), transport.to_potential.size());
  Matrix points(a.dimension(), static_cast<Index>(transport.plan.size()));
  Vector weights(points.cols());
  for (Index k = 0; k < points.cols(); ++k) {
    const auto& [i, j, mass] = transport.plan[static_cast<std::size_t>(k)];
    points.col(k) = (1 - s) * a.points().col(i) + s * b.points().col(j);
    weights[k] = mass;
  }
  return {std::move(points), std::move(weights)};
}

}  // namespace jko
