#include "jko_dual.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace jko {

JkoDual::JkoDual(const FreeEnergy& energy, const GridDensity& from, Vector linear, double step, int threads)
    : local(energy), grid(from.grid_ptr()), mu(from.values()), psi(std::move(linear)), h(step), volume(grid->cell_volume()), transform(grid, threads),
      preconditioner(grid, threads), particles(transform.particles(mu)) {}

double JkoDual::evaluate(const Vector& phi, Vector& gradient) {
  transform.transform(phi, phi_c);
  transform.deposit(particles, pushed);
  field = -phi / h - psi;
  set_density();
  double pressure = 0;
  for (const double r : density) pressure += local.pressure(r);
  gradient = density - pushed;
  return phi_c.dot(particles) + h * (constant / volume - pressure);
}

void JkoDual::metric(Vector& r) {
  weights = density.cwiseMax(pushed);
  // The metric need not be exact where next to nothing is: below 1e-30 of the largest density all cells count as that, which avoids overflow.
  const double floor = 1e-30 * weights.maxCoeff();
  Vector diagonal(weights.size());
  for (Index i = 0; i < weights.size(); ++i) {
    const double w = std::max(weights[i], floor);
    diagonal[i] = local.mobility(w) / h;
    weights[i] = w;
  }
  preconditioner.set(weights, std::move(diagonal));
  preconditioner.apply(r);
}

void JkoDual::set_density() {
  const double top = field.maxCoeff();
  if (local.coefficient == 0) {
    const double t = local.temperature;
    density = ((field.array() - top) / t).exp();
    const double total = density.sum() * volume;
    density /= total;
    constant = t * (1 - std::log(total)) - top;  // rho = exp((C + field)/T - 1)
    return;
  }
  // The mass increases with the constant. Bracket: the whole mass in one cell, or spread over all at the height of the lowest.
  const double box = volume * static_cast<double>(field.size());
  double lower = local.slope(1 / box) - top, upper = local.slope(1 / volume) - field.minCoeff();
  lower = std::min(lower, local.slope(1 / box) - top);
  if (!(constant > lower && constant < upper)) constant = lower;
  density.resize(field.size());
  // Rounding of a sum of N terms is about sqrt(N) epsilon.
  const double accuracy = 2 * std::numeric_limits<double>::epsilon() * std::sqrt(static_cast<double>(field.size()));
  for (int k = 0; k < 200; ++k) {
    double mass = 0, growth = 0;
    for (Index i = 0; i < field.size(); ++i) {
      density[i] = local.density(constant + field[i]);
      mass += density[i];
      growth += local.mobility(density[i]);
    }
    const double excess = mass * volume - 1;
    if (std::abs(excess) <= accuracy) break;
    (excess > 0 ? upper : lower) = constant;
    const double newton = constant - excess / (growth * volume);
    const double next = newton > lower && newton < upper ? newton : 0.5 * (lower + upper);
    if (next == constant) break;
    constant = next;
  }
}

JkoBounds jko_bounds(const JkoDual& dual, const Vector& phi, double value) {
  JkoBounds out;
  const double volume = dual.volume, nan = std::numeric_limits<double>::quiet_NaN();
  out.l1_residual = (dual.density - dual.pushed).cwiseAbs().sum() * volume;
  out.dual_value = value * volume / dual.h;
  out.transport = (dual.phi_c.dot(dual.particles) + phi.dot(dual.pushed)) * volume;
  Vector feasible = dual.pushed;
  double cost = out.transport;
  if (!dual.local.signed_densities() && feasible.minCoeff() < 0) {
    const auto plan = dual.transform.deposit_positive(dual.particles, feasible);
    cost = plan.cost * volume;
    out.spread = plan.spread;
  }
  const auto objective = [&](const Vector& density, double transport) {
    double local = 0;
    for (const double r : density) local += dual.local.value(r);
    return (local + dual.psi.dot(density)) * volume + transport / dual.h;
  };
  out.primal_value = objective(feasible, cost);
  out.positive = feasible;
  out.positive_value = out.primal_value;
  if (dual.local.signed_densities() && feasible.minCoeff() < 0) {
    cost = dual.transform.deposit_positive(dual.particles, out.positive).cost * volume;
    out.positive_value = objective(out.positive, cost);
  }
  out.gap = std::max(0.0, out.primal_value - out.dual_value);
  // J(exact) - D(phi) is at least the Bregman distance of F from rho_phi to exact. Entropy: KL/beta >= L1^2/(2 beta); m = 2: c ||.||_2^2 >= c L1^2/|box|.
  const double box = volume * static_cast<double>(dual.mu.size());
  out.strength = 0.5 * dual.local.temperature + (dual.local.coefficient > 0 && dual.local.exponent == 2 ? dual.local.coefficient / box : 0);

  // b7's eps: the gradient of u'(q+) - u'(rho_phi), which is that of the first variation plus phi/h, over faces with both sides positive.
  Vector mismatch(feasible.size());
  for (Index i = 0; i < mismatch.size(); ++i) {
    mismatch[i] = feasible[i] > 0 && dual.density[i] > 0 ? dual.local.slope(feasible[i]) - dual.local.slope(dual.density[i]) : nan;
  }
  double square = 0;
  Index stride = 1;
  for (int a = 0; a < dual.grid->dimension(); ++a) {
    const Index n = dual.grid->cells[static_cast<std::size_t>(a)];
    const double inverse = 1 / dual.grid->width(a);
    for (Index i = 0; i + stride < mismatch.size(); ++i) {
      if (i / stride % n + 1 == n) continue;
      const double slope = (mismatch[i + stride] - mismatch[i]) * inverse;
      if (!std::isnan(slope)) square += 0.5 * (feasible[i] + feasible[i + stride]) * slope * slope;
    }
    stride *= n;
  }
  out.slope = std::sqrt(square * volume);
  return out;
}

}  // namespace jko
