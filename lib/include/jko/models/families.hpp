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

[[nodiscard]] std::vector<std::string> family_names();
/// "ou" (any dimension), "double-well", "quartic"; throws DomainError naming the nearest known name.
[[nodiscard]] PotentialPtr family(std::string_view name, int dimension = 1);

}  // namespace jko
