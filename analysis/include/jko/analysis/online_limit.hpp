#pragma once
/// The limit law of online statistical JKO (theory.md 2.3, Theorem ON): a fresh batch of m observations in every step of size h.
#include <jko/analysis/limit_case.hpp>
#include <jko/estimators/online.hpp>
#include <jko/measures/gaussian.hpp>

#include <cstdint>

namespace jko::analysis {

/// (m/h)^{1/2}(rho^{h,m} - rho_t) => U_t as h -> 0, m -> infinity, mh -> 0, for batch estimates with sqrt(m)(theta_m - theta) => N(0, Sigma) whose bias is
/// o((h/m)^{1/2}) (regimes.hpp says what happens otherwise):
///   fresh        dU = L* U dt + div(rho_t grad d_theta Psi)' Sigma^{1/2} dB_t,  U_0 = 0
///   accumulated  d_t U = L* U + div(rho_t grad d_theta Psi)' Sigma^{1/2} B_t/t   (the estimate of step k uses all k batches)
/// The discretised equation is U_K = sum_k G_k X_k: G_k the response at t to the noise of time step k, X_k the mean over that time step of dB/dt or B/t.
/// So the covariance solves the Lyapunov recursion Gamma' = R Gamma R' + g g' of the discretised system, in factored form and for every Sigma at once.
struct OnlineLimit {
  Vector centres;
  double width = 0;
  Vector density;   ///< rho_t
  double dt = 0;
  Index parameters = 0;
  Matrix response;  ///< cells x (steps * parameters), the blocks G_1, ..., G_K

  [[nodiscard]] Matrix covariance(const std::vector<Functional>& phi, const ConstMatrixRef& parameter_covariance,
                                  estimators::OnlineData data = estimators::OnlineData::fresh) const;
};

/// Second order in the cell width and the time step. Cost: steps^2 P/2 tridiagonal solves of `cells`.
[[nodiscard]] OnlineLimit online_limit(const LimitCase& c);

struct SpdeOptions {
  int replications = 1000;  ///< >= 1
  std::uint64_t seed = 1;
  int threads = 1;          ///< the numbers do not depend on it
};
/// Draws of <phi_i, U_t> (fresh batches) by stepping the stochastic PDE itself: functionals x replications. Weak order two in the time step.
[[nodiscard]] Matrix simulate_online_limit(const LimitCase& c, const ConstMatrixRef& parameter_covariance, const std::vector<Functional>& phi,
                                           const SpdeOptions& options = {});

/// Gaussians in any dimension, in the coordinates (mean, vec covariance): the same law of (U_m, vec U_Sigma),
///   dU_m = -K U_m dt + [K dmu - dK (m_t - mu)],  dU_S = -(K U_S + U_S K) dt - [dK Sigma_t + Sigma_t dK + 2 beta^{-2} dbeta I],
/// [..] along the noise of the parameters. The Lyapunov equation is solved by its Duhamel integral with composite Gauss-Legendre rules, doubled until they
/// agree to 1e-11 of the largest entry. Throws DomainError unless the potential is quadratic.
[[nodiscard]] Matrix gaussian_online_limit(const Model& model, const Gaussian& start, double t, const ConstMatrixRef& parameter_covariance,
                                           estimators::OnlineData data = estimators::OnlineData::fresh);

/// Exactly at finite h, one-dimensional Ornstein-Uhlenbeck, fresh estimates of mu with variance tau2/m:
/// (m/h) Var m_k = kappa tau2 [1 - (1 + h kappa)^{-2k}]/(2 + h kappa).
[[nodiscard]] double online_mean_variance(double kappa, double tau2, double h, int k);

}  // namespace jko::analysis
