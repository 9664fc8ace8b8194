#pragma once
/// Named families of potentials.
#include <jko/models/potential.hpp>

#include <string_view>

namespace jko {

/// Psi = kappa/2 (x - mu)^2; parameters kappa > 0, mu. Convexity kappa.
[[nodiscard]] PotentialPtr ornstein_uhlenbeck();
/// Psi = (x - mu)' K (x - mu)/2 on R^d; parameters k_1_1, k_2_1, k_2_2, ... (the lower triangle of K, by rows), mu_1, ..., mu_d.
/// Convexity lambda_min(K), which may be negative.
[[nodiscard]] PotentialPtr ornstein_uhlenbeck(int dimension);
/// Psi = a/4 x^4 - b/2 x^2 + c x; parameters a > 0, b, c. Convexity -b.
[[nodiscard]] PotentialPtr double_well();
/// Psi = c1 x + c2/2 x^2 + c3/3 x^3 + c4/4 x^4, so the drift is -(c1 + c2 x + c3 x^2 + c4 x^3). Confining only for c4 > 0.
[[nodiscard]] PotentialPtr quartic();
/// Psi = kappa/2 (x - mu)^2 + a cos(omega (x - mu)). Convexity kappa - |a| omega^2; confining for kappa > 0.
[[nodiscard]] PotentialPtr quadratic_cosine();
/// Psi = -log(w N(x; m1, s1^2) + (1-w) N(x; m2, s2^2)); parameters w in (0, 1), m1, s1 > 0, m2, s2 > 0. The stationary law is that mixture for
/// beta = 1 only. Convexity 1/s^2 - (m1-m2)^2/(4 s^4) where s1 = s2 = s, otherwise none is stated. The labels of the two components are
/// exchangeable: estimates are identified up to that exchange.
[[nodiscard]] PotentialPtr gaussian_mixture();
/// Psi = (nu+1)/2 log(1 + (x-mu)^2/(nu s^2)); parameters nu > 0, mu, s > 0. For beta = 1 the stationary law is Student's t with nu degrees of freedom.
/// Convexity -(nu+1)/(8 nu s^2). Confining too weakly for exponential convergence: the spectral gap is zero.
[[nodiscard]] PotentialPtr student_well();

[[nodiscard]] std::vector<std::string> family_names();
/// "ou" (any dimension), "double-well", "quartic", "quadratic-cosine", "gaussian-mixture", "student-well"; throws DomainError naming the nearest known name.
[[nodiscard]] PotentialPtr family(std::string_view name, int dimension = 1);

}  // namespace jko
