#pragma once
/// Closed forms for the one-dimensional Ornstein-Uhlenbeck process.
#include <jko/core/types.hpp>

namespace jko::estimators {

/// Exact maximum likelihood on an even grid (AR(1) regression); O(n) time, no allocation, for Monte-Carlo loops. ok = false where the
/// fitted autocorrelation is not in (0, 1): no OU process has it.
struct OuEstimate {
  double kappa = 0, mu = 0, beta = 0;
  bool ok = false;
};
[[nodiscard]] OuEstimate exact_ou_estimate(const ConstVectorRef& values, double dt);

/// Covariance of sqrt(n) (kappa, mu, beta) for the exact likelihood at fixed spacing dt (theory.md 3(e)).
[[nodiscard]] Matrix exact_ou_covariance(double kappa, double beta, double dt);

}  // namespace jko::estimators
