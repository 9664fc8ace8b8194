#include <jko/analysis/corrector.hpp>

#include <jko/core/check.hpp>
#include <jko/reference/fokker_planck.hpp>
#include <jko/reference/fokker_planck_grid.hpp>

#include "grid_linear.hpp"

#include <cmath>

namespace jko::analysis {
namespace {

/// -(1/4) d_x(rho d_x zeta) at the cell centres, no flux at the walls.
Vector source(const FokkerPlanck& solver, const Vector& psi, double beta, const Vector& rho) {
  const Index n = rho.size();
  const double width = solver.width(), floor = 1e-13 * rho.maxCoeff();
  const Vector rate = solver.apply(rho);
  Vector mu(n), zeta = Vector::Zero(n);
  for (Index i = 0; i < n; ++i) mu[i] = psi[i] + std::log(std::max(rho[i], 1e-300)) / beta;
  const auto solid = [&](Index i) { return rho[i] > floor; };
  for (Index i = 1; i + 1 < n; ++i) {
    if (!(solid(i - 1) && solid(i) && solid(i + 1))) continue;
    const double slope = (mu[i + 1] - mu[i - 1]) / (2 * width);
    zeta[i] = slope * slope - 2 / beta * rate[i] / rho[i];
  }
  Vector out = Vector::Zero(n);
  for (Index i = 1; i + 2 < n; ++i) {
    if (!(solid(i - 1) && solid(i) && solid(i + 1) && solid(i + 2))) continue;
    const double flux = 0.25 * 0.5 * (rho[i] + rho[i + 1]) * (zeta[i + 1] - zeta[i]) / width;
    out[i] -= flux / width;
    out[i + 1] += flux / width;
  }
  return out;
}

/// -(1/4) div(rho grad zeta) at the cell centres of a box.
Vector source(const FokkerPlanckGrid& solver, const Grid& grid, const Vector& psi, double beta, const Vector& rho) {
  const Index n = rho.size();
  const double floor = 1e-13 * rho.maxCoeff();
  const Vector rate = solver.apply(rho);
  const Vector mu = psi.array() + rho.array().max(1e-300).log() / beta;
  Eigen::Array<bool, Eigen::Dynamic, 1> good = rho.array() > floor, inner = good;
  Vector zeta = -2 / beta * rate.cwiseQuotient(rho.cwiseMax(1e-300));
  for (int axis = 0; axis < grid.dimension(); ++axis) {
    Vector below = Vector::Constant(n, std::nan("")), above = below;
    for_neighbours(grid, axis, [&](Index i, Index j) {
      if (good[i]) below[j] = mu[i];
      if (good[j]) above[i] = mu[j];
    });
    const double width = grid.width(axis);
    for (Index i = 0; i < n; ++i) {
      const double slope = (above[i] - below[i]) / (2 * width);
      if (std::isfinite(slope)) zeta[i] += slope * slope;
      else inner[i] = false;  // a wall, or a neighbour whose logarithm is rounding
    }
  }
  Vector out = Vector::Zero(n);
  for (int axis = 0; axis < grid.dimension(); ++axis) {
    const double width = grid.width(axis);
    for_neighbours(grid, axis, [&](Index i, Index j) {
      if (!(inner[i] && inner[j])) return;
      const double flux = 0.25 * 0.5 * (rho[i] + rho[j]) * (zeta[j] - zeta[i]) / width;
      out[i] -= flux / width;
      out[j] += flux / width;
    });
  }
  return out;
}

GridCorrector corrected(const Model& model, const GridDensity& start, double t, int steps) {
  FokkerPlanckGrid solver(FreeEnergy(model), start.grid_ptr());
  const Grid& grid = start.grid();
  const Vector psi = model.potential().evaluate({0, 0}, grid.points(), model.theta()).row(0).transpose();
  check_finite("first_order_corrector", "the potential at the cell centres", psi);
  GridDensity rho = start;
  Vector eta = Vector::Zero(grid.size());
  const double dt = t / steps;
  for (int k = 0; k < steps; ++k) {
    eta = advance_signed(solver, rho, eta + dt * source(solver, grid, psi, model.beta(), rho.values()), dt);
    rho = solver.advance(rho, dt, 1, GridStepping::implicit_euler).measure;
  }
  return {start.grid_ptr(), rho.values(), std::move(eta)};
}

}  // namespace

double GridCorrector::pairing(const std::function<Vector(const ConstMatrixRef&)>& phi) const { return phi(grid->points()).dot(eta) * grid->cell_volume(); }

GridCorrector first_order_corrector(const Model& model, const GridDensity& start, double t, int steps) {
  check_positive("first_order_corrector", "time t", t);
  check_at_least("first_order_corrector", "steps", steps, 1);
  check_size("first_order_corrector", "the start's dimension", start.dimension(), model.dimension());
  const GridCorrector coarse = corrected(model, start, t, steps);
  GridCorrector out = corrected(model, start, t, 2 * steps);
  out.density = 2 * out.density - coarse.density;
  out.eta = 2 * out.eta - coarse.eta;
  return out;
}

double Corrector::pairing(const std::function<double(double)>& phi) const {
  double sum = 0;
  for (Index i = 0; i < eta.size(); ++i) sum += phi(centres[i]) * eta[i] * width;
  return sum;
}

Corrector first_order_corrector(const Model& model, const std::function<double(double)>& start, double lower, double upper, Index cells, double t, int steps) {
  check_positive("first_order_corrector", "time t", t);
  check_at_least("first_order_corrector", "steps", steps, 1);
  FokkerPlanck solver(model, lower, upper, cells);
  const Vector psi = model.potential().evaluate({0, 0}, solver.centres().transpose(), model.theta()).row(0).transpose();
  Corrector out;
  out.centres = solver.centres();
  out.width = solver.width();
  out.density = out.centres.unaryExpr(start);
  if (!out.density.allFinite() || !(out.density.minCoeff() >= 0) || !(out.density.sum() > 0)) {
    throw DomainError("first_order_corrector: the start must be finite, not negative and not zero");
  }
  out.density /= out.density.sum() * out.width;
  out.eta = Vector::Zero(cells);
  const double dt = t / steps;
  Vector force = source(solver, psi, model.beta(), out.density);
  for (int k = 0; k < steps; ++k) {
    // Duhamel's integral over the step by the trapezoidal rule.
    out.density = solver.advance(out.density, dt, 1);
    out.eta = solver.advance(out.eta + 0.5 * dt * force, dt, 1);
    force = source(solver, psi, model.beta(), out.density);
    out.eta += 0.5 * dt * force;
  }
  return out;
}

}  // namespace jko::analysis
