#pragma once
/// The limit law of offline statistical JKO (theory.md 2.2, Theorem OFF): one estimate, sqrt(n)(theta_n - theta) => Z ~ N(0, Sigma), in all steps.
#include <jko/analysis/limit_case.hpp>

namespace jko::analysis {

/// sqrt(n)(rho_t(theta_n) - rho_t) => V_t = sum_j (d rho_t/d parameter_j) Z_j, where
///   d_t V = L* V + div(rho_t grad(d_theta Psi . Z)) - beta^{-2} Z_beta Lap rho_t,  V_0 = 0,
/// is linear in Z: one solve a parameter gives the law for every Sigma. With h > 0 and sqrt(n) h -> r the limit is V_t + r eta_t, eta the
/// corrector of corrector.hpp.
struct OfflineLimit {
  Vector centres;
  double width = 0;
  Vector density;   ///< rho_t
  Matrix response;  ///< cells x P: d rho_t/d(theta, beta); each column has integral zero

  [[nodiscard]] Matrix pairing(const std::vector<Functional>& phi) const;  ///< functionals x P, midpoint rule
  /// Cov <phi_i, V_t><phi_j, V_t> = pairing Sigma pairing'.
  [[nodiscard]] Matrix covariance(const std::vector<Functional>& phi, const ConstMatrixRef& parameter_covariance) const;
  /// lim n E W2^2(rho_t(theta_n), rho_t) = E |V_t|^2 in H^{-1}(rho_t), in one dimension int (int_{-inf}^x V)^2/rho dx. Left out where rho_t is below
  /// 1e-13 of its maximum: there the ratio is rounding.
  [[nodiscard]] double expected_w2_squared(const ConstMatrixRef& parameter_covariance) const;
  /// lim 2 n E KL(rho_t(theta_n) | rho_t) = E int V_t^2/rho_t.
  [[nodiscard]] double expected_relative_entropy(const ConstMatrixRef& parameter_covariance) const;
};

/// Cost: steps x (P + 1) tridiagonal solves of `cells`. The columns are exact derivatives of the discrete density. Wrong choice when sensitivities of the
/// JKO flow itself at its finite h are wanted: Flow with Sensitivity::shared.
[[nodiscard]] OfflineLimit offline_limit(const LimitCase& c);

/// The same at t = infinity: V = -beta pi (d_theta Psi - E_pi d_theta Psi) . Z - pi (Psi - E_pi Psi) Z_beta; for JKO at ANY fixed h, since its fixed point is
/// pi exactly. Needs a confining potential. `density` is pi.
[[nodiscard]] OfflineLimit stationary_offline_limit(const Model& model, double lower, double upper, Index cells = 400);

}  // namespace jko::analysis
