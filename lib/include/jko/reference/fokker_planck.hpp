#pragma once
/// Finite volumes for the one-dimensional Fokker-Planck equation: what a JKO flow of a linear energy is judged by, and the cheaper choice
/// when only that equation is to be solved.
#include <jko/models/model.hpp>

#include <functional>

namespace jko {

enum class TimeStepping {
  implicit_euler,  ///< first order; keeps positivity for every step size
  sdirk2,          ///< second order, L-stable (gamma = 1 - 1/sqrt 2), two solves a step; positivity is not guaranteed for large steps
};

/// d_t rho = d_x(rho Psi') + beta^{-1} d_xx rho + f on [lower, upper] with no-flux walls, `cells` cells of equal width, by
/// Scharfetter-Gummel fluxes ([ScharfetterGummel1969]):
///   J_{i+1/2} = -(1/(beta dx)) [B(-D_i) rho_{i+1} - B(D_i) rho_i],  B(z) = z/(e^z - 1),  D_i = beta (Psi_{i+1} - Psi_i).
/// Second order in dx. Mass is conserved to rounding and exp(-beta Psi) at the cell centres is exactly stationary. Cost a solve: one
/// tridiagonal substitution with the factors kept while dt stays the same.
class FokkerPlanck {
 public:
  /// Throws DomainError unless the model is one-dimensional and Psi is finite at the cell centres.
  FokkerPlanck(const Model& model, double lower, double upper, Index cells);

  [[nodiscard]] const Vector& centres() const { return centres_; }
  [[nodiscard]] double width() const { return width_; }
  [[nodiscard]] Vector stationary() const;                    ///< exp(-beta Psi) with mass 1
  [[nodiscard]] Vector apply(const ConstVectorRef& density) const;  ///< the discrete L* rho
  /// Advances by `steps` steps of dt > 0. `source`, if given, is f(t) at the cell centres, evaluated at the stages, t from `time`.
  [[nodiscard]] Vector advance(Vector density, double dt, int steps, TimeStepping method = TimeStepping::sdirk2,
                               const std::function<Vector(double)>& source = {}, double time = 0);
  /// Solves (I - s L*) u = b in place.
  void resolve(double s, VectorRef b);

 private:
  Vector centres_, lower_, diagonal_, upper_;  // of L*
  Vector potential_;                           // beta Psi
  double width_ = 0;
  double factored_for_ = -1;
  Vector pivots_, factors_;
};

}  // namespace jko
