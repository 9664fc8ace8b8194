#pragma once
/// The finite-volume JKO step on grids: implicit, upwinded, with the transport distance linearised at the result.
#include <jko/energies/free_energy.hpp>
#include <jko/measures/grid_density.hpp>
#include <jko/steps/step_result.hpp>

#include <memory>

namespace jko {

struct FiniteVolumeStepOptions {
  /// Stops when int |from - balance(rho_phi)| dx <= tolerance (see below), which bounds int |rho_phi - result| dx.
  double tolerance = 1e-9;
  int max_iterations = 100;  ///< Newton iterations, >= 1
  int threads = 1;           ///< >= 1, of the preconditioner; the bits do not depend on it
  void validate() const;
};

/// What the last advance() knows beyond its StepResult.
struct FiniteVolumeReport {
  double dual_value = 0;       ///< D(phi): a lower bound of min J
  double primal_value = 0;     ///< J(result): an upper bound
  double l1_residual = 0;      ///< int |from - balance(rho_phi)| dx
  double l1_bound = 0;         ///< of int |result - exact minimiser| dx, from the gap and the convexity of F in rho; NaN without entropy or m = 2
  int products = 0;            ///< of the Hessian, in conjugate gradients
  Vector potential;            ///< phi
};

/// Minimises over densities rho >= 0 and upwinded flows of mass between neighbours K, L (dx their distance, V the volume of a cell)
///
///   J = F(rho) + h/2 sum over faces of V rho_up ((phi_K - phi_L)/dx)^2,   rho_up the value on the side of the larger phi,
///   (rho_K - from_K)/h + sum_L (rho_K (phi_K - phi_L)^+ - rho_L (phi_L - phi_K)^+)/dx^2 = 0,
///
/// F with potential (obstacles too), entropy, porous medium m > 1: the linearised JKO scheme of [CancesGallouetTodeschi2020], in which W2^2/(2h) is replaced by the
/// weighted H^{-1} norm of rho - from at the weight rho itself. One Newton method solves its smooth concave dual
///
///   D(phi) = V sum_K [from_K phi_K - u*(phi_K + h/2 sum_L ((phi_K - phi_L)^+/dx)^2 - Psi_K)],   rho_phi = (u*)'(...),
///
/// by conjugate gradients, preconditioned axis by axis. The result is the density that phi's flow makes of `from`: solved cell by cell in the order of falling phi, it is positive, keeps the mass to rounding and is feasible, so that
/// D(phi) <= min J <= J(result) whatever the status; gap is their difference.
///
/// **This is not the exact JKO minimiser**: it differs from it by O(h^2) in a step of smooth positive solutions, and by O(dx) of upwinding (numerical
/// diffusion |grad phi| dx/2). It keeps what matters of the scheme: energy descent, positivity, mass, and exp(-beta Psi) as exact equilibrium. w2_bound is NaN; w2_moved is
/// h times the square root of sum V rho_up ((phi_K - phi_L)/dx)^2, the linearised distance. Residual: l1_residual.
/// Cost: 2 to 16 Newton iterations; a product with its preconditioner 25 ns a cell, a factorisation 1 to 9 us a cell at 256^2 (docs/methods/finite_volume_step.md). Wrong choice where the exact step or second order in the width
/// matters (back_and_forth_step.hpp, entropic_step.hpp), for interactions, congestion and fast diffusion (refused), and for the linear Fokker-Planck equation alone (reference/fokker_planck_grid.hpp).
class FiniteVolumeStep {
 public:
  using Measure = GridDensity;
  explicit FiniteVolumeStep(FreeEnergy energy, FiniteVolumeStepOptions options = {});

  [[nodiscard]] const FreeEnergy& energy() const { return energy_; }
  [[nodiscard]] const FiniteVolumeStepOptions& options() const { return options_; }
  void set_parameters(const ConstVectorRef& parameters) { energy_.set_parameters(parameters); }
  [[nodiscard]] EnergyValue energy_value(const GridDensity& measure) const;
  /// h > 0, time. Throws DomainError where `from` has mass on an obstacle.
  [[nodiscard]] StepResult<GridDensity> advance(const GridDensity& from, double h);
  /// Columns d(result) of the last advance() for columns of d(from) and d(parameters), by conjugate gradients to 1e-10; an empty matrix is zero.
  [[nodiscard]] Matrix tangent(const ConstMatrixRef& from_tangent, const ConstMatrixRef& parameter_tangent) const;
  [[nodiscard]] const FiniteVolumeReport& report() const { return report_; }

 private:
  class Dual;
  FreeEnergy energy_;
  FiniteVolumeStepOptions options_;
  FiniteVolumeReport report_;
  std::shared_ptr<Dual> dual_;  // of the last advance()
};

}  // namespace jko
