#pragma once
/// The JKO step on grids by ascent of its dual, with a lower bound from the dual and an upper bound from a feasible density.
#include <jko/measures/grid_density.hpp>
#include <jko/steps/step_result.hpp>

#include <memory>

namespace jko {

struct BackAndForthStepOptions {
  /// Stops when int |rho_phi - q| dx <= tolerance: rho_phi the density of the potential phi, q the push-forward of the start (see below).
  double tolerance = 1e-6;
  int max_iterations = 200;  ///< of the ascent, >= 1
  double memory_limit = 16;  ///< GiB; larger grids (bytes_per_cell below) are refused
  int threads = 1;           ///< >= 1; the bits do not depend on it
  void validate() const;
};

/// What the last advance() knows beyond its StepResult. All bounds are for the discrete problem stated at BackAndForthStep.
struct BackAndForthReport {
  double dual_value = 0;     ///< D(phi): a lower bound of min J
  double primal_value = 0;   ///< J(q+): an upper bound of min J; q+ is q with wider weights where q < 0
  double l1_residual = 0;    ///< int |rho_phi - q| dx
  double l1_bound = 0;       ///< of int |rho_phi - exact| dx, from the gap and the convexity of F in rho; NaN without entropy or for m != 2
  double spread = 0;         ///< share of the mass that took wider weights in q+
  int evaluations = 0;       ///< of the dual and its gradient
  Vector potential;          ///< phi, a cell each: nearly the Kantorovich potential from the result to `from`, where the result is positive
};

/// Minimises J(rho) = F(rho) + W2^2(rho, mu)/(2h) for F with potential, entropy and porous medium (any sum of them with entropy or porous medium, m > 1) through
///
///   D(phi) = 1/h sum phi^c mu V + min over densities rho of [F(rho) + 1/h sum phi rho V]
///          = 1/h sum phi^c mu V + C - sum p(rho_phi) V,   rho_phi = (u')^{-1}(C - phi/h - Psi),  C such that the mass is 1, p = rho u' - u,
///
/// the dual of the back-and-forth method ([JacobsLeger2020], [JacobsLeeLeger2021]), which is concave with gradient (rho_phi - q)/h, q the push-forward of mu under
/// the minimisers of |x - y|^2/2 - phi(x). Two things differ from the published method. (1) phi is interpolated between the cells (cubic splines), so that
/// the push-forward needs no lattice map and the transport is accurate to third order in the width, not first. (2) The ascent runs in the metric of
/// rho_phi/u'' - h div(rho grad .), the Hessian at small displacements, with L-BFGS and backtracking on D, instead of a fixed H1 metric.
///
/// The discrete problem is min F(rho) + W_h(rho, mu)/h, W_h the cheapest split of the atoms mu over cells by the interpolation's weights
/// (lib/src/transport/interpolated_transform.hpp). For it, D(phi) <= min <= J(q+) and KL(exact | rho_phi) <= beta (J(q+) - D(phi)). The distance of W_h from
/// W2^2/2 is O(width^3) where the map is smooth; that of the minimisers is estimated by refinement. w2_bound applies b7's continuous statement to that gap, which is q+'s.
/// Without entropy the energy is continued evenly to negative rho and the discrete problem minimises over both signs (push-forwards are positive, so the
/// continuous problem is the same). The minimum over x in phi^c is exact where |x|^2/2 - phi is convex and searched within three cells of the lattice's elsewhere:
/// there (mass that recedes from a wall) D(phi) was seen to exceed the true dual by up to 1e-9.
///
/// The result is rho_phi, positive with entropy. Status iteration_limit or stalled where the tolerance is not met: the bounds hold all the same.
/// Cost: docs/methods/back_and_forth_step.md. Wrong choice for interactions, congestion and obstacles (refused), and for the linear Fokker-Planck
/// equation alone (reference/fokker_planck_grid.hpp).
class BackAndForthStep {
 public:
  using Measure = GridDensity;
  explicit BackAndForthStep(FreeEnergy energy, BackAndForthStepOptions options = {});

  [[nodiscard]] const FreeEnergy& energy() const { return energy_; }
  [[nodiscard]] const BackAndForthStepOptions& options() const { return options_; }
  /// What advance() holds at most: peak resident memory at 5e5 cells of 2-D and 4e5 of 3-D (473, 691; 1088 on a line of 1e6), and a tenth for the potential.
  [[nodiscard]] static double bytes_per_cell(int dimension);
  void set_parameters(const ConstVectorRef& parameters);
  [[nodiscard]] EnergyValue energy_value(const GridDensity& measure) const;
  /// h > 0. Throws for periodic grids, another dimension, and potentials that are not finite at the cell centres.
  [[nodiscard]] StepResult<GridDensity> advance(const GridDensity& from, double h);
  [[nodiscard]] const BackAndForthReport& report() const { return report_; }

 private:
  FreeEnergy energy_;
  BackAndForthStepOptions options_;
  BackAndForthReport report_;
};

}  // namespace jko
