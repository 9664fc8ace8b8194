#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/nonparametric.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/simulate.hpp>

#include <doctest/doctest.h>
#include <paths.hpp>

#include <algorithm>
#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

const Model ou(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);

Path path_of(const Model& model, Index n, double dt, std::uint64_t index) { return jko::testing::langevin_path(model, n, dt, index, 7); }

/// Transitions with b = 0.7 - 1.3 x exactly and no noise, from scattered points with uneven steps: a path of two points each.
Panel noiseless() {
  RandomStream random(3, "noiseless");
  Panel out;
  for (int i = 0; i < 60; ++i) {
    const double x = 4 * random.uniform() - 2, dt = 0.05 + 0.1 * random.uniform();
    out.push_back({Vector{{0.0, dt}}, Matrix{{x, x + (0.7 - 1.3 * x) * dt}}});
  }
  return out;
}

/// The kernel estimates written out: at x, without observation `left_out` (none: -1).
double direct(const Panel& panel, double x, double h, bool linear, Index left_out) {
  double s0 = 0, s1 = 0, s2 = 0, v0 = 0, v1 = 0;
  Index i = 0;
  for (const Path& path : panel) {
    for (Index j = 0; j < path.transitions(); ++j, ++i) {
      const double z = path.values(0, j) - x, dt = path.times[j + 1] - path.times[j], y = (path.values(0, j + 1) - path.values(0, j)) / dt;
      if (i == left_out || std::abs(z) >= h) continue;
      const double k = (1 - z * z / (h * h)) * dt;
      s0 += k, s1 += k * z, s2 += k * z * z, v0 += k * y, v1 += k * z * y;
    }
  }
  return linear ? (s2 * v0 - s1 * v1) / (s0 * s2 - s1 * s1) : v0 / s0;
}

}  // namespace

TEST_CASE("a linear drift is reproduced by the local line and the spline, not by the local mean") {
  const Panel panel = noiseless();
  for (const Smoother smoother : {Smoother::local_linear, Smoother::spline, Smoother::nadaraya_watson}) {
    const auto f = fit_nonparametric(panel, {.smoother = smoother, .drift_smoothing = smoother == Smoother::spline ? 0.01 : 0.8, .diffusion_smoothing = 1, .points = 21, .trim = 0});
    REQUIRE(f.status == Status::converged);
    const Vector truth = 0.7 - 1.3 * f.x.array();
    const double error = (f.drift.estimate - truth).cwiseAbs().maxCoeff();
    // Rounding: normal equations of condition 1e3 or so.
    if (smoother == Smoother::nadaraya_watson) CHECK(error > 0.05);
    else CHECK(error < 1e-11);
    if (smoother != Smoother::nadaraya_watson) CHECK(f.drift.standard_error.maxCoeff() < 1e-6);  // leave-one-out residuals from moving sums: 1e-7 or so
  }
}

TEST_CASE("kernel estimates, cross-validation scores and variances by their definitions") {
  const Panel panel{path_of(ou, 150, 0.1, 0), path_of(ou, 100, 0.07, 1)};
  Vector x(250), dt(250), y(250);
  Index i = 0;
  for (const Path& path : panel) {
    for (Index j = 0; j < path.transitions(); ++j, ++i) {
      x[i] = path.values(0, j);
      dt[i] = path.times[j + 1] - path.times[j];
      y[i] = (path.values(0, j + 1) - x[i]) / dt[i];
    }
  }
  Vector sorted = x;
  std::sort(sorted.begin(), sorted.end());
  for (const bool linear : {false, true}) {
    const auto f = fit_nonparametric(panel, {.smoother = linear ? Smoother::local_linear : Smoother::nadaraya_watson, .points = 11, .trim = 0.05});
    REQUIRE(f.status == Status::converged);
    CHECK(f.x[0] == sorted[12]);
    CHECK(f.x[10] == sorted[237]);
    const double h = f.drift.smoothing;
    for (Index g = 0; g < 11; ++g) CHECK(std::abs(f.drift.estimate[g] - direct(panel, f.x[g], h, linear, -1)) < 1e-10);
    Index best = 0;
    f.drift.scores.minCoeff(&best);
    CHECK(f.drift.candidates[best] == h);
    double total = 0;
    for (Index k = 0; k < 250; ++k) {
      if (x[k] < sorted[12] || x[k] > sorted[237]) continue;
      const double r = y[k] - direct(panel, x[k], h, linear, k);
      total += dt[k] * r * r;
    }
    CHECK(std::abs(f.drift.scores[best] / total - 1) < 1e-7);
    // The variance at one grid point: weights by perturbing nothing, l_i from the definition.
    const double at = f.x[5];
    double s0 = 0, s1 = 0, s2 = 0;
    for (Index k = 0; k < 250; ++k) {
      const double z = x[k] - at, w = std::max(0.0, 1 - z * z / (h * h)) * dt[k];
      s0 += w, s1 += w * z, s2 += w * z * z;
    }
    double variance = 0;
    for (Index k = 0; k < 250; ++k) {
      const double z = x[k] - at, w = std::max(0.0, 1 - z * z / (h * h)) * dt[k];
      if (w == 0) continue;
      const double l = linear ? w * (s2 - s1 * z) / (s0 * s2 - s1 * s1) : w / s0, r = y[k] - direct(panel, x[k], h, linear, k);
      variance += l * l * r * r;
    }
    CHECK(std::abs(f.drift.standard_error[5] / std::sqrt(variance) - 1) < 1e-6);
  }
}

TEST_CASE("a heavy penalty makes the spline the weighted regression line, a light one follows the data") {
  const Panel panel{path_of(ou, 400, 0.1, 2)};
  const auto stiff = fit_nonparametric(panel, {.smoother = Smoother::spline, .drift_smoothing = 1e9, .diffusion_smoothing = 1e9, .points = 5});
  REQUIRE(stiff.status == Status::converged);
  double n0 = 0, n1 = 0, n2 = 0, r0 = 0, r1 = 0;
  for (Index i = 0; i < 400; ++i) {
    const double x = panel[0].values(0, i), dt = panel[0].times[i + 1] - panel[0].times[i], dx = panel[0].values(0, i + 1) - x;
    n0 += dt, n1 += x * dt, n2 += x * x * dt, r0 += dx, r1 += x * dx;
  }
  const double slope = (n0 * r1 - n1 * r0) / (n0 * n2 - n1 * n1), intercept = (r0 - slope * n1) / n0;
  for (Index g = 0; g < 5; ++g) CHECK(std::abs(stiff.drift.estimate[g] - intercept - slope * stiff.x[g]) < 1e-6);
  CHECK(std::abs(stiff.drift.degrees_of_freedom - 2) < 1e-6);
  const auto loose = fit_nonparametric(panel, {.smoother = Smoother::spline, .drift_smoothing = 1e-9, .diffusion_smoothing = 1e9, .points = 5});
  CHECK(std::abs(loose.drift.degrees_of_freedom - 34) < 0.1);  // 30 knots and the cubic's 4
}

TEST_CASE("coverage of the pointwise bands and the variance formula, over replications") {
  // Local line on a linear drift: no bias but dt's, O(dt): b(x) kappa dt/2 = 3 % of b, below a tenth of a standard error. R = 400, three points: binomial s.e. 1.1 %; 4.5 of them (7e-6 a check, fixed seed) and 1.5 % for residual variances that are estimates.
  const int replications = 400;
  const double h = 0.5, dt = 0.05, horizon = 100;
  Vector covered = Vector::Zero(3), variance = Vector::Zero(3), reported = Vector::Zero(3), covered_diffusion = Vector::Zero(3);
  const Vector grid{{-0.1, 0.4, 0.9}};
  for (int r = 0; r < replications; ++r) {
    Panel panel{path_of(ou, 2000, dt, 10 + static_cast<std::uint64_t>(r))};
    const auto f = fit_nonparametric(panel, {.drift_smoothing = h, .diffusion_smoothing = h, .points = 101, .trim = 0});
    REQUIRE(f.status == Status::converged);
    for (Index k = 0; k < 3; ++k) {
      const double step = f.x[1] - f.x[0];
      const auto g = static_cast<Index>(std::lround((grid[k] - f.x[0]) / step));
      const double truth = 1.3 * (0.4 - f.x[g]);
      covered[k] += (truth >= f.drift.lower[g] && truth <= f.drift.upper[g]) / static_cast<double>(replications);
      covered_diffusion[k] += (1 - 0.5 * 1.3 * dt * 1.0 >= f.diffusion.lower[g] - 0.04 && f.diffusion.upper[g] + 0.04 >= 1 - 0.5 * 1.3 * dt) / static_cast<double>(replications);
      variance[k] += std::pow(f.drift.estimate[g] - truth, 2) / replications;
      reported[k] += std::pow(f.drift.standard_error[g], 2) / replications;
    }
  }
  for (Index k = 0; k < 3; ++k) {
    CHECK(std::abs(covered[k] - 0.95) < 4.5 * 0.011 + 0.015);
    CHECK(covered_diffusion[k] > 0.95 - 4.5 * 0.011);
    CHECK(std::abs(variance[k] / reported[k] - 1) < 4.5 * std::sqrt(2.0 / replications) + 0.1);
    // sigma^2 int K^2/(T h pi(x)), int K^2/(int K)^2 = 3/5, sigma^2 = 1; pi varies over the window: 15 %.
    const double deviation = std::sqrt(1 / 2.6), z = (grid[k] - 0.4) / deviation, density = std::exp(-0.5 * z * z) / (deviation * std::sqrt(2 * M_PI));
    CHECK(std::abs(reported[k] / (0.6 / (horizon * h * density)) - 1) < 0.15);
  }
}

TEST_CASE("a double well by each smoother with cross-validation, and a diffusion coefficient that is not constant") {
  const Model well(double_well(), Vector{{1.0, 1.0, 0.1}}, 2);
  const Panel panel{path_of(well, 10000, 0.05, 900)};
  for (const Smoother smoother : {Smoother::nadaraya_watson, Smoother::local_linear, Smoother::spline}) {
    const auto f = fit_nonparametric(panel, {.smoother = smoother, .points = 21, .trim = 0.02});
    REQUIRE(f.status == Status::converged);
    for (Index g = 0; g < 21; ++g) {
      const double x = f.x[g], truth = -(x * x * x - x + 0.1);
      // Bias is not in the bands: 4.5 s.e. and 0.35 for curvature and dt (b'b dt/2 is 0.1 at the edges).
      CHECK(std::abs(f.drift.estimate[g] - truth) < 4.5 * f.drift.standard_error[g] + 0.35);
      CHECK(std::abs(f.diffusion.estimate[g] - 1) < 4.5 * f.diffusion.standard_error[g] + 0.1);
    }
    CHECK(smoother_from_name(name(smoother)) == smoother);
  }
  // Geometric Brownian motion about a level: sigma^2 = 0.04 x^2, exactly simulated from the stationary start of log x (OU), whose sigma is constant.
  const Model logs(ornstein_uhlenbeck(), Vector{{1.0, 0.0}}, 50);
  Path path = path_of(logs, 20000, 0.01, 901);
  path.values = path.values.array().exp().matrix();
  const auto f = fit_nonparametric({path}, {.points = 11, .trim = 0.05});
  REQUIRE(f.status == Status::converged);
  for (Index g = 0; g < 11; ++g) CHECK(std::abs(f.diffusion.estimate[g] / (0.04 * f.x[g] * f.x[g]) - 1) < 0.1);
}

TEST_CASE("misuse is one line, and a bandwidth without neighbours is said") {
  const Panel panel{path_of(ou, 100, 0.1, 3)};
  CHECK_THROWS_AS((void)fit_nonparametric({}), ShapeError);
  CHECK_THROWS_AS((void)fit_nonparametric({path_of(ou, 5, 0.1, 3)}), DomainError);
  CHECK_THROWS_AS((void)fit_nonparametric(panel, {.drift_smoothing = -1}), DomainError);
  CHECK_THROWS_AS((void)fit_nonparametric(panel, {.trim = 0.5}), DomainError);
  CHECK_THROWS_AS((void)fit_nonparametric({{Vector::LinSpaced(20, 0, 1), Matrix::Ones(1, 20)}}), DomainError);
  CHECK_THROWS_AS((void)smoother_from_name("splines"), DomainError);
  CHECK(fit_nonparametric(panel, {.drift_smoothing = 1e-6, .diffusion_smoothing = 1}).status == Status::no_minimiser);
}
