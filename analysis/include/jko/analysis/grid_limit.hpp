#pragma once
/// Limit laws of statistical JKO for densities on boxes in one to three dimensions (theory.md 2.2, 2.3).
#include <jko/estimators/online.hpp>
#include <jko/measures/grid_density.hpp>
#include <jko/models/model.hpp>

#include <functional>
#include <vector>

namespace jko::analysis {

/// phi of a linear functional int phi rho dx: d x n points in, n values out.
using GridFunctional = std::function<Vector(const ConstMatrixRef&)>;

/// Offline: sqrt(n)(rho_t(theta_n) - rho_t) => response Z (offline_limit.hpp), with d_t V = L* V + div(rho_t grad d_theta Psi) and, for beta, -beta^{-2} Lap rho_t.
struct GridOfflineLimit {
  std::shared_ptr<const Grid> grid;
  Vector density;   ///< rho_t
  Matrix response;  ///< cells x P: d rho_t/d(theta, beta); each column has integral zero

  [[nodiscard]] Matrix pairing(const std::vector<GridFunctional>& phi) const;  ///< functionals x P, midpoint rule
  [[nodiscard]] Matrix covariance(const std::vector<GridFunctional>& phi, const ConstMatrixRef& parameter_covariance) const;
};

/// The forcing is the derivative of the Scharfetter-Gummel flux. By reference/fokker_planck_grid.hpp with implicit Euler split by axes at `steps` and 2 `steps` time steps, extrapolated:
/// second order in time and in the cell width. Cost: 2 P + 1 linear solves a step. No-flux walls. Wrong choice for Gaussians (OrnsteinUhlenbeck::sensitivity is a
/// closed form) and for the JKO flow's own sensitivities at finite h (Flow with Sensitivity::shared).
[[nodiscard]] GridOfflineLimit grid_offline_limit(const Model& model, const GridDensity& start, double t, int steps);

/// Online: (m/h)^{1/2} times the error tends to U_t (online_limit.hpp), whose law in the functionals phi needs, besides Sigma, only the gains
///   q_i(s) = int (P_{t-s} phi_i) div(rho_s grad d_theta Psi) dx:   Cov(<phi_i, U_t>, <phi_j, U_t>) = int_0^t q_i(s) Sigma q_j(s)' ds,
/// for accumulated data int int q_i(s) Sigma q_j(r)'/max(s, r) ds dr. int q ds is the offline response's pairing.
struct GridOnlineLimit {
  double t = 0;
  std::vector<Matrix> coarse, fine;  ///< q at the times k t/steps and k t/(2 steps), k = 0, 1, ...: functionals x P

  /// Extrapolated from the two.
  [[nodiscard]] Matrix covariance(const ConstMatrixRef& parameter_covariance, estimators::OnlineData data = estimators::OnlineData::fresh) const;
  [[nodiscard]] Matrix pairing() const;  ///< int q ds
};

/// One backward solve a functional, through the detailed balance P_s phi = pi^{-1} e^{s L*}(pi phi), which the discrete equation has; second order as above. Throws DomainError where pi
/// underflows in the box: choose a smaller one. Memory: cells x P x 2 steps numbers.
[[nodiscard]] GridOnlineLimit grid_online_limit(const Model& model, const GridDensity& start, double t, int steps, const std::vector<GridFunctional>& phi);

}  // namespace jko::analysis
