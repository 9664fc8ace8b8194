#include <jko/estimators/hypothesis.hpp>

#include <jko/core/check.hpp>

#include <Eigen/Cholesky>
#include <boost/math/distributions/chi_squared.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::estimators {
namespace {

/// Positions of the parameters with an error.
std::vector<Index> with_error(const Fit& fit) {
  std::vector<Index> out;
  for (Index i = 0; i < fit.covariance.rows(); ++i) {
    if (fit.covariance(i, i) > 0) out.push_back(i);
  }
  return out;
}

Matrix solve_spd(std::string_view where, const Matrix& matrix, const Matrix& right) {
  const Vector scale = matrix.diagonal().cwiseAbs().cwiseSqrt().cwiseMax(1e-300).cwiseInverse();
  const Eigen::LDLT<Matrix> factor(scale.asDiagonal() * matrix * scale.asDiagonal());
  if (!matrix.allFinite() || factor.info() != Eigen::Success || !factor.isPositive() || !(factor.vectorD().minCoeff() > 1e-12)) {
    throw DomainError(fmt::format("{}: the covariance of what is tested is singular", where));
  }
  return scale.asDiagonal() * factor.solve(Matrix(scale.asDiagonal() * right));
}

}  // namespace

double chi_square_tail(double statistic, int degrees_of_freedom) {
  check_at_least("chi_square_tail", "degrees of freedom", degrees_of_freedom, 1);
  if (std::isnan(statistic)) throw DomainError("chi_square_tail: the statistic is NaN");
  if (statistic <= 0) return 1;
  return std::isinf(statistic) ? 0 : boost::math::cdf(boost::math::complement(boost::math::chi_squared(degrees_of_freedom), statistic));
}

TestResult likelihood_ratio(const Fit& null, const Fit& alternative) {
  const int df = alternative.free_parameters() - null.free_parameters();
  if (df < 1) throw DomainError(fmt::format("likelihood_ratio: the alternative has {} free parameters and the null {}, but must have more", alternative.free_parameters(), null.free_parameters()));
  if (null.n != alternative.n) throw DomainError(fmt::format("likelihood_ratio: the fits have {} and {} observations, but must be of the same data", null.n, alternative.n));
  const double statistic = 2 * (alternative.log_likelihood - null.log_likelihood);
  if (!(statistic >= -1e-6 * (1 + std::abs(null.log_likelihood)))) throw DomainError(fmt::format("likelihood_ratio: the alternative's log-likelihood {} is below the null's {}: one of them is no maximum, or they are not nested", alternative.log_likelihood, null.log_likelihood));
  return {"likelihood ratio", std::max(statistic, 0.0), df, chi_square_tail(statistic, df)};
}

Matrix covariance(const Fit& fit, Errors errors) {
  if (errors == Errors::information) return fit.covariance;
  if (errors == Errors::sandwich) return fit.sandwich;
  // The sandwich is C J C, so that J^{-1} = C S^{-1} C on the parameters with an error.
  const auto free = with_error(fit);
  const auto k = static_cast<Index>(free.size());
  Matrix c(k, k), s(k, k);
  for (Index i = 0; i < k; ++i) {
    for (Index j = 0; j < k; ++j) {
      c(i, j) = fit.covariance(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]);
      s(i, j) = fit.sandwich(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]);
    }
  }
  Matrix out = Matrix::Zero(fit.covariance.rows(), fit.covariance.cols());
  if (k == 0) return out;
  const Matrix inverse = c * solve_spd("covariance", s, c);
  for (Index i = 0; i < k; ++i) {
    for (Index j = 0; j < k; ++j) out(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]) = 0.5 * (inverse(i, j) + inverse(j, i));
  }
  return out;
}

TestResult wald(const Fit& fit, const ConstMatrixRef& restriction, const ConstVectorRef& value, Errors errors) {
  check_size("wald", "a row of the restriction", restriction.cols(), fit.estimate.size());
  check_size("wald", "the value", value.size(), restriction.rows());
  const Vector gap = restriction * fit.estimate - value;
  const Matrix spread = restriction * covariance(fit, errors) * restriction.transpose();
  const double statistic = gap.dot(solve_spd("wald", spread, gap).col(0));
  const int df = static_cast<int>(value.size());
  return {"Wald", statistic, df, chi_square_tail(statistic, df)};
}

TestResult score_test(const ConstVectorRef& gradient, const ConstMatrixRef& information, const std::vector<bool>& tested, const std::vector<bool>& known) {
  const Index count = gradient.size();
  check_size("score_test", "the list of tested parameters", static_cast<Index>(tested.size()), count);
  if (!known.empty()) check_size("score_test", "the list of known parameters", static_cast<Index>(known.size()), count);
  const int df = static_cast<int>(std::count(tested.begin(), tested.end(), true));
  check_at_least("score_test", "number of tested parameters", df, 1);
  std::vector<Index> free;
  for (Index i = 0; i < count; ++i) {
    if (known.empty() || !known[static_cast<std::size_t>(i)]) free.push_back(i);
  }
  const auto k = static_cast<Index>(free.size());
  Vector g(k);
  Matrix block(k, k);
  for (Index i = 0; i < k; ++i) {
    g[i] = gradient[free[static_cast<std::size_t>(i)]];
    for (Index j = 0; j < k; ++j) block(i, j) = information(free[static_cast<std::size_t>(i)], free[static_cast<std::size_t>(j)]);
  }
  const double statistic = g.dot(solve_spd("score_test", block, g).col(0));
  return {"score", statistic, df, chi_square_tail(statistic, df)};
}

}  // namespace jko::estimators
