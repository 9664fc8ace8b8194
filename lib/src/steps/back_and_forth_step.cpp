#include <jko/steps/back_and_forth_step.hpp>

#include <jko/core/check.hpp>
#include <jko/reference/fokker_planck_grid.hpp>

#include "../energies/local_energy.hpp"
#include "../transport/dual_ascent.hpp"
#include "../transport/interpolated_transform.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace jko {
namespace {

Vector potential_on(const FreeEnergy& energy, const Grid& grid) {
  if (energy.dimension() != 0 && energy.dimension() != grid.dimension()) {
    throw ShapeError(fmt::format("back_and_forth_step: the energy has dimension {}, but the grid {}", energy.dimension(), grid.dimension()));
  }
  if (!energy.potential()) return Vector::Zero(grid.size());
  Vector psi = energy.potential()->potential->evaluate({0, 0}, grid.points(), energy.potential()->theta).row(0).transpose();
  check_finite("back_and_forth_step", "the potential at the cell centres", psi);
  return psi;
}

}  // namespace

void BackAndForthStepOptions::validate() const {
  check_positive("back_and_forth_step", "tolerance", tolerance);
  check_at_least("back_and_forth_step", "max_iterations", max_iterations, 1);
  check_positive("back_and_forth_step", "memory_limit", memory_limit);
  check_at_least("back_and_forth_step", "threads", threads, 1);
}

double BackAndForthStep::bytes_per_cell(int dimension) { return dimension == 1 ? 1200 : dimension == 2 ? 550 : 750; }

/// h/V times the dual, so that its gradient is rho_phi - q per cell.
class BackAndForthStep::Dual : public TransportDual {
 public:
  Dual(const FreeEnergy& energy, const GridDensity& from, double step, int threads)
      : local(energy), grid(from.grid_ptr()), mu(from.values()), psi(potential_on(energy, *grid)), h(step), volume(grid->cell_volume()),
        transform(grid, threads), preconditioner(grid, threads), particles(transform.particles(mu)) {}

  double evaluate(const Vector& phi, Vector& gradient) override {
    transform.transform(phi, phi_c);
    transform.deposit(particles, pushed);
    field = -phi / h - psi;
    set_density();
    double pressure = 0;
    for (const double r : density) pressure += local.pressure(r);
    gradient = density - pushed;
    return phi_c.dot(particles) + h * (constant / volume - pressure);
  }

  /// The minus Hessian at small displacements is (rho_phi/u'')/h - div(rho grad .); where the two densities differ the larger one says which cells are reached.
  void metric(Vector& r) override {
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

  /// Start: the potential whose density is that of one step of implicit Euler, first order close to the minimiser, with the same support as far as
  /// the grid sees it.
  [[nodiscard]] Vector first_potential(const FreeEnergy& energy, const GridDensity& from, int threads) const {
    const auto euler = FokkerPlanckGrid(energy, grid, {.tolerance = 1e-3, .threads = threads}).advance(from, h, 1, GridStepping::implicit_euler);
    const Vector& rho = euler.measure.values();
    const double floor = std::numeric_limits<double>::min();
    Vector phi(rho.size());
    for (Index i = 0; i < rho.size(); ++i) phi[i] = -h * (psi[i] + local.slope(std::max(rho[i], floor)));
    return phi;
  }

  LocalEnergy local;
  std::shared_ptr<const Grid> grid;
  Vector mu, psi;
  double h, volume;
  InterpolatedTransform transform;
  WeightedMetric preconditioner;
  Vector particles;
  Vector phi_c, pushed, field, density, weights;
  double constant = 0;

 private:
  /// density = (u')^{-1}(constant + field) of mass 1.
  void set_density() {
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
};

BackAndForthStep::BackAndForthStep(FreeEnergy energy, BackAndForthStepOptions options) : energy_(std::move(energy)), options_(options) {
  options_.validate();
  if (energy_.interaction()) throw DomainError("back_and_forth_step: an interaction is not local; the entropic step takes it");
  if (energy_.congestion()) throw DomainError("back_and_forth_step: congestion is not supported; the entropic step takes it");
  if (energy_.porous_medium() && energy_.porous_medium()->exponent < 1) {
    throw DomainError("back_and_forth_step: fast diffusion (m < 1) is not supported; the entropic step takes it");
  }
  if (!energy_.entropy() && !energy_.porous_medium()) throw DomainError("back_and_forth_step: the energy needs entropy or a porous-medium part");
}

void BackAndForthStep::set_parameters(const ConstVectorRef& parameters) { energy_.set_parameters(parameters); }

EnergyValue BackAndForthStep::energy_value(const GridDensity& measure) const {
  const double volume = measure.grid().cell_volume();
  EnergyValue out;
  const auto add = [&](const char* name, double value) {
    out.parts.emplace_back(name, value);
    out.total += value;
  };
  if (energy_.potential()) add("potential", potential_on(energy_, measure.grid()).dot(measure.values()) * volume);
  LocalEnergy local(energy_);
  if (energy_.entropy()) {
    double sum = 0;
    for (const double r : measure.values()) sum += r > 0 ? r * std::log(r) : 0;
    add("entropy", local.temperature * sum * volume);
  }
  if (energy_.porous_medium()) {
    double sum = 0;
    for (const double r : measure.values()) sum += r * local.power(r, local.exponent - 1);
    add("porous_medium", local.coefficient / (local.exponent - 1) * sum * volume);
  }
  return out;
}

StepResult<GridDensity> BackAndForthStep::advance(const GridDensity& from, double h) {
  check_positive("back_and_forth_step", "step size h", h);
  if (from.dimension() == 0) throw DomainError("back_and_forth_step: the start is empty");
  if (from.grid().boundary != Boundary::no_flux) throw DomainError("back_and_forth_step: the grid is periodic, but only no-flux walls are solved");
  const double cells = static_cast<double>(from.grid().size()), gib = bytes_per_cell(from.dimension()) * cells / std::ldexp(1.0, 30);
  if (gib > options_.memory_limit) throw DomainError(fmt::format("back_and_forth_step: {:.3g} cells would take about {:.1f} GiB, but memory_limit is {:g}", cells, gib, options_.memory_limit));
  Dual dual(energy_, from, h, options_.threads);
  const double volume = dual.volume;
  report_ = {};
  report_.potential = dual.first_potential(energy_, from, options_.threads);
  const DualAscentResult ascent = dual_ascent(dual, report_.potential, {options_.tolerance / volume, options_.max_iterations});

  StepResult<GridDensity> out;
  out.status = ascent.status;
  out.iterations = ascent.iterations;
  if (!dual.density.allFinite()) {
    out.status = Status::not_finite;
    out.measure = from;
    return out;
  }
  report_.evaluations = ascent.evaluations;
  report_.l1_residual = ascent.residual * volume;
  report_.dual_value = ascent.value * volume / h;
  const double transport = (dual.phi_c.dot(dual.particles) + report_.potential.dot(dual.pushed)) * volume;
  Vector feasible = dual.pushed;
  double cost = transport;
  if (!dual.local.signed_densities() && feasible.minCoeff() < 0) {
    const auto plan = dual.transform.deposit_positive(dual.particles, feasible);
    cost = plan.cost * volume;
    report_.spread = plan.spread;
  }
  double local = 0;
  for (const double r : feasible) local += dual.local.value(r);
  report_.primal_value = (local + dual.psi.dot(feasible)) * volume + cost / h;
  out.gap = std::max(0.0, report_.primal_value - report_.dual_value);  // below rounding of the two
  const double nan = std::numeric_limits<double>::quiet_NaN();
  // J(exact) - D(phi) is at least the Bregman distance of F from rho_phi to exact. Entropy: KL/beta >= L1^2/(2 beta); m = 2: c ||.||_2^2 >= c L1^2/|box|.
  const double box = volume * static_cast<double>(dual.mu.size());
  const double strength = 0.5 * dual.local.temperature + (dual.local.coefficient > 0 && dual.local.exponent == 2 ? dual.local.coefficient / box : 0);
  report_.l1_bound = strength > 0 ? std::sqrt(out.gap / strength) : nan;

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
  out.residual = std::sqrt(square * volume);
  if (const auto convexity = energy_.convexity(); convexity && 1 + h * convexity->kappa > 0) {
    out.w2_bound = std::sqrt(2 * h * out.gap / (1 + h * convexity->kappa));
  }
  out.w2_moved = std::sqrt(std::max(0.0, 2 * transport));
  Vector values = dual.density.cwiseMax(0.0);
  values /= values.sum() * volume;
  out.measure = GridDensity(dual.grid, std::move(values));
  out.energy = energy_value(out.measure);
  out.objective = out.energy.total + transport / h;
  return out;
}

}  // namespace jko
