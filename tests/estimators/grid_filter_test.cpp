#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/grid_filter.hpp>
#include <jko/estimators/kalman_likelihood.hpp>
#include <jko/models/families.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using namespace jko;
using namespace jko::estimators;

namespace {

const Vector ou_values{{1.3, 0.4, 0.8}};
constexpr double noise = 0.3;
LinearSystem linear(double r) { return {Matrix{{-ou_values[0]}}, Vector{{ou_values[0] * ou_values[1]}}, Matrix{{ou_values[2]}}, r}; }

Path simulate(const LinearSystem& system, double dt, Index n, std::uint64_t index) {
  RandomStream random(23, "noisy path", index);
  const auto law = system.law(dt);
  Path path{Vector::LinSpaced(n + 1, 0, dt * static_cast<double>(n)), Matrix(1, n + 1)};
  double x = ou_values[1];
  for (Index i = 0; i <= n; ++i) {
    path.values(0, i) = x + system.noise * random.normal();
    x = law.flow(0, 0) * x + law.shift[0] + std::sqrt(law.covariance(0, 0)) * random.normal();
  }
  return path;
}

/// Euler with 100 steps between two observations: its bias is a hundredth of the sampling error below.
Path simulate(const Diffusion& diffusion, double r, double dt, Index n, std::uint64_t index) {
  RandomStream random(29, "noisy path", index);
  Path path{Vector::LinSpaced(n + 1, 0, dt * static_cast<double>(n)), Matrix(1, n + 1)};
  double x = 1;
  const double h = dt / 100;
  for (Index i = 0; i <= n; ++i) {
    path.values(0, i) = x + r * random.normal();
    for (int k = 0; k < 100; ++k) x += h * diffusion.drift(x) + std::sqrt(h) * diffusion.diffusion(x) * random.normal();
  }
  return path;
}

/// Kalman's gradient in (kappa, mu, sigma, noise): A = -kappa, c = kappa mu.
Vector transformed(const Vector& g) { return Vector{{-g[0] + ou_values[1] * g[1], ou_values[0] * g[1], g[2], g[3]}}; }

}  // namespace

TEST_CASE("Ornstein-Uhlenbeck with noise: the grid filter is the Kalman filter, to the error that it states") {
  Path path = simulate(linear(noise), 0.2, 150, 0);
  path.times.tail(40).array() += 0.5;  // one gap: its step is rare, the others share a matrix
  const Diffusion ou(diffusion_family("vasicek"), ou_values);
  const auto kalman = log_likelihood({path}, linear(noise), true);
  double before = 0;
  for (const double cells : {2.0, 4.0}) {
    const auto grid = grid_filter_log_likelihood({path}, ou, noise, {.cells_per_noise = cells}, true);
    const double difference = std::abs(grid.value - kalman.value);
    // `error` compares with a grid 1.5 times coarser, whose error of order four is 1.5^4 = 5 times this one's: the true error is a quarter of it. Half is asserted.
    CHECK(difference < 0.5 * grid.error);
    CHECK(difference > 0.05 * grid.error);  // nor is it absurdly pessimistic
    CHECK((grid.scores.rowwise().sum() - grid.gradient).cwiseAbs().maxCoeff() < 1e-10);
    if (before > 0) CHECK(difference < before / 12);  // fourth order: half the cell, a sixteenth of the error; some for the rounding of the numbers of cells
    before = difference;
  }
  // At 4 cells the gradient's error is the value's, times the derivative of its logarithm in noise, about 4/noise for a law of order (h/noise)^4.
  const auto grid = grid_filter_log_likelihood({path}, ou, noise, {.cells_per_noise = 4});
  CHECK((grid.gradient - transformed(kalman.gradient)).cwiseAbs().maxCoeff() < 10 * grid.error / noise);
}

TEST_CASE("the scores are those of the discrete filter: a difference of its values at shared and at single time steps") {
  Path path = simulate(linear(noise), 0.2, 45, 1);
  for (Index i = 35; i < 46; ++i) path.times[i] += 0.013 * static_cast<double>((i - 34) * (i - 34));  // ten steps of their own
  const Panel panel{path, simulate(linear(noise), 0.2, 5, 2)};
  const Vector centre{{1.3, 0.4, 0.8}};
  const DiffusionPtr family = diffusion_family("vasicek");
  const auto value = grid_filter_log_likelihood(panel, Diffusion(family, centre), noise, {}, true);
  for (Index i = 0; i < 3; ++i) {
    // The grid moves with sigma (it is made for these values), so that a difference in sigma sees the grid's error, 1e-5 here; in kappa and mu the grid stands still.
    const auto at = [&](double s) {
      Vector moved = centre;
      moved[i] += s;
      return grid_filter_log_likelihood(panel, Diffusion(family, moved), noise).value;
    };
    const double d = i == 2 ? 2e-2 : 1e-3, difference = (8 * (at(d) - at(-d)) - (at(2 * d) - at(-2 * d))) / (12 * d);
    CHECK(std::abs(difference - value.gradient[i]) < (i == 2 ? 10 * value.error / d : 1e-7) * (1 + value.scores.row(i).cwiseAbs().sum()));
  }
}

TEST_CASE("square-root diffusion with an observation below zero: one transition against a double integral of the closed law") {
  const Vector theta{{1.0, 0.5, 0.5}};  // 2 kappa mu = 4 sigma^2: p vanishes like x^3 at zero
  const Diffusion cir(diffusion_family("cir"), theta);
  const double r = 0.15, dt = 0.5, y0 = 0.1, y1 = -0.05;
  // Midpoint rule; the integrand is smooth but for the prior's cut at zero, where it is second order: 1e-5 at 200 points, and extrapolated.
  const auto integral = [&](Index m) {
    const double top = 1.6, h = top / static_cast<double>(m);
    Panel pairs;
    for (Index i = 0; i < m; ++i) {
      for (Index k = 0; k < m; ++k) pairs.push_back({Vector{{0, dt}}, Matrix{{(static_cast<double>(i) + 0.5) * h, (static_cast<double>(k) + 0.5) * h}}});
    }
    const auto density = [&](double z) { return std::exp(-0.5 * z * z / (r * r)) / (r * std::sqrt(2 * std::numbers::pi)); };
    double sum = 0, prior = 0;
    for (Index i = 0; i < m; ++i) {
      const double x0 = (static_cast<double>(i) + 0.5) * h;
      prior += density(y0 - x0);
      for (Index k = 0; k < m; ++k) sum += h * density(y0 - x0) * density(y1 - (static_cast<double>(k) + 0.5) * h) * std::exp(log_likelihood({pairs[static_cast<std::size_t>(i * m + k)]}, cir, Transition::exact).value);
    }
    return sum / prior;
  };
  const double coarse = integral(40), fine = integral(80), exact = std::log((4 * fine - coarse) / 3);
  const auto grid = grid_filter_log_likelihood({{Vector{{0, dt}}, Matrix{{y0, y1}}}}, cir, r, {.cells_per_noise = 8});
  CHECK(std::abs(grid.value - exact) < grid.error + std::abs(fine - coarse) / coarse / 3);
  CHECK(grid.error < 1e-3);
}

TEST_CASE("the fit is Kalman's, and follows the noise to a finer grid") {
  const Path path = simulate(linear(noise), 0.2, 300, 3);
  LinearSystem from = linear(0.5);
  const Fit kalman = fit({path}, from);
  const Fit grid = fit_grid_filter({path}, Diffusion(diffusion_family("vasicek"), ou_values), 0.6);
  REQUIRE(kalman.status == Status::converged);
  REQUIRE(grid.status == Status::converged);
  CHECK(grid.warnings.empty());
  // A log-likelihood off by e moves the estimate by at most sqrt(2 e) standard errors; e is the tolerance, 1e-2. A smooth error moves it far less: a tenth is asserted.
  const Vector errors = grid.standard_errors();
  CHECK(std::abs(grid.estimate[0] + kalman.estimate[0]) < 0.014 * errors[0]);
  CHECK(std::abs(grid.estimate[2] - kalman.estimate[2]) < 0.014 * errors[2]);
  CHECK(std::abs(grid.estimate[3] - kalman.estimate[3]) < 0.014 * errors[3]);
  CHECK(std::abs(errors[2] / kalman.standard_errors()[2] - 1) < 0.01);
  CHECK(std::abs(grid.log_likelihood - kalman.log_likelihood) < 1e-2);
}

TEST_CASE("a double well with noise recovers the truth; without the noise in the model it does not") {
  const DiffusionPtr family = diffusion_family("cubic");
  const Vector truth{{2, 2, 1}};
  const double r = 0.3;
  const Path path = simulate(Diffusion(family, truth), r, 0.25, 1500, 0);
  const Fit fit = fit_grid_filter({path}, Diffusion(family, Vector{{1, 1, 0.8}}), 0.4);
  REQUIRE(fit.status == Status::converged);
  // Four standard errors for each of four parameters: false alarm 2.5e-4 (fixed seed).
  for (Index i = 0; i < 3; ++i) CHECK(std::abs(fit.estimate[i] - truth[i]) < 4 * fit.standard_errors()[i]);
  CHECK(std::abs(fit.estimate[3] - r) < 4 * fit.standard_errors()[3]);
  const Fit blind = jko::estimators::fit({path}, Diffusion(family, Vector{{1, 1, 0.8}}), Transition::fokker_planck);
  CHECK(blind.estimate[2] - truth[2] > 5 * blind.standard_errors()[2]);
}

TEST_CASE("misuse of the grid filter is one line; what it cannot resolve it says") {
  const Path path = simulate(linear(noise), 0.2, 40, 4);
  const Diffusion ou(diffusion_family("vasicek"), ou_values);
  CHECK_THROWS_AS((void)grid_filter_log_likelihood({path}, ou, 0), DomainError);
  CHECK_THROWS_AS((void)grid_filter_log_likelihood({}, ou, 1), ShapeError);
  CHECK_THROWS_AS((void)grid_filter_log_likelihood({path}, ou, 1, {.cells_per_noise = 1}), DomainError);
  CHECK_THROWS_AS((void)fit_grid_filter({{Vector{{0, 1}}, Matrix{{1.0, 1.0}}}}, ou, 1), DomainError);
  // A noise of a thousandth of the range: 400 cells do not resolve it.
  FitOptions known;
  known.fixed = {false, false, false, true};
  CHECK_THROWS_WITH_AS((void)fit_grid_filter({path}, ou, 1e-3, {.most_cells = 400}, known), doctest::Contains("more than most_cells = 400: leave the noise out"), DomainError);
  // Data without noise: the estimate runs to the least that the cells resolve.
  const Fit none = fit_grid_filter({simulate(linear(1e-9), 0.2, 120, 5)}, ou, 0.3, {.most_cells = 100});
  CHECK(none.status == Status::parameter_at_bound);
  REQUIRE(!none.warnings.empty());
  CHECK(none.warnings.back().find("100 cells resolve: leave it out") != std::string::npos);
  // Nine deviations of the forecast: no digits.
  Path jump = path;
  jump.values(0, 20) += 9;
  CHECK(grid_filter_log_likelihood({jump}, ou, noise).value == -std::numeric_limits<double>::infinity());
}
