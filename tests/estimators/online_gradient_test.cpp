#include <jko/core/error.hpp>
#include <jko/estimators/drift_least_squares.hpp>
#include <jko/estimators/online.hpp>
#include <jko/estimators/online_gradient.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/simulate.hpp>

#include <doctest/doctest.h>
#include <paths.hpp>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

const Model ou(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);

Path path_of(const Model& model, Index n, double dt, std::uint64_t index) { return jko::testing::langevin_path(model, n, dt, index, 6); }

}  // namespace

TEST_CASE("recursive likelihood with a linear score is the batch maximum") {
  const Model well(double_well(), Vector{{1.0, 1.0, 0.1}}, 2);
  const Path path = path_of(well, 1500, 0.05, 0);
  const std::vector<bool> fixed{false, false, false, true};
  OnlineGradient online(Model(double_well(), Vector{{0.5, 0.5, 0.0}}, 2), {.fixed = fixed});
  CHECK(online.fit().status == Status::not_run);
  online.update(path);
  const Fit recursive = online.fit(), batch = fit({path}, well, Transition::euler, {.fixed = fixed});
  REQUIRE(recursive.status == Status::converged);
  // Recursive least squares: equal up to the warm-up's tolerance and 1400 roundings.
  CHECK((recursive.estimate - batch.estimate).cwiseAbs().maxCoeff() < 1e-7);
  CHECK((recursive.covariance - batch.covariance).cwiseAbs().maxCoeff() < 1e-6 * batch.covariance.maxCoeff());
  CHECK(recursive.n == 1500);
}

TEST_CASE("recursive likelihood of OU by its exact law, and in two dimensions, stays a fraction of a standard error from the batch maximum") {
  const Path path = path_of(ou, 5000, 0.5, 1);
  OnlineGradient online(Model(ornstein_uhlenbeck(), Vector{{0.5, 0.0}}, 1), {.transition = Transition::exact, .warm_up = 200});
  online.update(path);
  const Fit recursive = online.fit(), batch = fit({path}, ou, Transition::exact);
  REQUIRE(recursive.status == Status::converged);
  // They differ by O(log n/n), against standard errors of O(n^{-1/2}).
  for (Index i = 0; i < 3; ++i) {
    CHECK(std::abs(recursive.estimate[i] - batch.estimate[i]) < 0.25 * batch.standard_errors()[i]);
    CHECK(std::abs(recursive.standard_errors()[i] / batch.standard_errors()[i] - 1) < 0.1);
    CHECK(std::abs(recursive.sandwich_errors()[i] / batch.sandwich_errors()[i] - 1) < 0.1);
  }
  const Model plane(ornstein_uhlenbeck(2), Vector{{1.3, 0.4, 0.9, 0.1, -0.2}}, 2);
  const Path two = path_of(plane, 2000, 0.3, 2);
  OnlineGradient second(plane, {.transition = Transition::shoji_ozaki, .warm_up = 300});
  second.update(two);
  const Fit a = second.fit(), b = fit({two}, plane, Transition::shoji_ozaki);
  REQUIRE(a.status == Status::converged);
  for (Index i = 0; i < 6; ++i) CHECK(std::abs(a.estimate[i] - b.estimate[i]) < 0.3 * b.standard_errors()[i]);
}

TEST_CASE("the stochastic gradient's recursion, written out") {
  const Path path = path_of(ou, 60, 0.1, 3);
  OnlineGradient online(Model(ornstein_uhlenbeck(), Vector{{1.0, 0.2}}, 1.5), {.method = OnlineMethod::stochastic_gradient, .rate = 0.7, .offset = 3, .exponent = 0.8, .burn_in = 2});
  online.update(path);
  double kappa = 1, mu = 0.2, sum = 0, weight = 0;
  for (Index i = 0; i < 60; ++i) {
    const double x = path.values(0, i), dx = path.values(0, i + 1) - x, dt = path.times[i + 1] - path.times[i], t = path.times[i];
    const double residual = dx - kappa * (mu - x) * dt, alpha = 0.7 * std::pow(1 + t / 3, -0.8) * 0.75;
    const double by_kappa = mu - x, by_mu = kappa;
    kappa += alpha * by_kappa * residual;
    mu += alpha * by_mu * residual;
    if (t >= 2) sum += kappa * dt, weight += dt;
  }
  CHECK(std::abs(online.iterate()[0] - kappa) < 1e-12);
  CHECK(std::abs(online.iterate()[1] - mu) < 1e-12);
  const Fit f = online.fit();
  CHECK(std::abs(f.estimate[0] - sum / weight) < 1e-12);
  // beta as in the two-stage estimator.
  CHECK(std::abs(f.estimate[2] - fit_drift_least_squares({path}, ou).estimate[2]) < 1e-12);
}

TEST_CASE("the stochastic gradient's covariance over replications: averaged, and the last iterate of steps c/t") {
  // mu known: H = (beta/2) E (mu - x)^2 = 1/(2 kappa). Averaged: Var = 2 kappa/T. Steps c/t: c^2 h/((2 c h - 1) T), with c h = 2: 4/3 of that. R = 200, T = 400: 4.5 sqrt(2/R) = 45 % (7e-6 a check, fixed seed), and 15 % for
  // what the transient leaves (T^{-1/4} terms); reported against closed form within 15 %.
  const int replications = 200;
  const double h = 1 / 2.6;
  Vector averaged(replications), last(replications);
  double reported_averaged = 0, reported_last = 0, robust = 0;
  for (int r = 0; r < replications; ++r) {
    const Path path = path_of(ou, 4000, 0.1, 10 + static_cast<std::uint64_t>(r));
    const std::vector<bool> fixed{false, true, true};
    OnlineGradient one(ou, {.method = OnlineMethod::stochastic_gradient, .fixed = fixed, .rate = 1, .offset = 10, .exponent = 0.7, .burn_in = 20});
    OnlineGradient two(ou, {.method = OnlineMethod::stochastic_gradient, .fixed = fixed, .rate = 2 / h / 20, .offset = 20, .exponent = 1});
    one.update(path);
    two.update(path);
    const Fit a = one.fit(), b = two.fit();
    REQUIRE(a.status == Status::converged);
    REQUIRE(b.status == Status::converged);
    averaged[r] = a.estimate[0];
    last[r] = b.estimate[0];
    reported_averaged += a.covariance(0, 0) / replications;
    robust += a.sandwich(0, 0) / replications;
    reported_last += b.covariance(0, 0) / replications;
  }
  const auto variance = [](const Vector& v) { return (v.array() - v.mean()).square().sum() / static_cast<double>(v.size() - 1); };
  CHECK(std::abs(variance(averaged) / reported_averaged - 1) < 0.6);
  CHECK(std::abs(variance(last) / reported_last - 1) < 0.6);
  CHECK(std::abs(reported_averaged / (2.6 / 380) - 1) < 0.15);
  CHECK(std::abs(robust / reported_averaged - 1) < 0.15);
  CHECK(std::abs(reported_last / (4.0 / 3 * 2.6 / 400) - 1) < 0.15);
  // Means: Euler's limit (1 - e^{-kappa dt})/dt, and for the averaged one the mean of the transient's bias 2 alpha_t h over [20, 400], 0.112 here. s.e. 0.006; 0.03 for both bias terms being first-order.
  const double limit = (1 - std::exp(-0.13)) / 0.1;
  CHECK(std::abs(averaged.mean() - limit - 0.112) < 4.5 * 0.006 + 0.03);
  CHECK(std::abs(last.mean() - limit) < 4.5 * 0.007 + 0.03);
  // Too slow a rate is said.
  OnlineGradient slow(ou, {.method = OnlineMethod::stochastic_gradient, .fixed = {false, true, true}, .rate = 0.1, .offset = 1, .exponent = 1});
  slow.update(path_of(ou, 400, 0.1, 5));
  CHECK(slow.fit().status == Status::singular_information);
}

TEST_CASE("fits batch by batch for the online JKO scheme") {
  const auto batches = split_into_batches(path_of(ou, 3000, 0.2, 4), 5);
  const auto fits = online_gradient_fits(batches, ou, {.transition = Transition::exact});
  REQUIRE(fits.size() == 5);
  CHECK(fits[4].n == 3000);
  for (std::size_t k = 1; k < 5; ++k) CHECK(fits[k].standard_errors()[0] < fits[k - 1].standard_errors()[0]);
  const Matrix covariance = online_covariance(fits, 5, OnlineData::accumulated);
  CHECK(covariance.block(0, 12, 3, 3) == fits[4].sandwich);
  const FlowOptions options = with_estimates({.h = 0.1, .steps = 5}, fits);
  CHECK(options.parameters_at(3) == fits[2].estimate);
  CHECK_THROWS_AS((void)online_gradient_fits(batches, ou, {.warm_up = 1000}), NotConverged);
}

TEST_CASE("misuse is one line") {
  CHECK_THROWS_AS(OnlineGradient(ou, {.fixed = {true}}), ShapeError);
  CHECK_THROWS_AS(OnlineGradient(ou, {.exponent = 0.5}), DomainError);
  CHECK_THROWS_AS(OnlineGradient(ou, {.rate = 0}), DomainError);
  OnlineGradient online(ou);
  CHECK_THROWS_AS(online.update(Vector{{0.0}}, Vector{{1.0}}, 0), DomainError);
  CHECK_THROWS_AS(online.update(Vector{{0.0, 1.0}}, Vector{{1.0, 0.0}}, 0.1), ShapeError);
}
