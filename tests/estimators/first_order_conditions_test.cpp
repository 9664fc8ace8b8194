#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/first_order_conditions.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/reference/simulate.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <Eigen/Cholesky>
#include <boost/math/distributions/normal.hpp>
#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

const double kappa = 1.3, mu = 0.4, beta = 2;
const Model truth(ornstein_uhlenbeck(), Vector{{kappa, mu}}, beta);
const Gaussian start(Vector{{2.0}}, Matrix{{0.09}});

/// n quantiles of N(mean, variance), scaled to have exactly these moments: optimal maps between such samples are linear, as between the laws.
Matrix gaussian_sample(const Gaussian& law, Index n) {
  Vector z(n);
  for (Index i = 0; i < n; ++i) z[i] = boost::math::quantile(boost::math::normal(), (static_cast<double>(i) + 0.5) / static_cast<double>(n));
  z /= std::sqrt(z.squaredNorm() / static_cast<double>(n));
  return (law.mean()[0] + std::sqrt(law.covariance()(0, 0)) * z.array()).matrix().transpose();
}

/// Snapshots of the exact OU law from `start`.
Snapshots exact_laws(double tau, int steps, Index n) {
  Snapshots s{Vector::LinSpaced(steps + 1, 0, tau * steps), {}};
  for (int k = 0; k <= steps; ++k) s.samples.push_back(gaussian_sample(OrnsteinUhlenbeck(truth).law(start, tau * k), n));
  return s;
}

/// Independent samples of the laws of the JKO scheme, for which the conditions hold.
Snapshots drawn(double tau, int steps, Index n, std::uint64_t index) {
  Snapshots s{Vector::LinSpaced(steps + 1, 0, tau * steps), {}};
  RandomStream random(17, "drawn snapshots", index);
  const auto flow = Flow<GaussianStep>(GaussianStep(FreeEnergy(truth)), start, {.h = tau, .steps = steps}).run();
  for (int k = 0; k <= steps; ++k) {
    const Gaussian& law = flow.states[static_cast<std::size_t>(k)].measure;
    Matrix x(1, n);
    for (double& v : x.reshaped()) v = law.mean()[0] + std::sqrt(law.covariance()(0, 0)) * random.normal();
    s.samples.push_back(x);
  }
  return s;
}

}  // namespace

TEST_CASE("snapshots of the JKO scheme itself give its energy back") {
  // The conditions hold exactly at every step; sizes differ from step to step only in what the quantiles' scaling repairs.
  const double tau = 0.2;
  const auto flow = Flow<GaussianStep>(GaussianStep(FreeEnergy(truth)), start, {.h = tau, .steps = 4}).run();
  Snapshots s{Vector::LinSpaced(5, 0, 4 * tau), {}};
  for (const auto& state : flow.states) s.samples.push_back(gaussian_sample(state.measure, 400));
  // Stein's identity E phi'' = E phi' (x - m)/v is exact for these samples up to degree 2 (two moments are those of the law).
  const auto r = fit_first_order(s, FreeEnergy(Model(ornstein_uhlenbeck(), Vector{{0.7, 0.0}}, 1)), {.degree = 2});
  REQUIRE(r.fit.status == Status::converged);
  for (Index i = 0; i < 3; ++i) CHECK(std::abs(r.fit.estimate[i] - truth.parameters()[i]) < 1e-6 * (1 + r.fit.standard_errors()[i]));
  CHECK(r.conditions.cwiseAbs().maxCoeff() < 1e-8);
  CHECK(r.fit.names == std::vector<std::string>{"kappa", "mu", "beta"});
}

TEST_CASE("snapshots of the diffusion: an error of O(tau) with the constant of implicit Euler") {
  for (const double tau : {0.2, 0.1, 0.05}) {
    // The mean alone: (e^{kappa tau} - 1)/tau, at every step the same.
    const auto mean = fit_first_order(exact_laws(tau, 3, 200), FreeEnergy(truth), {.degree = 1, .fixed = {false, false, true}});
    REQUIRE(mean.fit.status == Status::converged);
    CHECK(std::abs(mean.fit.estimate[0] - std::expm1(kappa * tau) / tau) < 1e-6);
    CHECK(std::abs(mean.fit.estimate[1] - mu) < 1e-6);
    // One step and degree 2, kappa and mu free: the variance gives ((s0 - s1)/tau + 1/(beta s1))/s1.
    const auto one = fit_first_order(exact_laws(tau, 1, 200), FreeEnergy(truth), {.degree = 2, .fixed = {false, false, true}});
    const double s0 = std::sqrt(start.covariance()(0, 0)), s1 = std::sqrt(OrnsteinUhlenbeck(truth).law(start, tau).covariance()(0, 0));
    REQUIRE(one.fit.status == Status::converged);
    CHECK(std::abs(one.fit.estimate[0] - ((s0 - s1) / tau + 1 / (beta * s1)) / s1) < 1e-6);
    // Without the entropy the spreading is put down to the potential, whose curvature (s0 - s1)/(tau s1) is then negative.
    const auto without = fit_first_order(exact_laws(tau, 1, 200), FreeEnergy().add_potential(quartic(), Vector{{0.0, 1.0, 0.0, 0.0}}), {.degree = 2, .fixed = {false, false, true, true}});
    REQUIRE(without.fit.status == Status::converged);
    CHECK(std::abs(without.fit.estimate[1] - (s0 - s1) / (tau * s1)) < 1e-6);
    CHECK(without.fit.estimate[1] < 0);
    // With the centre held on the wrong side kappa would be negative, which its family excludes.
    const auto bound = fit_first_order(exact_laws(tau, 1, 200), FreeEnergy(Model(ornstein_uhlenbeck(), Vector{{1.0, 5.0}}, beta)), {.degree = 2, .fixed = {false, true, true}});
    CHECK(bound.fit.status == Status::parameter_at_bound);
    CHECK(bound.fit.estimate[0] == 0);
  }
}

TEST_CASE("the reported covariance is that over replications") {
  // R = 1200: relative s.e. of a variance sqrt(2/R) = 4.1 %; 4.5 of them (7e-6 a check, six checks, fixed seed) and 5 % for n = 800 not being infinite.
  const int replications = 1200;
  const Index n = 800;
  Matrix estimates(3, replications), reported = Matrix::Zero(3, 3);
  double hansen = 0;
  for (int r = 0; r < replications; ++r) {
    const auto fit = fit_first_order(drawn(0.5, 3, n, static_cast<std::uint64_t>(r)), FreeEnergy(truth), {.degree = 2, .tolerance = 1e-4});
    REQUIRE(fit.fit.status == Status::converged);
    estimates.col(r) = fit.fit.estimate;
    reported += fit.fit.covariance / replications;
    hansen += fit.overidentification.statistic / replications;
    CHECK(fit.overidentification.degrees_of_freedom == 3);
  }
  const Matrix centred = estimates.colwise() - estimates.rowwise().mean();
  const Matrix empirical = centred * centred.transpose() / (replications - 1);
  for (Index i = 0; i < 3; ++i) {
    for (Index j = 0; j <= i; ++j) {
      const double unit = std::sqrt(reported(i, i) * reported(j, j)), correlation = reported(i, j) / unit;
      const double se = std::sqrt((1 + correlation * correlation) / replications);
      CHECK(std::abs(empirical(i, j) / unit - correlation) < 4.5 * se + 0.05);
    }
  }
  CHECK(std::abs(hansen - 3) < 4.5 * std::sqrt(6.0 / replications) + 0.1);  // chi-square with 3 degrees: variance 6; 0.1 for the tails at n = 800
}

TEST_CASE("what one Gaussian step cannot tell apart is said") {
  const auto r = fit_first_order(drawn(0.25, 1, 2000, 0), FreeEnergy(truth));
  CHECK(r.fit.status == Status::singular_information);
  CHECK(r.rank.p_value > 1e-3);
  const auto held = fit_first_order(drawn(0.25, 1, 2000, 0), FreeEnergy(truth), {.fixed = {false, false, true}});
  CHECK(held.fit.status == Status::converged);
  CHECK(held.rank.p_value < 1e-6);
  // The same parameter twice.
  const auto twice = fit_first_order(drawn(0.25, 3, 500, 0), FreeEnergy(Model(formula("(a+b)/2*x^2 - c*x"), Vector{{0.5, 0.5, 0.4}}, beta)));
  CHECK(twice.fit.status == Status::singular_information);
}

TEST_CASE("double well and interaction from flows of the quantile step") {
  // Snapshots are 2000 quantiles of a JKO flow's nodes: their error is O(1/n) in the tails; the conditions hold to about 1e-3 of a drift of order one.
  const auto sample = [](const QuantileFunction& q, Index n) {
    Matrix x(1, n);
    for (Index i = 0; i < n; ++i) x(0, i) = q.quantile((static_cast<double>(i) + 0.5) / static_cast<double>(n));
    return x;
  };
  FreeEnergy well;
  well.add_potential(double_well(), Vector{{1.0, 1.5, 0.2}}).add_entropy(3);
  const auto run = [&](const FreeEnergy& energy, double m, double v, Index cells) {
    return Flow<QuantileStep>(QuantileStep(energy), QuantileFunction::gaussian(m, v, cells), {.h = 0.1, .steps = 5}).run();
  };
  const auto flow = run(well, 0.3, 0.6, 1000);
  Snapshots s{Vector::LinSpaced(6, 0, 0.5), {}};
  for (const auto& state : flow.states) s.samples.push_back(sample(state.measure, 2000));
  FreeEnergy guess;
  guess.add_potential(double_well(), Vector{{0.5, 0.5, 0.0}}).add_entropy(1);
  const auto r = fit_first_order(s, guess);
  REQUIRE(r.fit.status == Status::converged);
  const Vector expected{{1.0, 1.5, 0.2, 3.0}};
  for (Index i = 0; i < 4; ++i) CHECK(std::abs(r.fit.estimate[i] - expected[i]) < 0.02 * (1 + std::abs(expected[i])));

  FreeEnergy pulled;
  pulled.add_potential(ornstein_uhlenbeck(), Vector{{0.8, 0.3}}).add_entropy(2).add_interaction(formula("w/2*x^2"), Vector{{1.1}});
  const auto crowd = run(pulled, 2, 0.5, 300);
  for (std::size_t k = 0; k < 6; ++k) s.samples[k] = sample(crowd.states[k].measure, 300);
  FreeEnergy blank;
  blank.add_potential(ornstein_uhlenbeck(), Vector{{0.5, 0.0}}).add_entropy(1).add_interaction(formula("w/2*x^2"), Vector{{0.1}});
  const auto found = fit_first_order(s, blank, {.degree = 2});
  REQUIRE(found.fit.status == Status::converged);
  const Vector all{{0.8, 0.3, 2.0, 1.1}};
  // 300 quantiles miss the tail mass 1/600 a side: the variance is short by about 1 %, and so is what it decides.
  for (Index i = 0; i < 4; ++i) CHECK(std::abs(found.fit.estimate[i] - all[i]) < 0.05 * (1 + std::abs(all[i])));
}

TEST_CASE("snapshot misuse is one line") {
  Snapshots s = exact_laws(0.1, 2, 50);
  CHECK_THROWS_AS((void)fit_first_order(s, FreeEnergy(Model(ornstein_uhlenbeck(2), Vector{{1, 0, 1, 0, 0}}, 1))), DomainError);
  CHECK_THROWS_AS((void)fit_first_order(s, FreeEnergy(truth), {.degree = 9}), DomainError);
  CHECK_THROWS_AS((void)fit_first_order(s, FreeEnergy(truth), {.degree = 1}), DomainError);  // 2 conditions, 3 parameters
  s.samples[1].setConstant(1);
  CHECK_THROWS_AS((void)fit_first_order(s, FreeEnergy(truth)), DomainError);
  s.times[1] = 5;
  CHECK_THROWS_AS((void)fit_first_order(s, FreeEnergy(truth)), DomainError);
}
