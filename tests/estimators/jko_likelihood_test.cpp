#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/fokker_planck_density.hpp>
#include <jko/estimators/jko_likelihood.hpp>
#include <jko/models/families.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

Panel pairs(const Vector& x, const Vector& next, double dt) {
  Panel out;
  for (Index i = 0; i < x.size(); ++i) out.push_back({Vector{{0, dt}}, Matrix{{x[i], next[i]}}});
  return out;
}

}  // namespace

TEST_CASE("the JKO likelihood of OU is the exact one, to its own estimate of the error") {
  const Model ou(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
  const Panel data = pairs(Vector{{1.2, 0.4, -0.5, 0.1}}, Vector{{0.7, 0.9, -0.2, -0.6}}, 0.5);
  const auto jko = jko_log_likelihood(data, ou, {}, true), exact = log_likelihood(data, ou, Transition::exact);
  // Measured 1.1e-5 with the estimate 7e-4, of the less accurate of the two flows; so the gradient.
  CHECK(std::abs(jko.value - exact.value) < jko.error);
  CHECK(jko.error < 2e-3);
  CHECK((jko.gradient - exact.gradient).cwiseAbs().maxCoeff() < 1e-3);
  CHECK(jko_log_likelihood(data, ou, {.threads = 2}).value == jko.value);
}

TEST_CASE("the JKO likelihood of a double well at dt = 0.5 converges to the Fokker-Planck one; its gradient is that of the value") {
  const Model well(double_well(), Vector{{2, 2, 0.1}}, 2);
  const Panel data = pairs(Vector{{-1, -0.2, 0, 0.4, 1.1, 1.4}}, Vector{{-0.8, 0.9, -0.3, 1, 0.6, -0.9}}, 0.5);
  const auto jko = jko_log_likelihood(data, well), right = log_likelihood(data, well, Transition::fokker_planck);
  // Measured: 8.0e-4, 1.0e-4, 1.6e-5 with estimates 4.0e-3, 6.6e-4, 1.7e-4: the estimate bounds, and what is left falls faster than the second order of a single flow.
  CHECK(std::abs(jko.value - right.value) < jko.error);
  CHECK(jko.error < 1e-2);
  const auto finer = jko_log_likelihood(data, well, {.cells = 200, .start = 1.0 / 64, .growth = 0.125});
  CHECK(std::abs(finer.value - right.value) < finer.error);
  CHECK(std::abs(finer.value - right.value) < 0.25 * std::abs(jko.value - right.value));
  const Vector centre = well.parameters();
  for (Index j = 0; j < centre.size(); ++j) {
    const double d = 1e-4;
    const auto at = [&](double s) {
      Vector moved = centre;
      moved[j] += s;
      return jko_log_likelihood(data, well.with_parameters(moved)).value;
    };
    // Truncation d^2 = 1e-8 times the third derivative (below a hundred); the steps' own tolerance 1e-11 over the cells' width, over d: 1e-5.
    CHECK(std::abs((at(d) - at(-d)) / (2 * d) - jko.gradient[j]) < 3e-5);
  }
}

TEST_CASE("a fit by the JKO likelihood, and what it is not for") {
  RandomStream random(3, "jko likelihood");
  Path path{Vector::LinSpaced(16, 0, 6), Matrix(1, 16)};
  path.values(0, 0) = 0.4;
  for (Index i = 0; i < 15; ++i) {
    const double decay = std::exp(-1.3 * 0.4);
    path.values(0, i + 1) = 0.4 + (path.values(0, i) - 0.4) * decay + std::sqrt((1 - decay * decay) / 2.6) * random.normal();
  }
  const Model start(ornstein_uhlenbeck(), Vector{{1, 0}}, 1);
  const Fit jko = fit({path}, start, Transition::jko), exact = fit({path}, start, Transition::exact);
  REQUIRE(jko.status == Status::converged);
  // The log-likelihoods differ by some 1e-4 a transition at most, smoothly: two sqrt(15e-4) = 0.08 standard errors at worst.
  for (Index j = 0; j < 3; ++j) CHECK(std::abs(jko.estimate[j] - exact.estimate[j]) < 0.08 * exact.standard_errors()[j]);
  CHECK_THROWS_AS((void)jko_log_likelihood({path}, start, {.start = 1}), DomainError);
  CHECK_THROWS_AS((void)jko_log_likelihood({path}, start, {.cells = 4}), DomainError);
  CHECK_THROWS_AS((void)jko_log_likelihood({path}, start, {.growth = 0}), DomainError);
}

TEST_CASE("the JKO likelihood for sigma(x), in y = int dx/sigma: geometric and square-root laws with their gradients") {
  struct Case {
    const char* family;
    Vector theta, x;
  };
  for (const Case& c : {Case{"gbm", Vector{{0.1, 0.3}}, Vector{{1, 1.2, 0.95}}}, Case{"cir", Vector{{1, 0.5, 0.5}}, Vector{{0.4, 0.55, 0.3}}}}) {
    const Diffusion model(diffusion_family(c.family), c.theta);
    const Panel data{{Vector{{0, 0.3, 0.8}}, c.x.transpose()}};
    const auto jko = log_likelihood(data, model, Transition::jko), exact = log_likelihood(data, model, Transition::exact);
    CHECK(std::abs(jko.value - exact.value) < jko.error);
    CHECK(jko.error < 5e-3);
    // The gradients of a log-density whose error is e are off by about e over the parameters' scale of a fifth.
    CHECK((jko.gradient - exact.gradient).cwiseAbs().maxCoeff() < 10 * jko.error);
    CHECK(exact.gradient.cwiseAbs().maxCoeff() > 20 * 5e-3);  // and that says something
  }
  // A diffusion of constant sigma that is not declared a Langevin model is the same thing.
  const Panel line{{Vector{{0, 0.4}}, Matrix{{0.5, 0.2}}}};
  const auto given = log_likelihood(line, Diffusion(diffusion_family("vasicek"), Vector{{1.3, 0.1, 1}}), Transition::jko), langevin = log_likelihood(line, Model(ornstein_uhlenbeck(), Vector{{1.3, 0.1}}, 2), Transition::jko);
  CHECK(std::abs(given.value - langevin.value) < 1e-8);  // the steps' own tolerance
  CHECK(std::abs(given.gradient[0] - langevin.gradient[0]) < 1e-6);
}
