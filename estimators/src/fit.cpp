#include <jko/estimators/fit.hpp>

#include <jko/core/check.hpp>

#include <boost/math/distributions/normal.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace jko::estimators {

Vector Fit::standard_errors() const { return covariance.diagonal().cwiseMax(0.0).cwiseSqrt(); }
Vector Fit::sandwich_errors() const { return sandwich.diagonal().cwiseMax(0.0).cwiseSqrt(); }

Matrix Fit::intervals(double level, bool use_sandwich) const {
  if (!(level > 0 && level < 1)) throw DomainError(fmt::format("fit: level is {}, but must lie in (0, 1)", level));
  const double z = boost::math::quantile(boost::math::normal(), 0.5 * (1 + level));
  const Vector error = use_sandwich ? sandwich_errors() : standard_errors();
  Matrix out(estimate.size(), 2);
  out.col(0) = estimate - z * error;
  out.col(1) = estimate + z * error;
  return out;
}

int Fit::free_parameters() const { return static_cast<int>(std::count(fixed.begin(), fixed.end(), false)); }
double Fit::aic() const { return 2.0 * free_parameters() - 2 * log_likelihood; }
double Fit::bic() const { return free_parameters() * std::log(static_cast<double>(n)) - 2 * log_likelihood; }

std::string Fit::table() const {
  const Vector se = standard_errors(), robust = sandwich_errors();
  const Matrix interval = intervals();
  std::string text = fmt::format("model      {}\nestimator  {} ({})\nn = {}", model, estimator, theorem, n);
  if (duration > 0) text += fmt::format(", T = {:.6g}", duration);
  text += fmt::format("\nstatus     {}: {}\n\n", name(status), describe(status));
  text += fmt::format("{:<12} {:>13} {:>12} {:>12} {:>8}   {:<28}\n", "parameter", "estimate", "s.e.", "sandwich", "z", "95 % interval");
  for (Index i = 0; i < estimate.size(); ++i) {
    const auto k = static_cast<std::size_t>(i);
    if (fixed[k]) {
      text += fmt::format("{:<12} {:>13.7g} {:>12}\n", names[k], estimate[i], "(fixed)");
    } else if (!(se[i] > 0)) {
      text += fmt::format("{:<12} {:>13.7g} {:>12}\n", names[k], estimate[i], "(no error)");
    } else {
      text += fmt::format("{:<12} {:>13.7g} {:>12.5g} {:>12.5g} {:>8.3f}   [{:.6g}, {:.6g}]\n", names[k], estimate[i], se[i], robust[i],
                          estimate[i] / se[i], interval(i, 0), interval(i, 1));
    }
  }
  // An estimator without a likelihood has none of these.
  if (std::isnan(log_likelihood)) text += std::isnan(gradient_norm) ? "" : fmt::format("\nscaled gradient {:.1e}\n", gradient_norm);
  else if (std::abs(log_likelihood) < 1e15) text += fmt::format("\nlog-likelihood {:.6f}   AIC {:.3f}   BIC {:.3f}   scaled gradient {:.1e}\n", log_likelihood, aic(), bic(), gradient_norm);
  else text += fmt::format("\nlog-likelihood {:g}   scaled gradient {:.1e}\n", log_likelihood, gradient_norm);
  std::string errors;
  for (Index i = 0; i < monte_carlo_errors.size(); ++i) {
    if (!fixed[static_cast<std::size_t>(i)]) errors += fmt::format("{}{} {:.3g}", errors.empty() ? "" : ", ", names[static_cast<std::size_t>(i)], monte_carlo_errors[i]);
  }
  if (!errors.empty()) text += "Monte-Carlo errors (standard deviations over seeds): " + errors + "\n";
  for (const std::string& warning : warnings) text += "warning: " + warning + "\n";
  return text;
}

}  // namespace jko::estimators
