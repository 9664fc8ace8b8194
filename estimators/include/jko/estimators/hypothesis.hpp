#pragma once
/// Likelihood-ratio, Wald and score tests, and the three covariances of a maximum-likelihood estimate.
#include <jko/estimators/fit.hpp>

namespace jko::estimators {

struct TestResult {
  std::string name;
  double statistic = 0;
  int degrees_of_freedom = 0;
  double p_value = 1;  ///< from the chi-square law, n -> infinity; the null must lie inside the parameter space
};

/// Upper tail of the chi-square law.
[[nodiscard]] double chi_square_tail(double statistic, int degrees_of_freedom);

/// 2 (l_alternative - l_null). The models must be nested and both fits have converged to the same data; throws DomainError where the alternative has no more
/// free parameters, the numbers of observations differ, or its likelihood is lower by more than rounding (then one of the two is no maximum).
[[nodiscard]] TestResult likelihood_ratio(const Fit& null, const Fit& alternative);

/// Where the standard errors come from.
enum class Errors {
  information,    ///< inverse observed information: right where the model is
  sandwich,       ///< right for the pseudo-true parameter where it is not
  outer_product,  ///< inverse of the scores' outer products ([Berndt1974]); the noisiest of the three
};
[[nodiscard]] Matrix covariance(const Fit& fit, Errors errors);

/// (R theta - r)' (R C R')^{-1} (R theta - r); R is tests x parameters. Throws DomainError where R C R' is singular. Depends on how the hypothesis is written.
[[nodiscard]] TestResult wald(const Fit& fit, const ConstMatrixRef& restriction, const ConstVectorRef& value, Errors errors = Errors::information);

/// g' I^{-1} g at the null's estimate: needs no fit of the alternative. `gradient` and `information` (the log-likelihood's, at that estimate) are of all
/// parameters; `tested` marks those fixed by the null, `known` those fixed under both.
[[nodiscard]] TestResult score_test(const ConstVectorRef& gradient, const ConstMatrixRef& information, const std::vector<bool>& tested,
                                    const std::vector<bool>& known = {});

}  // namespace jko::estimators
