#include <jko/core/error.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/fokker_planck_density.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>

#include <boost/math/distributions/non_central_chi_squared.hpp>
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
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

TEST_CASE("misuse of the density is one line") {
  const Diffusion model = diffusion("cir", Vector{{1, 1, 0.5}});
  CHECK_THROWS_AS((void)fokker_planck_density(model, Vector{{1.0}}, Vector{{1.0}}, 0), DomainError);
  CHECK_THROWS_AS((void)fokker_planck_density(model, Vector{{-1.0}}, Vector{{1.0}}, 1), DomainError);
  CHECK_THROWS_AS((void)fokker_planck_density(model, Vector{{1.0}}, Vector{{1.0, 2.0}}, 1), ShapeError);
  CHECK_THROWS_AS((void)fokker_planck_density(model, Vector{{1.0}}, Vector{{1.0}}, 1, -1), DomainError);
}
