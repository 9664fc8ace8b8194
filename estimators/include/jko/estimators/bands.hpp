#pragma once
/// Confidence bands of functionals of a JKO flow from the covariance of the estimated parameters (theory.md 2.2, 2.3).
#include <jko/flows/flow.hpp>
#include <jko/measures/quantile_function.hpp>

#include <cstdint>
#include <functional>
#include <string_view>

namespace jko::estimators {

/// Gradients of functionals in the nodes: one row a functional.
struct Functionals {
  Vector value;
  Matrix gradient;  ///< functionals x nodes
};
[[nodiscard]] Functionals quantiles(const QuantileFunction& measure, const ConstVectorRef& levels);       ///< levels in (0, 1)
[[nodiscard]] Functionals distribution(const QuantileFunction& measure, const ConstVectorRef& points);    ///< P(X <= x)
[[nodiscard]] Functionals density(const QuantileFunction& measure, const ConstVectorRef& points);         ///< see QuantileFunction::density
[[nodiscard]] Functionals moments(const QuantileFunction& measure);                                       ///< mean, variance
/// E phi(X) by the two-point Gauss rule in each cell; phi and its derivative.
[[nodiscard]] Functionals expectation(const QuantileFunction& measure, const std::function<double(double)>& phi,
                                      const std::function<double(double)>& derivative);

/// Covariance of the stacked parameters of an online flow of K steps (Sensitivity::per_step), P x P blocks from one batch's covariance:
/// fresh batches: block diagonal; accumulated data (the mean of all batches so far): block (i, j) is covariance/max(i, j).
[[nodiscard]] Matrix online_covariance(const ConstMatrixRef& batch_covariance, int steps, bool accumulated);

struct Band {
  Vector abscissa;
  Vector estimate, standard_error;
  Vector lower, upper;                            ///< pointwise
  Vector simultaneous_lower, simultaneous_upper;  ///< for all abscissae together
  double critical = 0;        ///< of max_i |Z_i|, by simulation
  double critical_error = 0;  ///< its Monte-Carlo standard error
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

}  // namespace jko::estimators
