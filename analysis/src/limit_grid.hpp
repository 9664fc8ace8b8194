#pragma once
/// Internal: the finite-volume Fokker-Planck equation with its derivatives in the parameters.
#include <jko/analysis/limit_case.hpp>
#include <jko/estimators/online.hpp>
#include <jko/reference/fokker_planck.hpp>

namespace jko::analysis {

/// The derivative of the Scharfetter-Gummel flux between neighbours of values rho, next at distance dx, D = (Psi_next - Psi)/c, c = 1/beta, along a change of the
/// potential's difference and of c.
[[nodiscard]] double flux_derivative(double rho, double next, double d, double potential_difference, double temperature, double dx);

/// The discrete L* depends on the parameters through the Scharfetter-Gummel flux J = -(c/dx) [B(-D) rho_{i+1} - B(D) rho_i], c = 1/beta,
/// D = (Psi_{i+1} - Psi_i)/c. Its derivative is taken of this flux, not of the continuous one: solutions are then exact derivatives of the
/// discrete density (to rounding), and -beta pi (d_theta Psi - E d_theta Psi) is exactly stationary.
class LimitGrid {
 public:
  explicit LimitGrid(const LimitCase& c);  ///< validates
  [[nodiscard]] FokkerPlanck& solver() { return solver_; }
  [[nodiscard]] const Vector& centres() const { return solver_.centres(); }
  [[nodiscard]] double width() const { return solver_.width(); }
  [[nodiscard]] Vector start() const;  ///< normalised
  /// (dL*/d(theta, beta)) rho, one column a parameter: div(rho grad d_theta Psi) and -beta^{-2} Lap rho.
  [[nodiscard]] Matrix forcing(const Vector& rho) const;
  /// (dL*) rho for a change of the potential (at the centres) and of 1/beta.
  [[nodiscard]] Vector forcing(const Vector& rho, const ConstVectorRef& potential, double temperature) const;
  /// One sdirk2 step of dt of rho and, with it, of d_t V = L* V + source(rho) (columns): the exact derivative of the step.
  void advance(Vector& rho, Matrix& v, double dt, const std::function<Matrix(const Vector&)>& source);

 private:
  const LimitCase& case_;
  FokkerPlanck solver_;
  Vector potential_;   // Psi at the centres
  Matrix gradient_;    // d_theta Psi at the centres, cells x p
};

/// Cov(X_k, X_l) of the means over time steps of dB/dt, or of B/t: E (B_s/s)(B_r/r) = 1/max(s, r), integrated exactly.
[[nodiscard]] double noise_covariance(estimators::OnlineData data, Index k, Index l, double dt);

[[nodiscard]] Vector at(const Functional& phi, const Vector& centres);
/// Functionals x cells, times the cell width: a row's product with a grid function is the midpoint rule.
[[nodiscard]] Matrix rows(const std::vector<Functional>& phi, const Vector& centres, double width);

}  // namespace jko::analysis
