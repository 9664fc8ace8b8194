#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/score_matching.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/simulate.hpp>

#include <Eigen/LU>
#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

TEST_CASE("score matching of a Gaussian is its mean and covariance, in one and two dimensions") {
  const Model truth(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
  const Matrix sample = sample_stationary(truth, 500, -5, 5, 4096, {.seed = 3});
  const Fit one = fit_score_matching(sample, Model(ornstein_uhlenbeck(), Vector{{0.5, 0.0}}, 2), {.fit = {.fixed = {false, false, true}}});
  REQUIRE(one.status == Status::converged);
  const double mean = sample.mean(), variance = (sample.array() - mean).square().mean();
  CHECK(std::abs(one.estimate[0] - 1 / (2 * variance)) < 1e-8);
  CHECK(std::abs(one.estimate[1] - mean) < 1e-8);
  // As for maximum likelihood, Var kappa = 2 kappa^2/n; the sandwich uses the sample's fourth moment, s.e. about 10 % at n = 500.
  CHECK(std::abs(one.covariance(0, 0) / (2 * one.estimate[0] * one.estimate[0] / 500) - 1) < 0.4);
  const Model plane(ornstein_uhlenbeck(2), Vector{{1.3, 0.4, 0.9, 0.1, -0.2}}, 2);
  const Matrix points = sample_stationary(plane, 800, 0, 0, 16, {.seed = 5});
  const Fit two = fit_score_matching(points, Model(ornstein_uhlenbeck(2), Vector{{1.0, 0, 1.0, 0, 0}}, 2), {.fit = {.fixed = {false, false, false, false, false, true}}});
  REQUIRE(two.status == Status::converged);
  const Vector centre = points.rowwise().mean();
  const Matrix centred = points.colwise() - centre;
  const Matrix k = (centred * centred.transpose() / 800).inverse() / 2;
  CHECK(std::abs(two.estimate[0] - k(0, 0)) < 1e-7);
  CHECK(std::abs(two.estimate[1] - k(0, 1)) < 1e-7);
  CHECK(std::abs(two.estimate[4] - centre[1]) < 1e-7);
}

TEST_CASE("the double well by score matching, and by slices in two dimensions, within the reported errors") {
  const Model well(double_well(), Vector{{1.0, 1.0, 0.1}}, 2);
  const Matrix sample = sample_stationary(well, 4000, -5, 5, 8192, {.seed = 11});
  const Fit fit = fit_score_matching(sample, Model(double_well(), Vector{{0.5, 0.5, 0}}, 2), {.fit = {.fixed = {false, false, false, true}}});
  REQUIRE(fit.status == Status::converged);
  // Eight checks at 4.5 standard errors in this case: false alarm 5e-5 (fixed seed).
  for (Index i = 0; i < 3; ++i) CHECK(std::abs(fit.estimate[i] - well.theta()[i]) < 4.5 * fit.standard_errors()[i]);
  const Model plane(ornstein_uhlenbeck(2), Vector{{1.3, 0.4, 0.9, 0.1, -0.2}}, 2);
  const Matrix points = sample_stationary(plane, 2000, 0, 0, 16, {.seed = 6});
  const FitOptions held{.fixed = {false, false, false, false, false, true}};
  const Fit sliced = fit_score_matching(points, plane, {.slices = 1, .fit = held}), whole = fit_score_matching(points, plane, {.fit = held});
  REQUIRE(sliced.status == Status::converged);
  for (Index i = 0; i < 5; ++i) {
    CHECK(std::abs(sliced.estimate[i] - plane.theta()[i]) < 4.5 * sliced.standard_errors()[i]);
    CHECK(sliced.standard_errors()[i] > whole.standard_errors()[i]);
  }
}

TEST_CASE("the covariance of score matching over replications") {
  // Double well, three parameters, R = 300: 4.5 relative s.e. sqrt(2/R) = 8.2 % (7e-6 a check, fixed seed) and 5 % for n = 500.
  const Model well(double_well(), Vector{{1.0, 1.0, 0.1}}, 2);
  const int replications = 300;
  Matrix estimates(3, replications);
  Vector reported = Vector::Zero(3);
  const Matrix pool = sample_stationary(well, 500 * replications, -5, 5, 8192, {.seed = 12});
  for (int r = 0; r < replications; ++r) {
    const Fit fit = fit_score_matching(pool.middleCols(500 * r, 500), well, {.fit = {.fixed = {false, false, false, true}}});
    REQUIRE(fit.status == Status::converged);
    estimates.col(r) = fit.estimate.head(3);
    reported += fit.covariance.diagonal().head(3) / replications;
  }
  const Matrix centred = estimates.colwise() - estimates.rowwise().mean();
  for (Index i = 0; i < 3; ++i) CHECK(std::abs(centred.row(i).squaredNorm() / (replications - 1) / reported[i] - 1) < 4.5 * 0.082 + 0.05);
}

TEST_CASE("score matching says what is not identified") {
  const Matrix sample = sample_stationary({ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2}, 100, -5, 5);
  CHECK(fit_score_matching(sample, {ornstein_uhlenbeck(), Vector{{1, 0}}, 1}).status == Status::singular_information);
  CHECK_THROWS_AS((void)fit_score_matching(sample, {ornstein_uhlenbeck(2), Vector{{1.0, 0, 1.0, 0, 0}}, 1}), ShapeError);
}
