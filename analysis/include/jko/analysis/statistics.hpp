#pragma once
/// Tests of normality and covariance, and the control of false alarms over many checks.
///
/// A p-value above the level never proves the null hypothesis: read the effect beside it, and what effect the sample would have shown
/// (its standard error). Data matrices are d x n, one observation a column.
#include <jko/analysis/verdict.hpp>
#include <jko/core/types.hpp>

#include <cstdint>
#include <vector>

namespace jko::analysis {

struct TestResult {
  double statistic = 0;
  double p_value = 1;
  double effect = 0;        ///< the deviation in natural units, which does not grow with n; each test says which
  std::string method{};     ///< how the p-value was obtained, with its source
};

/// Where a p-value comes from.
enum class PValue {
  approximation,  ///< the published formula or limit law named in the result
  simulation,     ///< (1 + #{simulated statistic >= observed})/(1 + replications) under the null hypothesis: exact, for every n, as all these statistics are free of the
                  ///< mean and covariance
};
struct TestOptions {
  PValue p_value = PValue::approximation;
  int replications = 999;    ///< of PValue::simulation, >= 19
  std::uint64_t seed = 1;
};

/// Anderson-Darling for normality with estimated mean and variance, A^2 (1 + 0.75/n + 2.25/n^2) and the p-value formula of [DAgostinoStephens1986], n >= 8.
/// Effect: A^2/n, which tends to a distance from the nearest normal law. Most powerful of the two against heavy tails.
[[nodiscard]] TestResult anderson_darling(const ConstVectorRef& sample, const TestOptions& options = {});
/// Kolmogorov-Smirnov distance with estimated mean and variance (Lilliefors), p-value by [DallalWilkinson1986] where it gives at most 0.1; above, 0.1 is returned
/// and `method` says that the formula ends there. n >= 5. Effect: the distance itself.
[[nodiscard]] TestResult lilliefors(const ConstVectorRef& sample, const TestOptions& options = {});

/// Mardia's multivariate skewness and kurtosis, [Mardia1970]; d x n, n > d + 1. With S the maximum-likelihood covariance, m_ij = (x_i - m)' S^{-1} (x_j - m):
/// b1 = n^{-2} sum m_ij^3, n b1/6 ~ chi^2 with d(d+1)(d+2)/6 degrees (times the small-sample factor (d+1)(n+1)(n+3)/(n((n+1)(d+1)-6)), [Mardia1974]);
/// b2 = n^{-1} sum m_ii^2, (b2 - d(d+2)(n-1)/(n+1))/sqrt(8 d(d+2)/n) ~ N(0, 1), two-sided.
/// The kurtosis converges slowly: below n = 200 use PValue::simulation. Effects: b1 and b2 - d(d+2). Cost O(n^2 d).
struct Mardia {
  TestResult skewness, kurtosis;
};
[[nodiscard]] Mardia mardia(const ConstMatrixRef& sample, const TestOptions& options = {});

/// Likelihood ratio of H0: covariance = expected, for normal observations with unknown mean: with S the unbiased covariance, nu = n - 1,
///   nu (tr(S V^{-1}) - log det(S V^{-1}) - d) (1 - (2d + 1 - 2/(d+1))/(6 nu))  ~  chi^2 with d(d+1)/2 degrees,
/// Bartlett's correction included ([Muirhead1982], section 8.4); the error of the level is then O(n^-2). n > d. Sensitive to non-normal data by construction. PValue::simulation
/// draws normal data. Effect: the largest |log eigenvalue| of V^{-1} S, the relative error of the worst variance.
[[nodiscard]] TestResult covariance_test(const ConstMatrixRef& sample, const ConstMatrixRef& expected, const TestOptions& options = {});

/// p-values adjusted by Holm's step-down method, [Holm1979]: rejecting those <= level keeps the chance of any false alarm among all of them at most `level`, whatever their
/// dependence. NaN stays NaN and does not count.
[[nodiscard]] Vector holm(const ConstVectorRef& p_values);

/// A check that rests on a test: inconclusive until decide_family() has seen the whole family. p_value and effect are the test's.
[[nodiscard]] Check check_test(std::string id, std::string claim, std::string source, const TestResult& test);
/// Decides together all checks that carry a p-value: fail where Holm's adjusted p-value is <= level, else pass; statistic becomes the level and bound the adjusted
/// p-value (level < p: "statistic < bound" as everywhere). A correct program fails any of them with probability <= level (as far as the p-values are exact), and the derivation says so.
void decide_family(std::vector<Check>& checks, double level = 0.001);

}  // namespace jko::analysis
