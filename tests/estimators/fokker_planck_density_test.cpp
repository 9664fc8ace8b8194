#include <jko/core/error.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/fokker_planck_density.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>

#include <boost/math/distributions/non_central_chi_squared.hpp>
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numbers>

using namespace jko;
using namespace jko::estimators;

namespace {

Diffusion diffusion(const char* name, Vector theta) { return {diffusion_family(name), std::move(theta)}; }

double normal_log(double z, double variance) { return -0.5 * (std::log(2 * std::numbers::pi * variance) + z * z / variance); }

/// Largest |log p - oracle| over the pairs.
double error(const Diffusion& model, const Vector& x, const Vector& next, double dt, const std::function<double(double, double)>& oracle) {
  const Vector value = fokker_planck_density(model, x, next, dt).log_density;
  double worst = 0;
  for (Index i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(value[i] - oracle(x[i], next[i])));
  return worst;
}

}  // namespace

// The density's absolute error is about 1e-14 times exp(S' - S), which is below 1e3 for these pairs (within about two deviations); the peak is of order one.
TEST_CASE("Vasicek and geometric Brownian motion: the closed laws, from one basis to many patches") {
  for (const double dt : {1.0, 0.1, 0.01, 0.001}) {
    const double kappa = 2, mu = 0.5, decay = std::exp(-kappa * dt), variance = -std::expm1(-2 * kappa * dt) / (2 * kappa);
    Vector x(9), next(9);
    for (Index i = 0; i < 9; ++i) x[i] = mu + 0.3 * static_cast<double>(i - 4), next[i] = mu + (x[i] - mu) * decay + 0.5 * static_cast<double>(4 - i) * std::sqrt(variance);
    CHECK(error(diffusion("vasicek", Vector{{kappa, mu, 1}}), x, next, dt, [&](double a, double b) { return normal_log(b - mu - (a - mu) * decay, variance); }) < 1e-9);
    for (Index i = 0; i < 9; ++i) x[i] = std::exp(0.2 * static_cast<double>(i - 4)), next[i] = x[i] * std::exp(0.055 * dt + 0.15 * static_cast<double>(4 - i) * std::sqrt(dt));
    CHECK(error(diffusion("gbm", Vector{{0.1, 0.3}}), x, next, dt, [&](double a, double b) { return normal_log(std::log(b / a) - 0.055 * dt, 0.09 * dt) - std::log(b); }) < 1e-9);
  }
}

TEST_CASE("square root: Boost's non-central chi-squared") {
  const double kappa = 0.5, mu = 0.06, sigma = 0.1, dt = 0.25;
  const double c = 2 * kappa / (sigma * sigma * -std::expm1(-kappa * dt));
  const Vector x{{0.03, 0.06, 0.06, 0.09}}, next{{0.035, 0.05, 0.07, 0.08}};
  const auto oracle = [&](double a, double b) {
    return std::log(2 * c * boost::math::pdf(boost::math::non_central_chi_squared(4 * kappa * mu / (sigma * sigma), 2 * c * a * std::exp(-kappa * dt)), 2 * c * b));
  };
  const Diffusion model = diffusion("cir", Vector{{kappa, mu, sigma}});
  CHECK(error(model, x, next, dt, oracle) < 1e-8);  // 2 kappa mu/sigma^2 = 6: the origin is out of reach, but V is singular there
  // The closed form of the likelihood against the same oracle, in the series' and the Debye expansion's regimes. Boost promises about 1e-13 relative; sums of size 1e3 cancel in both.
  for (const double step : {5.0, 0.25, 1.0 / 252}) {
    const double q = 2 * kappa / (sigma * sigma * -std::expm1(-kappa * step));
    for (Index i = 0; i < x.size(); ++i) {
      const double shifted = x[i] + (next[i] - x[i]) * std::sqrt(step);
      const double value = log_likelihood({{Vector{{0, step}}, Matrix{{x[i], shifted}}}}, model, Transition::exact).value;
      const double exact = std::log(2 * q * boost::math::pdf(boost::math::non_central_chi_squared(4 * kappa * mu / (sigma * sigma), 2 * q * x[i] * std::exp(-kappa * step)), 2 * q * shifted));
      CHECK(std::abs(value - exact) < 1e-10);
    }
  }
}

TEST_CASE("Jacobi: the spectral series and the Fokker-Planck density agree") {
  const Diffusion model = diffusion("jacobi", Vector{{1.5, 0.45, 0.5}});  // Beta(5.4, 6.6): both ends out of reach
  for (const double dt : {1.0, 0.2}) {
    const Vector x{{0.2, 0.4, 0.5, 0.7}}, next{{0.3, 0.35, 0.6, 0.6}};
    const Vector value = fokker_planck_density(model, x, next, dt).log_density;
    for (Index i = 0; i < 4; ++i) CHECK(std::abs(value[i] - log_likelihood({{Vector{{0, dt}}, Matrix{{x[i], next[i]}}}}, model, Transition::exact).value) < 1e-8);
  }
}

TEST_CASE("double well, dt = 0.5: mass one, detailed balance, Chapman-Kolmogorov") {
  const Diffusion model = diffusion("cubic", Vector{{2, 2, 1}});
  constexpr Index points = 801;
  const Vector grid = Vector::LinSpaced(points, -2.4, 2.4);
  const double width = grid[1] - grid[0];
  // The trapezoidal rule is exponentially accurate here; beyond +-2.4 the stationary density is below 1e-19.
  const auto density = [&](double x, double dt) { return Vector(fokker_planck_density(model, Vector::Constant(points, x), grid, dt, 3).log_density.array().exp()); };
  const Vector half = density(0.3, 0.5);
  CHECK(std::abs(half.sum() * width - 1) < 1e-10);
  const auto stationary = [](double x) { return std::exp(2 * x * x - x * x * x * x); };  // exp(2 int b)
  const double forward = fokker_planck_density(model, Vector{{0.3}}, Vector{{-1.1}}, 0.5, 3).log_density[0], backward = fokker_planck_density(model, Vector{{-1.1}}, Vector{{0.3}}, 0.5, 3).log_density[0];
  CHECK(std::abs(forward + std::log(stationary(0.3)) - backward - std::log(stationary(-1.1))) < 1e-10);
  const Vector onward = fokker_planck_density(model, grid, Vector::Constant(points, -0.8), 0.25, 3).log_density.array().exp();
  const double composed = (density(0.3, 0.25).array() * onward.array()).sum() * width;
  CHECK(std::abs(composed / std::exp(fokker_planck_density(model, Vector{{0.3}}, Vector{{-0.8}}, 0.5, 3).log_density[0]) - 1) < 1e-9);
  const auto value = fokker_planck_density(model, grid, Vector::Constant(points, -0.8), 0.5, 3);
  CHECK(value.error < 1e-8);
  CHECK(value.states < 40);
}

// The reported error has to cover the true one: that is the claim. Its size: the expansion's orders two and three differ by (kappa dt)^3 times constants and squares of the distance (up to 12 deviations),
// 1e-5 at dt = 0.01 with room. Level 2: the basis is resolved, so that rounding and truncation are all that is left; the closed law itself is rounded at 1e-13 of terms of size 1e2.
TEST_CASE("unlikely steps: the error of log p is covered by the estimate, to twelve deviations") {
  const double kappa = 2, mu = 0.5;
  const Diffusion model = diffusion("vasicek", Vector{{kappa, mu, 1}});
  for (const double dt : {1.0, 0.1, 0.01}) {
    const double decay = std::exp(-kappa * dt), variance = -std::expm1(-2 * kappa * dt) / (2 * kappa);
    Vector x(34), next(34);
    for (Index i = 0; i < 34; ++i) x[i] = i < 17 ? mu : 1.3, next[i] = mu + (x[i] - mu) * decay + (4 + 0.5 * static_cast<double>(i % 17)) * (i % 2 == 0 ? 1 : -1) * std::sqrt(variance);
    const auto value = fokker_planck_density(model, x, next, dt, 2);
    for (Index i = 0; i < 34; ++i) {
      CAPTURE(dt);
      CAPTURE(i);
      if (std::isfinite(value.log_density[i])) CHECK(std::abs(value.log_density[i] - normal_log(next[i] - mu - (x[i] - mu) * decay, variance)) <= value.log_error[i] + 1e-11);
      else CHECK(dt == 1.0);  // coarse: the expansion has no digits either
      if (dt == 0.01) CHECK(value.log_error[i] < 1e-5);
    }
  }
}

// The step of May 1980 in the one-year Treasury yield is 7.2 deviations of the fitted CIR model, where the series alone is off by 1e-3.
TEST_CASE("the likelihood's error covers the distance to the exact law of a path with an unlikely step") {
  const Path path{Vector{{0, 1.0 / 12, 2.0 / 12, 3.0 / 12}}, Matrix{{15.82, 13.3, 9.39, 8.16}}};
  const Diffusion model = diffusion("cir", Vector{{0.115737, 6.59185, 0.563005}});
  const auto numerical = log_likelihood({path}, model, Transition::fokker_planck), exact = log_likelihood({path}, model, Transition::exact);
  CHECK(std::abs(numerical.value - exact.value) <= numerical.error + 1e-11);
  CHECK(numerical.error < 1e-6);  // the stopping rule's 1e-6 holds again
  // The expansion's gradient: its third order is off by at most as much as the second differs, relative to the gradient; (kappa dt)^3 = 1e-6.
  CHECK((numerical.gradient - exact.gradient).cwiseAbs().maxCoeff() < 1e-6 * exact.gradient.cwiseAbs().maxCoeff());
}

TEST_CASE("a step that nothing resolves has density zero, and the fit says so") {
  const Diffusion model = diffusion("cubic", Vector{{2, 2, 0.2}});
  const auto value = fokker_planck_density(model, Vector{{1.0}}, Vector{{-4.0}}, 0.5);
  CHECK(value.log_density[0] == -std::numeric_limits<double>::infinity());
  CHECK(value.log_error[0] == std::numeric_limits<double>::infinity());
  const Fit fitted = fit({Path{Vector{{0, 0.5, 1}}, Matrix{{1.0, 1.1, -4.0}}}}, model, Transition::fokker_planck, {.fixed = {true, true, true}});
  REQUIRE(!fitted.warnings.empty());
  CHECK(fitted.warnings.back().find("density zero: 1 of 2 steps, the first from 1.1 to -4") == 0);
}

TEST_CASE("misuse of the density is one line") {
  const Diffusion model = diffusion("cir", Vector{{1, 1, 0.5}});
  CHECK_THROWS_AS((void)fokker_planck_density(model, Vector{{1.0}}, Vector{{1.0}}, 0), DomainError);
  CHECK_THROWS_AS((void)fokker_planck_density(model, Vector{{-1.0}}, Vector{{1.0}}, 1), DomainError);
  CHECK_THROWS_AS((void)fokker_planck_density(model, Vector{{1.0}}, Vector{{1.0, 2.0}}, 1), ShapeError);
  CHECK_THROWS_AS((void)fokker_planck_density(model, Vector{{1.0}}, Vector{{1.0}}, 1, -1), DomainError);
}
