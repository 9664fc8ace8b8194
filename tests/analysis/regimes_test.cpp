#include <jko/analysis/offline_limit.hpp>
#include <jko/analysis/regimes.hpp>
#include <jko/core/error.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::analysis;

namespace {

const double m0 = 2, v0 = 1.2, t = 0.9;
const std::vector<Functional> phi{[](double x) { return x; }, [](double x) { return x * x; }};

LimitCase case_of(const Model& model) {
  return {model, [](double x) { return std::exp(-(x - m0) * (x - m0) / (2 * v0)); }, -7, 9, 200, t, 60};
}

}  // namespace

TEST_CASE("the bias term: linear parameters respond to the bias, nonlinear ones to the variance too") {
  const Model ou(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
  const BatchEstimator kappa{Vector{{3.38, 0, 0}}.asDiagonal(), Vector{{2.6, 0, 0}}};
  const auto terms = regime_terms(case_of(ou), kappa, phi);
  // Same discretisation, linear in the forcing: equal to rounding.
  CHECK((terms.bias - offline_limit(case_of(ou)).pairing(phi) * kappa.bias).cwiseAbs().maxCoeff() < 1e-12);
  // Psi = e^a x^2/2 and its temperature: E e^{a_m} adds half the variance, E 1/beta_m adds Var/beta^3 to -bias/beta^2.
  const Model nonlinear(formula("exp(a)/2*x^2"), Vector{{0.2}}, 2);
  const BatchEstimator both{Vector{{0.6, 1.4}}.asDiagonal(), Vector{{-0.1, 0.3}}};
  const Vector effective{{-0.1 + 0.3, 0.3 - 1.4 / 2}};
  CHECK((regime_terms(case_of(nonlinear), both, phi).bias - offline_limit(case_of(nonlinear)).pairing(phi) * effective).cwiseAbs().maxCoeff() < 1e-12);
}

TEST_CASE("the expected mean of an online flow has the expansion rho + h eta + b/m") {
  // kappa_m takes two values with mean kappa + b1/m and variance sigma^2/m, independently in every step: E m_k = mu + (m0 - mu) (E 1/(1 + h kappa_m))^k exactly.
  const double kappa = 1.3, mu = 0.4, b1 = 2.6, sigma = 0.8;
  const Model ou(ornstein_uhlenbeck(), Vector{{kappa, mu}}, 2);
  const auto scaled = [&](int steps, double m) {  // m (E m_k - m(t) - h eta)
    const double h = t / steps, up = kappa + b1 / m + sigma / std::sqrt(m), down = kappa + b1 / m - sigma / std::sqrt(m);
    const double factor = 0.5 / (1 + h * up) + 0.5 / (1 + h * down);
    const double eta = 0.5 * kappa * kappa * t * std::exp(-kappa * t) * (m0 - mu);
    return m * (mu + (m0 - mu) * std::pow(factor, steps) - (mu + (m0 - mu) * std::exp(-kappa * t) + h * eta));
  };
  LimitCase c = case_of(ou);
  const BatchEstimator estimator{Vector{{sigma * sigma, 0, 0}}.asDiagonal(), Vector{{b1, 0, 0}}};
  const auto coarse = regime_terms(c, estimator, phi), fine = regime_terms(c.refined(), estimator, phi);
  const double b = (4 * fine.bias[0] - coarse.bias[0]) / 3, error = std::abs(fine.bias[0] - coarse.bias[0]) / 3;
  // m h = 1 at two levels: the rest is O(h) + O(1/m) + m h^2, all halved from one to the next; the last change bounds what is left.
  const double one = scaled(1000, 1000 / t), two = scaled(2000, 2000 / t), last = 2 * two - one;
  CHECK(std::abs(last - b) < std::abs(last - two) * 0.05 + error);
  CHECK(std::abs(fine.corrector[0] - OrnsteinUhlenbeck(ou).corrector(Gaussian(Vector{{m0}}, Matrix{{v0}}), t)[0]) < 1e-3);
}

TEST_CASE("which regime has the central limit theorem") {
  const Model ou(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
  const Matrix sigma = Vector{{3.38, 0, 0}}.asDiagonal();
  const auto biased = regime_terms(case_of(ou), {sigma, Vector{{2.6, 0, 0}}}, phi), corrected = regime_terms(case_of(ou), {sigma, Vector::Zero(3)}, phi);
  CHECK(corrected.bias.isZero(0));
  CHECK((biased.corrector - corrected.corrector).isZero(0));
  // Unbiased: sqrt(a) eta vanishes for small a. Biased and centred at the law: one of the two terms grows at either end.
  CHECK(regime_bias_ratio(corrected, Centring::law, 1e-4) < 0.1);
  for (double a = 1e-6; a < 1; a *= 1.5) CHECK(regime_bias_ratio(biased, Centring::law, a) > 0.1);
  for (double a = 10; a < 1e6; a *= 1.5) CHECK(regime_bias_ratio(biased, Centring::law, a) > 0.1);
  // In between the terms of the mean happen to cancel at a = 4/kappa: the step slows the mean down by kappa^2 h/2, the bias 2 kappa/m speeds it up. Both
  // terms are second order in the grid.
  CHECK(std::abs(regime_shift(biased, Centring::law, 4 / 1.3)[0]) < 1e-2 * std::abs(regime_shift(biased, Centring::law, 1)[0]));
  CHECK(regime_bias_ratio(biased, Centring::scheme, 1e4) < 0.1);
  CHECK(regime_bias_ratio(biased, Centring::corrected, 1e4) == regime_bias_ratio(biased, Centring::scheme, 1e4));
  const Vector at_four = regime_shift(biased, Centring::law, 4);
  CHECK((at_four - 2 * biased.corrector - biased.bias / 2).isZero(1e-15));
  CHECK_THROWS_AS((void)regime_shift(biased, Centring::law, 0), DomainError);
}
