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

/// The order in the asymptotic range, found automatically.
struct OrderRange {
  double order = 0;
  /// Half the width of an interval for the order: the sum of the 95 % interval of the regression (Student's t, so few points give wide intervals), of the order's
  /// change when the coarsest point is left out, of the effect of a next term (b h)^2 and of the largest effect that the given uncertainties can have.
  double half_width = 0;
  double next_term = 0;   ///< b in error = C h^p exp(b h): how far the range is from pure asymptotics
  double constant = 0;    ///< C
  Index first = 0, last = 0;  ///< the range, indices into h (both included)
};

/// Fits log error = log C + p log h + b h on every run of at least four consecutive step sizes and returns the run with the smallest half width: coarse
/// steps outside the asymptotic range and fine ones at a floor (rounding, a reference's error, a solver's tolerance) widen it and so fall out. h must decrease strictly;
/// errors must be positive. `uncertainty` (empty: none) bounds what each error is uncertain by; points where that exceeds a tenth of the error are not used, and
/// fewer than four usable consecutive points throw DomainError. As the best of many runs is chosen, take the interval as a guide, not as a confidence level.
[[nodiscard]] OrderRange fit_order_range(const ConstVectorRef& h, const ConstVectorRef& error, const ConstVectorRef& uncertainty = Vector());

}  // namespace jko::analysis
