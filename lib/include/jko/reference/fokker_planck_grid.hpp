#pragma once
/// Finite volumes for Fokker-Planck equations, linear and nonlinear, on boxes in one to three dimensions: what grid JKO flows are judged by, and
/// the cheaper choice when only the equation is to be solved.
#include <jko/core/status.hpp>
#include <jko/energies/free_energy.hpp>
#include <jko/measures/grid_density.hpp>

#include <memory>

namespace jko {

enum class GridStepping {
  implicit_euler,  ///< one implicit solve an axis, in turn: first order, positive for every step size
  second_order,    ///< Crank-Nicolson split by axes (Peaceman-Rachford in 2-D, Strang in 3-D); nonlinear: with the rates at an implicit Euler midpoint.
                   ///< Not positive for every step size and slow to damp rough data: begin with a few implicit Euler steps there
};

struct FokkerPlanckGridOptions {
  /// A second-order result (linear: of all the steps; nonlinear: of each) counts while int rho^- dx <= negative_mass; its negative cells become 0 and
  /// the mass 1 again. Above: Status::order_lost.
  double negative_mass = 1e-10;
  /// Nonlinear: a step's iteration stops when int |rho^{j+1} - rho^j| dx <= tolerance.
  double tolerance = 1e-10;
  int max_iterations = 100;  ///< nonlinear: of one step, >= 1
  int threads = 1;           ///< >= 1; the bits do not depend on it
  void validate() const;
};

struct FokkerPlanckGridResult {
  Status status = Status::not_run;  ///< converged; order_lost (negative), iteration_limit (nonlinear); then `measure` is the last good one: linear, the start
  GridDensity measure;
  int steps = 0;              ///< finished
  int iterations = 0;         ///< nonlinear: of all steps
  double residual = 0;        ///< nonlinear: the largest int |rho^{j+1} - rho^j| dx at the end of a step
  double negative_mass = 0;   ///< the largest int rho^- dx that was cut off
};

/// d_t rho = div(rho grad(Psi + W * rho)) + Lap p(rho), p(rho) = beta^{-1} rho + c rho^m, with no-flux walls: the gradient flow of the free energy with
/// the parts potential, entropy, porous medium and interaction. Between neighbours the flux is that of Scharfetter and Gummel
/// ([ScharfetterGummel1969]) at the temperature T = (p(b) - p(a))/(b - a) of the two values ([BessemoulinChatard2012] has a near relative):
///   J = -(T/dx) [B(-D/T) rho_{i+1} - B(D/T) rho_i],  B(z) = z/(e^z - 1),  D = (Psi + W * rho)_{i+1} - (Psi + W * rho)_i.
/// Second order in dx where T > 0; where T = 0 it is the upwind flux, first order. Every implicit solve conserves mass and positivity. The linear
/// equation keeps exp(-beta Psi) at the cell centres exactly stationary. Psi = +inf closes a cell (an obstacle).
///
/// Cost: linear, two tridiagonal solves a step in 2-D with kept factors (docs/methods/fokker_planck_grid.md has the nanoseconds); nonlinear, an
/// assembly and a solve an iteration, and a convolution for W. For a linear energy this is always cheaper than a JKO step.
class FokkerPlanckGrid {
 public:
  /// Throws DomainError for a periodic grid, a dimension that differs, Psi = -inf or NaN, or an energy without parts.
  FokkerPlanckGrid(FreeEnergy energy, std::shared_ptr<const Grid> grid, FokkerPlanckGridOptions options = {});
  ~FokkerPlanckGrid();
  FokkerPlanckGrid(FokkerPlanckGrid&&) noexcept;
  FokkerPlanckGrid& operator=(FokkerPlanckGrid&&) noexcept;

  /// exp(-beta Psi) with mass 1. DomainError for nonlinear energies.
  [[nodiscard]] GridDensity stationary() const;
  /// The right-hand side at a density (any values).
  [[nodiscard]] Vector apply(const ConstVectorRef& density) const;
  /// dt > 0, steps >= 0. Throws where the density's grid differs or it has mass on an obstacle.
  [[nodiscard]] FokkerPlanckGridResult advance(const GridDensity& density, double dt, int steps, GridStepping method = GridStepping::second_order);

 private:
  class Work;
  std::unique_ptr<Work> work_;
};

}  // namespace jko
