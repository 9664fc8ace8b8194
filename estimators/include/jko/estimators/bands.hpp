#pragma once
/// Confidence bands of functionals of a JKO flow from the covariance of the estimated parameters (theory.md 2.2, 2.3).
#include <jko/measures/gaussian.hpp>
#include <jko/measures/quantile_function.hpp>

#include <cstdint>
#include <functional>
#include <string_view>

namespace jko::estimators {

/// Gradients of functionals in the coordinates of a measure: one row a functional.
struct Functionals {
  Vector value;
  Matrix gradient;  ///< functionals x coordinates
};
[[nodiscard]] Functionals quantiles(const QuantileFunction& measure, const ConstVectorRef& levels);       ///< levels in (0, 1)
[[nodiscard]] Functionals distribution(const QuantileFunction& measure, const ConstVectorRef& points);    ///< P(X <= x)
[[nodiscard]] Functionals density(const QuantileFunction& measure, const ConstVectorRef& points);         ///< see QuantileFunction::density
[[nodiscard]] Functionals moments(const QuantileFunction& measure);                                       ///< mean, variance
/// E phi(X) by the two-point Gauss rule in each cell; phi and its derivative.
[[nodiscard]] Functionals expectation(const QuantileFunction& measure, const std::function<double(double)>& phi,
                                      const std::function<double(double)>& derivative);

/// The same for Gaussians, in the coordinates (mean, vec covariance). moments: the mean, then the lower triangle of the covariance by columns; the
/// others are of the marginal law of one coordinate.
[[nodiscard]] Functionals moments(const Gaussian& measure);
[[nodiscard]] Functionals quantiles(const Gaussian& measure, const ConstVectorRef& levels, Index coordinate = 0);
[[nodiscard]] Functionals distribution(const Gaussian& measure, const ConstVectorRef& points, Index coordinate = 0);
[[nodiscard]] Functionals density(const Gaussian& measure, const ConstVectorRef& points, Index coordinate = 0);

struct Band {
  Vector abscissa;
  Vector estimate, standard_error;
  Vector lower, upper;                            ///< pointwise
  Vector simultaneous_lower, simultaneous_upper;  ///< for all abscissae together
  double critical = 0;        ///< of max_i |Z_i|, by simulation
  double critical_error = 0;  ///< its Monte-Carlo standard error
  Vector step_error;          ///< estimated error of the finite step size; empty until with_step_error()
};

struct BandOptions {
  double level = 0.95;         ///< in (0, 1)
  int draws = 20000;           ///< of the simultaneous critical value
  std::uint64_t seed = 1;
};

/// estimate -+ z se with se^2 = (g' S) C (g' S)', S the state's tangent (nodes x columns), C the covariance of its columns. No edge is
/// clipped: a density's lower edge may be negative where the linearisation is poor, and that says so.
[[nodiscard]] Band band(const Functionals& functionals, const ConstVectorRef& abscissa, const ConstMatrixRef& tangent,
                        const ConstMatrixRef& covariance, const BandOptions& options = {});

/// The band with the computational error beside the statistical one: `finer` are the same functionals of the flow with half the step size. For a scheme of
/// order p the error of the coarser flow is about (estimate - finer)/(1 - 2^{-p}); its absolute value widens every edge. An asymptotic
/// estimate, good where halving h divides the difference by 2^p; not a bound.
[[nodiscard]] Band with_step_error(Band band, const ConstVectorRef& finer, int order);

}  // namespace jko::estimators
