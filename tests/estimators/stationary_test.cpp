#include <jko/core/error.hpp>
#include <jko/estimators/stationary.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/reference/simulate.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using namespace jko;
using namespace jko::estimators;

TEST_CASE("partition functions have their closed forms, algebraic tails included") {
  const double kappa = 1.3, beta = 2;
  CHECK(std::abs(log_partition({ornstein_uhlenbeck(), Vector{{kappa, 0.4}}, beta}) - 0.5 * std::log(2 * std::numbers::pi / (beta * kappa))) < 1e-12);
  // Student: Z = s sqrt(nu) B(1/2, nu/2).
  const double nu = 3, s = 0.8;
  const double z = s * std::sqrt(nu) * std::tgamma(0.5) * std::tgamma(nu / 2) / std::tgamma((nu + 1) / 2);
  CHECK(std::abs(log_partition({student_well(), Vector{{nu, 0.2, s}}, 1}) - std::log(z)) < 1e-11);
  CHECK(std::abs(log_partition({gaussian_mixture(), Vector{{0.3, -4.0, 0.5, 7.0, 0.2}}, 1})) < 1e-11);
  CHECK(log_partition({quartic(), Vector{{0, 1, 0, -0.1}}, 1}) == std::numeric_limits<double>::infinity());
}

TEST_CASE("the OU estimate from stationary draws is the sample's mean and variance") {
  const double beta = 2;
  const Model truth(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, beta);
  const Vector sample = sample_stationary(truth, 500, -5, 5, 4096, {.seed = 3}).row(0).transpose();
  const Fit fit = fit_stationary(sample, {ornstein_uhlenbeck(), Vector{{0.5, 0}}, beta}, {.fixed = {false, false, true}});
  REQUIRE(fit.status == Status::converged);
  const double mean = sample.mean(), variance = (sample.array() - mean).square().mean();
  // The fit stops at 1e-9 standard errors, the partition function is good to 1e-12.
  CHECK(std::abs(fit.estimate[1] - mean) < 1e-9);
  CHECK(std::abs(fit.estimate[0] - 1 / (beta * variance)) < 1e-8);
  CHECK(fit.estimate[2] == beta);
  // theory.md 3(e): variances 2 kappa^2/n and 1/(beta kappa n); the observed information equals them at the estimate.
  CHECK(std::abs(fit.covariance(0, 0) - 2 * fit.estimate[0] * fit.estimate[0] / 500) < 1e-6);
  CHECK(std::abs(fit.covariance(1, 1) - variance / 500) < 1e-6);
  CHECK(std::abs(fit.log_likelihood + 250 * (1 + std::log(2 * std::numbers::pi * variance))) < 1e-8);
}

TEST_CASE("the double well is recovered within its standard errors") {
  const Model truth(double_well(), Vector{{1.0, 1.5, 0.1}}, 2);
  const Vector sample = sample_stationary(truth, 4000, -5, 5, 8192, {.seed = 11}).row(0).transpose();
  const Fit fit = fit_stationary(sample, {double_well(), Vector{{1, 1, 0}}, 2}, {.fixed = {false, false, false, true}});
  REQUIRE(fit.status == Status::converged);
  // Three checks at 4.5 standard errors: false alarm 2e-5 (fixed seed).
  for (Index i = 0; i < 3; ++i) CHECK(std::abs(fit.estimate[i] - truth.theta()[i]) < 4.5 * fit.standard_errors()[i]);
}

TEST_CASE("what is not identified or not a law is said") {
  const Vector sample = sample_stationary({ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2}, 100, -5, 5).row(0).transpose();
  CHECK(fit_stationary(sample, {ornstein_uhlenbeck(), Vector{{1, 0}}, 1}).status == Status::singular_information);
  CHECK_FALSE(is_success(fit_stationary(sample, {formula("a*x"), Vector{{1}}, 1}, {.fixed = {false, true}}).status));
  CHECK_THROWS_AS((void)fit_stationary(Vector::Ones(5), {ornstein_uhlenbeck(), Vector{{1, 0}}, 1}), DomainError);
  CHECK_THROWS_AS((void)fit_stationary(Vector{{1.0, std::nan("")}}, {ornstein_uhlenbeck(), Vector{{1, 0}}, 1}), DomainError);
}
