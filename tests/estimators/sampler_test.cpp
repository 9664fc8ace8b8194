#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/estimators/sampler.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/simulate.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

/// Normal data with known variance and a normal prior on the mean; a second parameter is a precision with a gamma prior and data of its own: both conjugate.
struct Conjugate {
  double n = 40, mean = 1.2, variance = 2, prior_mean = 0, prior_deviation = 0.5;
  double m = 30, squares = 50, shape = 2, scale = 0.4;
  [[nodiscard]] LogDensity operator()(const Vector& x) const {
    const double tau = x[1];
    return {-0.5 * n * (mean - x[0]) * (mean - x[0]) / variance + 0.5 * m * std::log(tau) - 0.5 * tau * squares, Vector{{n * (mean - x[0]) / variance, 0.5 * m / tau - 0.5 * squares}}};
  }
};

}  // namespace

TEST_CASE("conjugate posteriors: moments and quantiles, by both proposals") {
  const Conjugate data;
  const double precision = data.n / data.variance + 4, centre = data.n * data.mean / data.variance / precision;
  const double shape = data.shape + 0.5 * data.m, rate = 1 / data.scale + 0.5 * data.squares;
  const auto density = posterior({{Prior::Kind::normal, 0, 0.5}, {Prior::Kind::gamma, 2, 0.4}}, data);
  for (const Proposal proposal : {Proposal::random_walk, Proposal::langevin}) {
    const Posterior p = sample(density, Vector{{1.0, 0.5}}, Matrix{{0.05, 0}, {0, 0.02}}, {.proposal = proposal, .draws = 5000, .seed = 3});
    // Means at 4.5 of their own Monte-Carlo errors; deviations at 4.5 of 1/sqrt(2 ESS): 7e-6 a check, eight checks, fixed seed.
    const Vector error = p.monte_carlo_error(), mean{{centre, shape / rate}}, deviation{{1 / std::sqrt(precision), std::sqrt(shape) / rate}};
    for (Index i = 0; i < 2; ++i) {
      CHECK(std::abs(p.mean[i] - mean[i]) < 4.5 * error[i]);
      CHECK(std::abs(p.deviation[i] / deviation[i] - 1) < 4.5 / std::sqrt(p.effective_size[i]));  // the gamma's kurtosis and the squares' own mixing are below a factor of sqrt 2
      CHECK(p.split_rhat[i] < 1.01);
      CHECK(p.effective_size[i] > 1000);
    }
    // The normal's 97.5 % point: the s.e. of a quantile is sqrt(q (1-q)/ESS)/density = 2.67 deviations/sqrt(ESS).
    CHECK(std::abs(p.quantile(0.975)[0] - mean[0] - 1.959964 * deviation[0]) < 4.5 * 2.67 * error[0]);
    CHECK(p.acceptance.minCoeff() > (proposal == Proposal::langevin ? 0.4 : 0.15));
    CHECK(p.acceptance.maxCoeff() < (proposal == Proposal::langevin ? 0.8 : 0.45));
  }
}

TEST_CASE("draws do not depend on threads") {
  const auto density = posterior({{Prior::Kind::normal, 0, 0.5}, {Prior::Kind::log_normal, 0, 1}}, Conjugate());
  const Matrix scale{{0.05, 0}, {0, 0.02}};
  const Posterior one = sample(density, Vector{{1.0, 0.5}}, scale, {.warm_up = 50, .draws = 50}), two = sample(density, Vector{{1.0, 0.5}}, scale, {.warm_up = 50, .draws = 50, .threads = 2});
  for (std::size_t c = 0; c < 4; ++c) CHECK(one.chains[c] == two.chains[c]);
}

TEST_CASE("prior gradients are those of the priors") {
  for (const Prior& prior : {Prior{Prior::Kind::normal, 0.3, 0.7}, Prior{Prior::Kind::log_normal, 0.2, 0.5}, Prior{Prior::Kind::gamma, 2.5, 0.4}}) {
    const auto density = posterior({prior}, [](const Vector& x) { return LogDensity{0, Vector::Zero(x.size())}; });
    const double x = 0.8, d = 1e-4;
    const double difference = (8 * (density(Vector{{x + d}}).value - density(Vector{{x - d}}).value) - density(Vector{{x + 2 * d}}).value + density(Vector{{x - 2 * d}}).value) / (12 * d);
    CHECK(std::abs(density(Vector{{x}}).gradient[0] - difference) < 1e-9);
  }
  const auto cut = posterior({{.kind = Prior::Kind::flat, .lower = 0, .upper = 1}}, [](const Vector&) -> LogDensity { throw DomainError("the likelihood must not be called there"); });
  CHECK(cut(Vector{{1.5}}).value == -std::numeric_limits<double>::infinity());
  CHECK_THROWS_AS((void)posterior({{Prior::Kind::normal, 0, -1}}, Conjugate()), DomainError);
}

TEST_CASE("effective size of an autoregression, and chains that have not mixed") {
  // AR(1) with coefficient phi: n (1 - phi)/(1 + phi) effective draws.
  const double phi = 0.8;
  Matrix chains(20000, 4);
  for (Index c = 0; c < 4; ++c) {
    RandomStream random(2, "mixing", static_cast<std::uint64_t>(c));
    double x = random.normal();
    for (Index i = 0; i < chains.rows(); ++i) chains(i, c) = x = phi * x + std::sqrt(1 - phi * phi) * random.normal();
  }
  const Mixing good = mixing(chains);
  CHECK(std::abs(good.effective_size / (80000 * (1 - phi) / (1 + phi)) - 1) < 0.15);  // Geyer's cut leaves a few per cent of noise
  CHECK(good.split_rhat < 1.01);
  chains.col(0).array() += 3;
  const Mixing bad = mixing(chains);
  CHECK(bad.split_rhat > 1.5);
  CHECK(bad.effective_size < 20);
}

TEST_CASE("the posterior of an OU path under flat priors is near its likelihood's Gaussian") {
  const Model truth(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
  const Vector times = Vector::LinSpaced(1001, 0, 500);
  const Panel panel{Path{times, simulate_path(truth, Vector{{0.4}}, times, 0, {.seed = 8})}};
  const Fit f = fit(panel, truth, Transition::exact);
  REQUIRE(f.status == Status::converged);
  const auto density = posterior({{.lower = 0}, {}, {.lower = 0}}, [&](const Vector& x) {
    const auto l = log_likelihood(panel, truth.with_parameters(x), Transition::exact);
    return LogDensity{l.value, l.gradient};
  });
  const Posterior p = sample(density, f.estimate, f.covariance, {.proposal = Proposal::langevin, .warm_up = 300, .draws = 700, .seed = 5});
  for (Index i = 0; i < 3; ++i) {
    CHECK(p.split_rhat[i] < 1.03);
    // Bernstein-von Mises at n = 1000: mean within 0.2 and deviation within 10 % plus 4.5 Monte-Carlo errors.
    CHECK(std::abs(p.mean[i] - f.estimate[i]) < 0.2 * f.standard_errors()[i] + 4.5 * p.monte_carlo_error()[i]);
    CHECK(std::abs(p.deviation[i] / f.standard_errors()[i] - 1) < 0.1 + 4.5 / std::sqrt(p.effective_size[i]));
  }
  CHECK_THROWS_AS((void)sample(density, Vector{{-1.0, 0, 1}}, f.covariance), DomainError);
}
