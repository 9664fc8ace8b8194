#pragma once
/// The bounds of theory.md b7 (docs/methods/certificate.md) for a (1/h + kappa)-convex J, modulus = 1 + h kappa > 0.
#include <jko/steps/step_result.hpp>

#include <cmath>

namespace jko {

/// gap and w2_bound from the residual eps of the optimality condition: h eps^2/(2 modulus) and h eps/modulus.
inline void certify_by_residual(StepReport& report, double h, double modulus) {
  report.gap = h * report.residual * report.residual / (2 * modulus);
  report.w2_bound = h * report.residual / modulus;
}

/// w2_bound from the gap, where a constant is known and the modulus positive: sqrt(2 h gap/modulus).
inline void certify_by_gap(StepReport& report, double h, const std::optional<Convexity>& convexity) {
  if (convexity && 1 + h * convexity->kappa > 0) report.w2_bound = std::sqrt(2 * h * report.gap / (1 + h * convexity->kappa));
}

}  // namespace jko
