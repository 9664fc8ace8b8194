#pragma once
/// How fine must a numerical likelihood's discretisation be?
#include <cmath>
#include <limits>

namespace jko::estimators {

inline constexpr double numerical_tolerance = 1e-6;  // of the log-likelihood
inline constexpr int most_refinements = 6;

struct Refinement {
  int level = 0;
  double error = std::numeric_limits<double>::infinity();
};

/// The coarsest level from `level` on whose log-likelihood agrees with the next one's; log_likelihood(level).
template <class F>
Refinement refine(const F& log_likelihood, int level) {
  double before = log_likelihood(level);
  Refinement out{level, std::numeric_limits<double>::infinity()};
  for (; level < most_refinements; ++level) {
    const double after = log_likelihood(level + 1);
    const double error = std::abs(after - before);
    // An error that no longer falls is rounding in unlikely terms, or a singular coefficient: a finer level does not help.
    if (std::isfinite(out.error) && error > 0.25 * out.error) return out;
    if (std::isfinite(error)) out = {level + 1, error};
    if (error <= numerical_tolerance) return out;
    before = after;
  }
  return out;
}

}  // namespace jko::estimators
