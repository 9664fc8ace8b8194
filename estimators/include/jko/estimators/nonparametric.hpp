#pragma once
/// Drift and diffusion coefficient of a one-dimensional path without a model: kernel regression and smoothing splines with pointwise bands.
#include <jko/core/status.hpp>
#include <jko/estimators/data.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace jko::estimators {

enum class Smoother {
  nadaraya_watson,   ///< local mean
  local_linear,      ///< local line ([FanGijbels1996]): no bias for linear functions, none at the edges to first order
  spline,            ///< cubic, with penalty lambda int f''^2 and knots at the quantiles of the data ([OSullivan1986])
};
[[nodiscard]] std::vector<std::string> smoother_names();
[[nodiscard]] std::string_view name(Smoother smoother);
[[nodiscard]] Smoother smoother_from_name(std::string_view name);  ///< throws DomainError

struct NonparametricOptions {
  Smoother smoother = Smoother::local_linear;
  double drift_smoothing = 0;      ///< bandwidth h > 0 in the data's units, or lambda > 0; 0: by cross-validation
  double diffusion_smoothing = 0;  ///< the same for sigma^2
  int points = 101;                ///< of the grid, >= 2, evenly spaced between the quantiles trim and 1 - trim of the data
  double trim = 0.01;              ///< in [0, 0.5); cross-validation too scores only the points between them
  int knots = 30;                  ///< inside the range, 1 to 200; fewer where the data have fewer distinct values
  double level = 0.95;             ///< in (0, 1)
};

/// A curve on the grid.
struct Curve {
  Vector estimate, standard_error, lower, upper;  ///< pointwise: estimate -+ z error
  double smoothing = 0;            ///< that was used
  double degrees_of_freedom = 0;   ///< trace of the smoother's matrix
  Vector candidates, scores;       ///< of the cross-validation; empty where the smoothing was given. Infinite where a point alone determines its fit
};

struct NonparametricFit {
  Status status = Status::not_run; ///< converged, or no_minimiser where no candidate could be scored or the smoothing leaves a point of the grid without neighbours
  Smoother smoother{};
  Vector x;                        ///< the grid
  Curve drift, diffusion;          ///< b, and sigma^2
  Index n = 0;
  double duration = 0;
};

/// b(x) = E[dX/dt | X = x] by weighted regression of dX/dt with weights dt, and sigma^2(x) = E[(dX - b^ dt)^2/dt | X = x] of the residuals. Kernel: Epanechnikov's 1 - u^2 on |u| < 1. Increments given X are uncorrelated, so that leave-one-out cross-validation (exact,
/// from the smoother's diagonal: sum of weight (residual/(1 - L_ii))^2) is not misled by the path's correlation, and the variance of f^ = sum l_i y_i is sum l_i^2 (residual_i/(1 - L_ii))^2: no model for sigma.
///
/// Bands are of the smoothed curve, E f^: the smoother's bias is not in them (a smaller smoothing has less), nor dt's: both coefficients are off by O(dt). As T -> infinity, h -> 0, T h -> infinity the drift's variance is
/// sigma^2(x) int K^2/(T h pi(x)); that of sigma^2 has n in T's place. The drift needs a long T: no spacing helps. Cost: O(n log n) a candidate for kernels (moving sums, relative accuracy about 1e-7), O(n knots) for splines; n points for
/// the final curves exactly. Throws for panels that are not one-dimensional, constant, or of fewer than 10 transitions.
[[nodiscard]] NonparametricFit fit_nonparametric(const Panel& panel, const NonparametricOptions& options = {});

}  // namespace jko::estimators
