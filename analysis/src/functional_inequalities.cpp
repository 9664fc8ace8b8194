#include <jko/analysis/functional_inequalities.hpp>

#include <jko/core/check.hpp>
#include <jko/reference/fokker_planck.hpp>

#include "measure_access.hpp"
#include "worst.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace jko::analysis {
namespace {

/// -L*, symmetrised by the square root of its stationary vector.
struct Symmetric {
  Vector diagonal, square_off;  // off-diagonal entries squared
};

Symmetric symmetrised(const FokkerPlanck& solver) {
  const Index n = solver.centres().size();
  Symmetric out{Vector(n), Vector(n - 1)};
  Vector lower(n - 1), upper(n - 1);
  // Three products with every third unit vector at once give all entries of a tridiagonal matrix.
  for (Index colour = 0; colour < 3; ++colour) {
    Vector probe = Vector::Zero(n);
    for (Index i = colour; i < n; i += 3) probe[i] = 1;
    const Vector column = solver.apply(probe);
    for (Index i = colour; i < n; i += 3) {
      out.diagonal[i] = -column[i];
      if (i > 0) upper[i - 1] = column[i - 1];
      if (i + 1 < n) lower[i] = column[i + 1];
    }
  }
  out.square_off = lower.cwiseProduct(upper);
  return out;
}

/// Number of eigenvalues below x (Sturm).
Index count_below(const Symmetric& a, double x) {
  Index count = 0;
  double pivot = 1;
  for (Index i = 0; i < a.diagonal.size(); ++i) {
    pivot = a.diagonal[i] - x - (i > 0 ? a.square_off[i - 1] / pivot : 0);
    if (pivot == 0) pivot = std::numeric_limits<double>::min();
    count += pivot < 0 ? 1 : 0;
  }
  return count;
}

double second_eigenvalue(const Symmetric& a) {
  double low = 0, high = 2 * a.diagonal.maxCoeff();  // columns of -L* sum to zero: Gershgorin
  while (high - low > 2 * std::numeric_limits<double>::epsilon() * high) {
    const double middle = 0.5 * (low + high);
    if (!(low < middle && middle < high)) break;
    (count_below(a, middle) >= 2 ? high : low) = middle;
  }
  return 0.5 * (low + high);
}

/// (1 - e^{-z})/z.
double ramp(double z) { return std::abs(z) < 1e-8 ? 1 - 0.5 * z : -std::expm1(-z) / z; }

/// The suprema to the right of the median for beta Psi at equidistant points; index 0 of `energy` is the median's cell boundary.
struct Suprema {
  double plain = 0, lower = 0, upper = 0;
};
Suprema suprema(const Vector& energy, double width, double log_z) {
  const Index n = energy.size() - 1;
  // tail_i = int_{x_i}^{x_n} e^{-(E(y) - E_i)} dy and growth_i = int_{x_0}^{x_i} e^{E(y) - E_i} dy: neither overflows, and their product is T G.
  Vector tail = Vector::Zero(n + 1);
  for (Index i = n - 1; i >= 0; --i) {
    const double step = energy[i + 1] - energy[i];
    tail[i] = width * ramp(step) + tail[i + 1] * std::exp(-step);
  }
  Suprema out;
  double growth = 0;
  for (Index i = 1; i <= n; ++i) {
    const double step = energy[i] - energy[i - 1];
    growth = width * ramp(step) + growth * std::exp(-step);
    const double product = tail[i] * growth;
    if (!(product > 0)) continue;
    const double log_tail = std::log(tail[i]) - energy[i] - log_z;
    out.plain = std::max(out.plain, product);
    // log(1 + c/T) without overflow of 1/T.
    const auto grown = [&](double log_c) { return std::max(0.0, log_c - log_tail) + std::log1p(std::exp(-std::abs(log_c - log_tail))); };
    out.lower = std::max(out.lower, product * grown(-std::log(2.0)));
    out.upper = std::max(out.upper, product * grown(2.0));
  }
  return out;
}

void check_interval(std::string_view where, const Model& model, double lower, double upper) {
  if (model.dimension() != 1) throw DomainError(std::string(where) + ": the model must have dimension 1");
  check_finite(where, "lower end", lower);
  check_finite(where, "upper end", upper);
  if (!(lower < upper)) throw DomainError(fmt::format("{}: lower end {} must lie below upper end {}", where, lower, upper));
}

}  // namespace

template <class Step>
std::vector<Check> functional_inequalities(const Step& step, const std::vector<typename Step::Measure>& measures,
                                           const Minimiser<typename Step::Measure>& minimiser, const std::string& prefix) {
  const char* claims[3] = {"F - min F <= |dF|^2/(2 kappa)", "(kappa/2) W2^2(rho, pi) <= F - min F", "F - min F <= W2(rho, pi) |dF| - (kappa/2) W2^2(rho, pi)"};
  const std::string ids[3] = {prefix + "-log-sobolev", prefix + "-talagrand", prefix + "-hwi"};
  const char* sources[3] = {"theory.md d1", "theory.md d2", "theory.md d3"};
  if (measures.empty()) throw DomainError("functional_inequalities: there must be at least one measure");
  const auto convexity = convexity_of(step);
  if (!convexity || !(convexity->kappa > 0) || !is_success(minimiser.status)) {
    std::vector<Check> out;
    for (int i = 0; i < 3; ++i) out.push_back(inconclusive(ids[i], claims[i], sources[i], "no convexity constant kappa > 0 of the energy is known"));
    return out;
  }
  const double kappa = convexity->kappa;
  Worst worst[3];
  std::size_t instance = 0;
  for (const auto& rho : measures) {
    const Rounding r = rounding_at(step, rho);
    const double excess = step.energy_value(rho).total - minimiser.energy, gradient = slope_of(step, rho), distance = distance_between(rho, minimiser.measure);
    const double excess_error = minimiser.energy_error + 2 * r.energy, distance_error = minimiser.distance_error + r.distance;
    ++instance;
    worst[0].add(excess, gradient * gradient / (2 * kappa), excess_error + gradient * r.slope / kappa, instance);
    worst[1].add(0.5 * kappa * distance * distance, excess, excess_error + kappa * (distance + distance_error) * distance_error, instance);
    worst[2].add(excess, distance * gradient - 0.5 * kappa * distance * distance,
                 excess_error + distance * r.slope + (gradient + kappa * (distance + distance_error)) * distance_error, instance);
  }
  std::vector<Check> out;
  for (int i = 0; i < 3; ++i) {
    out.push_back(worst[i].check(ids[i], claims[i], sources[i], fmt::format("the minimiser's certificate and rounding; kappa = {:.4g} ({}{})", kappa, convexity->proven ? "" : "found numerically, not proven: ", convexity->reason)));
  }
  return out;
}

Bounded spectral_gap(const Model& model, double lower, double upper, Index cells) {
  check_interval("spectral_gap", model, lower, upper);
  check_at_least("spectral_gap", "cells", cells, 8);
  const Symmetric fine = symmetrised(FokkerPlanck(model, lower, upper, 2 * cells));
  const double coarse_value = second_eigenvalue(symmetrised(FokkerPlanck(model, lower, upper, cells))), value = second_eigenvalue(fine);
  return {value, std::abs(value - coarse_value) + 4 * std::numeric_limits<double>::epsilon() * fine.diagonal.maxCoeff()};
}

HardyBounds hardy_bounds(const Model& model, double lower, double upper, Index cells) {
  check_interval("hardy_bounds", model, lower, upper);
  check_at_least("hardy_bounds", "cells", cells, 8);
  const double width = (upper - lower) / static_cast<double>(cells);
  const Vector x = Vector::LinSpaced(cells + 1, lower, upper);
  const Vector energy = model.beta() * model.potential().evaluate({0, 0}, x.transpose(), model.theta()).row(0).transpose();
  check_finite("hardy_bounds", "the potential on the interval", energy);
  const double least = energy.minCoeff();
  Vector mass(cells);
  for (Index i = 0; i < cells; ++i) mass[i] = width * std::exp(least - energy[i]) * ramp(energy[i + 1] - energy[i]);
  const double total = mass.sum(), log_z = std::log(total) - least;
  // The cell boundary nearest the median: off by at most half a cell, which changes the bounds by O(width).
  Index median = 0;
  for (double below = 0; median < cells && below + 0.5 * mass[median] < 0.5 * total; ++median) below += mass[median];
  median = std::clamp<Index>(median, 1, cells - 1);
  const Suprema right = suprema(energy.tail(cells + 1 - median), width, log_z), left = suprema(energy.head(median + 1).reverse(), width, log_z);
  const double beta = model.beta();
  const double poincare = std::max(left.plain, right.plain), low = std::max(left.lower, right.lower), high = std::max(left.upper, right.upper);
  return {1 / (4 * beta * poincare), 2 / (beta * poincare), 1 / (2 * beta * high), 2 / (beta * low)};
}

double holley_stroock(double rate, double beta, double oscillation) {
  check_positive("holley_stroock", "rate", rate);
  check_positive("holley_stroock", "inverse temperature beta", beta);
  check_nonnegative("holley_stroock", "oscillation", oscillation);
  return rate * std::exp(-beta * oscillation);
}

double decay_factor(DecayAssumption assumption, double rate, double h) {
  check_nonnegative("decay_factor", "rate", rate);
  check_positive("decay_factor", "step size h", h);
  switch (assumption) {
    case DecayAssumption::log_sobolev: return 1 / (1 + rate * h);
    case DecayAssumption::log_sobolev_convex: return 1 / (1 + 2 * rate * h);
    case DecayAssumption::convex: break;
  }
  return 1 / ((1 + rate * h) * (1 + rate * h));
}

EntropyDecay entropy_decay(const Model& model, const std::function<double(double)>& start, double lower, double upper, Index cells, double t_end, int steps) {
  check_positive("entropy_decay", "final time", t_end);
  check_at_least("entropy_decay", "steps", steps, 1);
  FokkerPlanck solver(model, lower, upper, cells);
  const Vector pi = solver.stationary();
  Vector rho = solver.centres().unaryExpr(start);
  if (!rho.allFinite() || !(rho.minCoeff() >= 0) || !(rho.sum() > 0)) throw DomainError("entropy_decay: the start must be finite, not negative and not zero");
  rho /= rho.sum() * solver.width();
  EntropyDecay out{Vector(steps + 1), Vector(steps + 1), Vector(steps + 1)};
  for (int k = 0; k <= steps; ++k) {
    out.t[k] = t_end * k / steps;
    double entropy = 0, fisher = 0, before = 0;
    for (Index i = 0; i < cells; ++i) {
      const double ratio = rho[i] > 0 ? std::log(rho[i] / pi[i]) : 0;
      entropy += rho[i] > 0 ? rho[i] * ratio : 0;
      if (i > 0 && rho[i] > 0 && rho[i - 1] > 0) {
        // The logarithmic mean of rho between the cells is what makes d/dt KL = -FI/beta hold best; the ordinary mean is second order as well.
        fisher += 0.5 * (rho[i] + rho[i - 1]) * std::pow((ratio - before) / solver.width(), 2);
      }
      before = ratio;
    }
    out.relative_entropy[k] = entropy * solver.width();
    out.fisher_information[k] = fisher * solver.width();
    // Sub-steps of the second-order method: its error per unit time is then far below that of the cells.
    if (k < steps) rho = solver.advance(rho, t_end / steps / 8, 8);
  }
  return out;
}

template std::vector<Check> functional_inequalities<GaussianStep>(const GaussianStep&, const std::vector<Gaussian>&, const Minimiser<Gaussian>&, const std::string&);
template std::vector<Check> functional_inequalities<QuantileStep>(const QuantileStep&, const std::vector<QuantileFunction>&, const Minimiser<QuantileFunction>&, const std::string&);
template std::vector<Check> functional_inequalities<ParticleStep>(const ParticleStep&, const std::vector<Particles>&, const Minimiser<Particles>&, const std::string&);

}  // namespace jko::analysis
