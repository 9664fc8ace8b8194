#include <jko/estimators/ornstein_uhlenbeck.hpp>

#include <jko/core/check.hpp>

#include <cmath>

namespace jko::estimators {

OuEstimate exact_ou_estimate(const ConstVectorRef& values, double dt) {
  check_at_least("exact_ou_estimate", "number of observations", values.size(), 3);
  const Index n = values.size() - 1;
  const auto before = values.head(n).array(), after = values.tail(n).array();
  const double mean_before = before.mean(), mean_after = after.mean();
  const double sxx = (before - mean_before).square().sum();
  const double sxy = ((before - mean_before) * (after - mean_after)).sum();
  const double phi_hat = sxy / sxx;
  OuEstimate out;
  if (!(phi_hat > 0 && phi_hat < 1)) return out;
  out.kappa = -std::log(phi_hat) / dt;
  out.mu = (mean_after - phi_hat * mean_before) / (1 - phi_hat);
  const double residual = (after - out.mu - phi_hat * (before - out.mu)).square().sum() / static_cast<double>(n);
  // The transition's variance is (1 - phi^2)/(beta kappa).
  out.beta = (1 - phi_hat * phi_hat) / (out.kappa * residual);
  out.ok = true;
  return out;
}

Matrix exact_ou_covariance(double kappa, double beta, double dt) {
  check_positive("exact_ou_covariance", "kappa", kappa);
  check_positive("exact_ou_covariance", "beta", beta);
  check_positive("exact_ou_covariance", "spacing dt", dt);
  const double phi_value = std::exp(-kappa * dt);
  const double g = -2 * phi_value / (1 - phi_value * phi_value) + 1 / (phi_value * kappa * dt);
  Matrix out = Matrix::Zero(3, 3);
  out(0, 0) = std::expm1(2 * kappa * dt) / (dt * dt);
  out(1, 1) = (1 + phi_value) / (1 - phi_value) / (beta * kappa);
  out(2, 2) = beta * beta * (2 + g * g * (1 - phi_value * phi_value));
  out(0, 2) = out(2, 0) = -beta * g * (1 - phi_value * phi_value) / (phi_value * dt);
  return out;
}

}  // namespace jko::estimators
