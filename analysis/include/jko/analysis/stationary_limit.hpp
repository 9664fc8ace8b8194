#pragma once
/// Limit laws of statistical JKO at t = infinity, in the eigenfunctions of the generator (theory.md 2.4, 2.5).
#include <jko/analysis/limit_case.hpp>

namespace jko::analysis {

/// L phi_j = -lambda_j phi_j for L = beta^{-1} d_xx - Psi' d_x, phi_j orthonormal in L2(pi), 0 = lambda_0 < lambda_1 <= ...: those of the
/// finite-volume generator, whose symmetric form is tridiagonal. Eigenvalues are second order in the cell width.
struct Spectrum {
  Vector centres;
  double width = 0;
  Vector stationary;     ///< pi at the centres
  Vector eigenvalues;    ///< count
  Matrix eigenfunctions; ///< cells x count
};
/// Cost O(cells^3) (all eigenvectors). 1 <= count <= cells. Needs a confining potential; walls that cut off mass change the answer. Throws DomainError where
/// pi underflows to zero in the box: choose a smaller one.
[[nodiscard]] Spectrum generator_spectrum(const Model& model, double lower, double upper, Index cells, Index count);

/// The laws' covariances in the coordinates <phi_j, .>, j = 1, ..., count.
struct StationaryLimit {
  Vector rates;             ///< lambda_1, ..., lambda_count
  Matrix coefficients;      ///< count x P: <phi_j, d pi/d parameter>
  Matrix offline;           ///< Gamma_off = coefficients Sigma coefficients': sqrt(n)(pi_{theta_n} - pi)
  Matrix online;            ///< Gamma_on_ij = lambda_i lambda_j/(lambda_i + lambda_j) Gamma_off_ij: (m/h)^{1/2}(rho^{h,m}_infinity - pi)
  /// lim (m/h)(E F(rho_infinity) - F(pi)) = tr(Sigma E_pi[grad psi' grad psi])/4, psi = (d_theta Psi, Psi/beta): what learning online costs.
  double free_energy_cost = 0;
  /// lim (m/h) E |dF|^2(rho_infinity) = (beta/2) tr(Sigma E_pi[L psi' L psi]).
  double slope_cost = 0;
  /// lim n (E F(pi_{theta_n}) - F(pi)) = (beta/2) tr(Sigma Cov_pi(psi)).
  double offline_free_energy_cost = 0;
};
/// The two costs are sums over all modes of the box, (2 beta)^{-1} sum Gamma_on_jj and beta^{-1} sum lambda_j Gamma_on_jj.
[[nodiscard]] StationaryLimit stationary_limit(const Model& model, const ConstMatrixRef& parameter_covariance, double lower, double upper, Index cells = 400,
                                               Index count = 4);

/// Fisher information of theta (beta known) in one independent draw of pi: beta^2 Cov_pi(d_theta Psi), p x p.
[[nodiscard]] Matrix stationary_information(const Model& model, double lower, double upper, Index cells = 400);

}  // namespace jko::analysis
