#pragma once
/// Closed forms of the Ornstein-Uhlenbeck process in d dimensions: what Gaussian JKO flows and their sensitivities tend to.
#include <jko/measures/gaussian.hpp>
#include <jko/models/model.hpp>

namespace jko {

/// dX = -K(X - mu) dt + sqrt(2/beta) dW with K symmetric (not necessarily positive, nor commuting with the start's covariance).
/// Vectors are in the coordinates (mean, vec covariance) of Gaussian.
class OrnsteinUhlenbeck {
 public:
  explicit OrnsteinUhlenbeck(const Model& model);  ///< throws DomainError unless the potential is quadratic

  /// The law at time t >= 0: mu + e^{-Kt}(m - mu), e^{-Kt} Sigma e^{-Kt} + int_0^t e^{-2Ks} ds 2/beta.
  [[nodiscard]] Gaussian law(const Gaussian& start, double t) const;
  /// N(mu, (beta K)^{-1}); throws DomainError unless K is positive definite.
  [[nodiscard]] Gaussian stationary() const;
  /// First-order corrector of the JKO scheme, lim (rho^h - rho)/h at fixed t (theory.md 2.1): eta_m = t K^2 e^{-Kt}(m - mu)/2 and
  /// N' = -KN - NK + (C Sigma + Sigma C)/2, C = B^2 - (Sigma^{-1} B + B Sigma^{-1})/beta, B = -K + Sigma^{-1}/beta, N(0) = 0. The integral is
  /// by composite Gauss-Legendre rules, doubled until they agree to 1e-12.
  [[nodiscard]] Vector corrector(const Gaussian& start, double t) const;
  /// d law/d(theta, beta), one column a parameter (theory.md 2.2: the matrix J(t)); the integrals as in corrector().
  [[nodiscard]] Matrix sensitivity(const Gaussian& start, double t) const;

 private:
  [[nodiscard]] Matrix flow(double t) const;  // e^{-Kt}

  Model model_;
  Matrix k_;
  Vector mu_;
  double beta_;
  Matrix vectors_;
  Vector values_;  // eigensystem of K
};

}  // namespace jko
