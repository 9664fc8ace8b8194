#include <jko/steps/back_and_forth_step.hpp>

#include <jko/core/check.hpp>
#include <jko/reference/fokker_planck_grid.hpp>

#include "certificate.hpp"
#include "jko_dual.hpp"

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

/// Start: the potential whose density is that of one step of implicit Euler, first order close to the minimiser, with the same support as far as
/// the grid sees it.
Vector first_potential(const JkoDual& dual, const FreeEnergy& energy, const GridDensity& from, int threads) {
  const auto euler = FokkerPlanckGrid(energy, dual.grid, {.tolerance = 1e-3, .threads = threads}).advance(from, dual.h, 1, GridStepping::implicit_euler);
  const Vector& rho = euler.measure.values();
  const double floor = std::numeric_limits<double>::min();
  Vector phi(rho.size());
  for (Index i = 0; i < rho.size(); ++i) phi[i] = -dual.h * (dual.psi[i] + dual.local.slope(std::max(rho[i], floor)));
  return phi;
}

}  // namespace

void BackAndForthStepOptions::validate() const {
  check_positive("back_and_forth_step", "tolerance", tolerance);
  check_at_least("back_and_forth_step", "max_iterations", max_iterations, 1);
  check_positive("back_and_forth_step", "memory_limit", memory_limit);
  check_at_least("back_and_forth_step", "threads", threads, 1);
}

double BackAndForthStep::bytes_per_cell(int dimension) { return dimension == 1 ? 1200 : dimension == 2 ? 550 : 750; }

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
  JkoDual dual(energy_, from, potential_on(energy_, from.grid()), h, options_.threads);
  const double volume = dual.volume;
  report_ = {};
  report_.potential = first_potential(dual, energy_, from, options_.threads);
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
  const JkoBounds bounds = jko_bounds(dual, report_.potential, ascent.value);
  report_.dual_value = bounds.dual_value;
  report_.primal_value = bounds.primal_value;
  report_.l1_residual = bounds.l1_residual;
  report_.l1_bound = bounds.l1_bound(bounds.gap);
  report_.spread = bounds.spread;
  out.gap = bounds.gap;
  out.residual = bounds.slope;
  certify_by_gap(out, h, energy_.convexity());
  out.w2_moved = std::sqrt(std::max(0.0, 2 * bounds.transport));
  Vector values = dual.density.cwiseMax(0.0);
  values /= values.sum() * volume;
  out.measure = GridDensity(dual.grid, std::move(values));
  out.energy = energy_value(out.measure);
  out.objective = out.energy.total + bounds.transport / h;
  return out;
}

}  // namespace jko
