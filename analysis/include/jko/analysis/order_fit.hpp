#pragma once
/// Observed orders of convergence.
#include <jko/core/types.hpp>

namespace jko::analysis {

/// Least-squares line log error = intercept + slope log h. The standard error comes from the scatter about the line; for deterministic
/// errors it measures how far the points are from a power law (higher-order terms), not sampling noise.
struct OrderFit {
  double slope = 0;
  double slope_error = 0;
  double intercept = 0;
};
/// At least three points, all positive.
[[nodiscard]] OrderFit fit_order(const ConstVectorRef& h, const ConstVectorRef& error);

}  // namespace jko::analysis
