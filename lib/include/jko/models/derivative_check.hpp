#pragma once
/// Checks the derivatives of any potential against differences of each other; for those who write their own.
#include <jko/models/potential.hpp>

namespace jko {

struct DerivativeCheck {
  bool ok = false;
  Derivative worst;         ///< the derivative with the largest ratio
  double ratio = 0;         ///< |analytic - difference| / allowed
  std::string message;      ///< one line about the worst
};

/// Each derivative of order (x, theta) is compared with a Richardson-extrapolated central difference of the one an order lower, at the columns of
/// `points`. Allowed: 1e-7 (1 + largest absolute value of the two derivatives); the difference's own error is about 1e-11 for values of order one,
/// a wrong factor shows as order one. `step` is relative to 1 + |coordinate|. Also checks jet() against evaluate() in one dimension.
[[nodiscard]] DerivativeCheck check_derivatives(const Potential& potential, const ConstMatrixRef& points, const ConstVectorRef& theta, double step = 1e-3);

}  // namespace jko
