#include <jko/transport/exact.hpp>

#include <jko/core/check.hpp>

#include "network_simplex.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

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
  std::vector<std::int64_t> from(static_cast<std::size_t>(n)), to(static_cast<std::size_t>(m));
  const bool solved = lemon_solver::network_simplex(
      static_cast<int>(n), static_cast<int>(m), supply.data(), demand.data(), costs.data(), std::ldexp(1.0, -exponent), std::ldexp(1.0, bits),
      [&](int i, int j, std::int64_t amount) { t.plan.push_back({i, j, static_cast<double>(amount) / static_cast<double>(total)}); }, from.data(), to.data());
  if (!solved) throw Error("exact_transport: the network simplex found no plan");  // cannot happen: the supplies balance and every arc exists
  // Feasible for the costs as given: v_j = min_i c_ij - u_i, then u_i = min_j c_ij - v_j.
  for (Index i = 0; i < n; ++i) t.from_potential[i] = std::ldexp(static_cast<double>(from[static_cast<std::size_t>(i)]), exponent - bits);
  t.to_potential.setConstant(std::numeric_limits<double>::infinity());
  for (Index i = 0; i < n; ++i) t.to_potential = t.to_potential.cwiseMin((costs.col(i).array() - t.from_potential[i]).matrix());
  for (Index i = 0; i < n; ++i) t.from_potential[i] = (costs.col(i) - t.to_potential).minCoeff();
  finish(t, [&](Index i, Index j) { return costs(j, i); }, a, b);
  return t;
}

void check_entries(Index n, Index m, const ExactTransportOptions& options) {
  if (n <= options.max_entries / m) return;
  throw DomainError(fmt::format("exact_transport: {} x {} entries would take about {:.1f} GB, but max_entries is {}", n, m,
                                7e-8 * static_cast<double>(n) * static_cast<double>(m), options.max_entries));
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
