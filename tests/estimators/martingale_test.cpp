#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/conditional_moments.hpp>
#include <jko/estimators/fokker_planck_density.hpp>
#include <jko/estimators/gmm.hpp>
#include <jko/estimators/diffusion_likelihood.hpp>
#include <jko/estimators/martingale.hpp>
#include <jko/estimators/ornstein_uhlenbeck.hpp>

#include <Eigen/Cholesky>
#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

/// A square-root diffusion with 4 kappa mu/sigma^2 = 4, exactly: the sum of four squared Ornstein-Uhlenbeck processes of rate kappa/2 and noise sigma/2, from their stationary law.
Path square_root_path(double kappa, double sigma, double dt, Index n, std::uint64_t index) {
  RandomStream random(9, "square root", index);
  Path path{Vector::LinSpaced(n + 1, 0, dt * static_cast<double>(n)), Matrix(1, n + 1)};
  const double phi = std::exp(-0.5 * kappa * dt), deviation = sigma / std::sqrt(4 * kappa);
  Vector z(4);
  for (double& c : z) c = deviation * random.normal();
  path.values(0, 0) = z.squaredNorm();
  for (Index i = 0; i < n; ++i) {
    for (double& c : z) c = phi * c + deviation * std::sqrt(1 - phi * phi) * random.normal();
    path.values(0, i + 1) = z.squaredNorm();
  }
  return path;
}

Path vasicek_path(Index n, double dt) {
  RandomStream random(9, "vasicek");
  Path path{Vector::LinSpaced(n + 1, 0, dt * static_cast<double>(n)), Matrix(1, n + 1)};
  const double phi = std::exp(-1.3 * dt);
  path.values(0, 0) = 0.4;
  for (Index i = 0; i < n; ++i) path.values(0, i + 1) = 0.4 + phi * (path.values(0, i) - 0.4) + 0.6 * std::sqrt(1 - phi * phi) * random.normal();
  return path;
}

Diffusion named(std::string_view name, Vector theta) { return {diffusion_family(name), std::move(theta)}; }

}  // namespace

TEST_CASE("conditional moments: closed forms of the square-root, Jacobi and geometric laws") {
  const Vector x{{0.02, 0.5, 1.7}}, dt{{1e-4, 0.5, 6.0}};
  const double kappa = 1.3, mu = 0.6, sigma = 0.8;
  const auto cir = conditional_moments(named("cir", Vector{{kappa, mu, sigma}}), x, dt, 2);
  for (Index i = 0; i < 3; ++i) {
    const double decay = -std::expm1(-kappa * dt[i]), phi = sigma * sigma / kappa * (x[i] * (1 - decay) * decay + 0.5 * mu * decay * decay);
    const double m1 = (mu - x[i]) * decay;
    CHECK(std::abs(cir.value(0, i) / m1 - 1) < 1e-13);  // a sum of positive terms and a difference of two numbers of order one
    CHECK(std::abs(cir.value(1, i) / (phi + m1 * m1) - 1) < 1e-13);
  }
  // Jacobi: the eigenpolynomials y - mu and y^2 + c_1 y + c_0 decay at kappa and 2 kappa + sigma^2.
  const double m = 0.35, rate = 2 * kappa + sigma * sigma, c1 = -(2 * kappa * m + sigma * sigma) / (rate - kappa), c0 = -c1 * kappa * m / rate;
  const Vector inside{{0.1, 0.4, 0.9}};
  const auto jacobi = conditional_moments(named("jacobi", Vector{{kappa, m, sigma}}), inside, dt, 2);
  for (Index i = 0; i < 3; ++i) {
    const double y = inside[i], first = y + jacobi.value(0, i), second = jacobi.value(1, i) + 2 * y * first - y * y;
    CHECK(std::abs(first - m - std::exp(-kappa * dt[i]) * (y - m)) < 1e-14);
    CHECK(std::abs(second + c1 * first + c0 - std::exp(-rate * dt[i]) * (y * y + c1 * y + c0)) < 1e-14);
  }
  // Many points with a common step are interpolated, rounding of the times included: the same numbers.
  const Diffusion at = named("cir", Vector{{kappa, mu, sigma}});
  Vector many = Vector::LinSpaced(40, 0.01, 2), steps = Vector::Constant(40, 0.5);
  for (Index i = 0; i < 40; i += 3) steps[i] += 1e-9 * static_cast<double>(i);
  const auto together = conditional_moments(at, many, steps, 6);
  for (Index i = 0; i < 40; i += 7) {
    const auto alone = conditional_moments(at, many.segment(i, 1), steps.segment(i, 1), 6);
    for (Index k = 0; k < 6; ++k) {
      CHECK(std::abs(together.value(k, i) - alone.value(k, 0)) < 1e-13 * together.value.row(k).cwiseAbs().maxCoeff());
      for (std::size_t j = 0; j < 3; ++j) CHECK(std::abs(together.by_theta[j](k, i) - alone.by_theta[j](k, 0)) <= 1e-13 * together.by_theta[j].row(k).cwiseAbs().maxCoeff());
    }
  }
  // GBM: E X^k = x^k exp((k mu + k (k - 1) sigma^2/2) dt), so E (X - x)^4/x^4 is their alternating sum; at dt = 0.5 it loses two digits.
  const auto gbm = conditional_moments(named("gbm", Vector{{0.3, 0.4}}), x, dt, 4);
  const auto raw = [](int k) { return std::exp((0.3 * k + 0.08 * k * (k - 1)) * 0.5); };
  CHECK(std::abs(gbm.value(3, 1) / std::pow(0.5, 4) - (raw(4) - 4 * raw(3) + 6 * raw(2) - 4 * raw(1) + 1)) < 1e-13);
}

TEST_CASE("conditional moments against the exact density, and their derivatives against differences") {
  const double dt = 0.4;
  const Vector theta{{1.3, 0.6, 0.5}}, x{{0.5}};
  const Diffusion cir = named("cir", theta);
  const auto m = conditional_moments(cir, x, Vector::Constant(1, dt), 8);
  Vector sums = Vector::Zero(8);
  const Index n = 4000;
  const double step = 5.0 / n;  // density at most x^{q}, q = 2 kappa mu/sigma^2 - 1 = 5.2 at zero: the trapezoidal rule converges fast
  for (Index i = 1; i <= n; ++i) {
    const double y = step * static_cast<double>(i);
    Panel one{{Vector{{0.0, dt}}, Matrix{{x[0], y}}}};
    double p = std::exp(log_likelihood(one, cir, Transition::exact).value) * step;
    for (Index k = 0; k < 8; ++k) sums[k] += p *= y - x[0];
  }
  for (Index k = 0; k < 8; ++k) CHECK(std::abs(sums[k] / m.value(k, 0) - 1) < 1e-9);
  for (Index j = 0; j < 3; ++j) {
    const double d = 1e-3;
    const auto at = [&](double s) {
      Vector moved = theta;
      moved[j] += s;
      return Vector(conditional_moments(cir.with_parameters(moved), x, Vector::Constant(1, dt), 8).value.col(0));
    };
    const Vector difference = (8 * (at(d) - at(-d)) - (at(2 * d) - at(-2 * d))) / (12 * d);
    for (Index k = 0; k < 8; ++k) CHECK(std::abs(difference[k] - m.by_theta[static_cast<std::size_t>(j)](k, 0)) < 1e-9 * (1 + std::abs(difference[k])));
  }
}

TEST_CASE("Vasicek: linear is the autoregression, quadratic and optimal are maximum likelihood") {
  const double dt = 0.5;
  const Path path = vasicek_path(1000, dt);
  const Diffusion start = named("vasicek", Vector{{0.7, 0.0, 0.5}});
  const OuEstimate closed = exact_ou_estimate(path.values.row(0).transpose(), dt);
  const Fit exact = fit({path}, start, Transition::exact);
  for (const MartingaleKind kind : {MartingaleKind::linear, MartingaleKind::quadratic, MartingaleKind::optimal}) {
    const Fit f = fit_martingale({path}, start, {.kind = kind});
    REQUIRE(f.status == Status::converged);
    CHECK(std::abs(f.estimate[0] / closed.kappa - 1) < 1e-8);
    CHECK(std::abs(f.estimate[1] - closed.mu) < 1e-8);
    CHECK(std::abs(f.estimate[2] / std::sqrt(2 / closed.beta) - 1) < 1e-8);
    // The model's Godambe covariance is the inverse expected information given x, the likelihood's the observed one: they differ by O(n^{-1/2}), here below 10 %.
    for (Index i = 0; i < 3; ++i) CHECK(std::abs(f.standard_errors()[i] / exact.standard_errors()[i] - 1) < 0.1);
  }
  // Higher degrees add nothing to the Gaussian.
  const Fit four = fit_martingale({path}, start, {.kind = MartingaleKind::optimal, .degree = 4});
  REQUIRE(four.status == Status::converged);
  CHECK(std::abs(four.estimate[0] / closed.kappa - 1) < 1e-7);
}

TEST_CASE("at the truth the estimating function has mean zero and the stated variance, at a coarse dt") {
  // R = 400 paths of 50 transitions. Means at 4.5 s.e., 7e-6 a check; the mean of outer products over R n = 20000 nearly uncorrelated terms with a kurtosis below 40 at 4.5 sqrt(40/20000) = 20 % of the
  // variance. Twelve of each, fixed seed.
  const double kappa = 1.3, sigma = 0.8, mu = sigma * sigma / kappa;
  const Diffusion truth = named("cir", Vector{{kappa, mu, sigma}});
  Panel panel;
  for (std::uint64_t r = 0; r < 400; ++r) panel.push_back(square_root_path(kappa, sigma, 1.0, 50, r));
  for (const MartingaleOptions& options : {MartingaleOptions{.kind = MartingaleKind::linear}, MartingaleOptions{.kind = MartingaleKind::quadratic}, MartingaleOptions{.kind = MartingaleKind::optimal},
                                           MartingaleOptions{.kind = MartingaleKind::optimal, .degree = 3}}) {
    const auto g = martingale_function(panel, truth, options);
    CHECK((g.terms.rowwise().sum() - g.value).cwiseAbs().maxCoeff() < 1e-9 * g.variance.diagonal().cwiseSqrt().maxCoeff());
    for (Index j = 0; j < 3; ++j) {
      CHECK(std::abs(g.value[j]) < 4.5 * std::sqrt(g.variance(j, j)));
      CHECK(std::abs(g.terms.row(j).squaredNorm() / g.variance(j, j) - 1) < 0.2);
    }
    // The sensitivity is minus the derivative up to its martingale part, O(sqrt n): compared at 4.5 of a generous standard error.
    for (Index j = 0; j < 3; ++j) {
      Vector up = truth.parameters(), down = up;
      up[j] += 1e-4, down[j] -= 1e-4;
      const Vector slope = -(martingale_function(panel, truth.with_parameters(up), options).value - martingale_function(panel, truth.with_parameters(down), options).value) / 2e-4;
      for (Index i = 0; i < 3; ++i) CHECK(std::abs(slope[i] - g.sensitivity(i, j)) < 0.1 * std::sqrt(g.sensitivity(i, i) * g.sensitivity(j, j)));
    }
  }
  // The Euler score is not centred there: the same check must fail for it.
  const auto euler = log_likelihood(panel, truth, Transition::euler, true);
  CHECK(std::abs(euler.gradient[0]) > 10 * std::sqrt(euler.scores.row(0).squaredNorm()));
}

TEST_CASE("the quadratic function is the gradient of the Gaussian quasi-likelihood, the linear one the weighted residuals") {
  const Diffusion cir = named("cir", Vector{{1.1, 0.5, 0.7}});
  const Path path = square_root_path(1.3, 0.8, 0.8, 60, 2);
  const Vector x = path.values.row(0).head(60).transpose(), next = path.values.row(0).tail(60).transpose(), dt = path.times.tail(60) - path.times.head(60);
  const auto quasi = [&](const Vector& theta) {
    const auto m = conditional_moments(cir.with_parameters(theta), x, dt, 2);
    double sum = 0;
    for (Index i = 0; i < 60; ++i) {
      const double phi = m.value(1, i) - m.value(0, i) * m.value(0, i), e = next[i] - x[i] - m.value(0, i);
      sum -= 0.5 * (std::log(phi) + e * e / phi);
    }
    return sum;
  };
  const auto quadratic = martingale_function({path}, cir, {.kind = MartingaleKind::quadratic}), linear = martingale_function({path}, cir, {.kind = MartingaleKind::linear});
  for (Index j = 0; j < 3; ++j) {
    const auto at = [&](double s) {
      Vector moved = cir.parameters();
      moved[j] += s;
      return quasi(moved);
    };
    const double d = 1e-3;  // fourth order: 1e-12 times the fifth derivative, rounding 60 epsilon/d
    CHECK(std::abs((8 * (at(d) - at(-d)) - (at(2 * d) - at(-2 * d))) / (12 * d) - quadratic.value[j]) < 1e-7 * (1 + std::abs(quadratic.value[j])));
  }
  const auto m = conditional_moments(cir, x, dt, 2);
  for (std::size_t j = 0; j < 2; ++j) {
    double sum = 0;
    for (Index i = 0; i < 60; ++i) sum += m.by_theta[j](0, i) * (next[i] - x[i] - m.value(0, i)) / (m.value(1, i) - m.value(0, i) * m.value(0, i));
    CHECK(std::abs(linear.value[static_cast<Index>(j)] - sum) < 1e-10 * (1 + std::abs(sum)));
  }
  CHECK(std::abs(linear.value[2] - quadratic.value[2]) < 1e-10 * (1 + std::abs(quadratic.value[2])));  // sigma is not in the drift
}

TEST_CASE("the optimal weights are optimal, and degrees add information up to the likelihood's") {
  const double kappa = 1.3, sigma = 0.8, mu = sigma * sigma / kappa;
  const Diffusion truth = named("cir", Vector{{kappa, mu, sigma}});
  const Panel panel{square_root_path(kappa, sigma, 1.0, 1000, 7)};
  const auto information = [&](const MartingaleOptions& options) {
    const auto g = martingale_function(panel, truth, options);
    return Matrix(g.sensitivity.transpose() * g.variance.llt().solve(g.sensitivity));
  };
  const auto exceeds = [](const Matrix& a, const Matrix& b) {  // a - b positive semidefinite, to rounding
    const Vector scale = a.diagonal().cwiseSqrt().cwiseInverse();
    return Eigen::LDLT<Matrix>(scale.asDiagonal() * (a - b) * scale.asDiagonal() + 1e-10 * Matrix::Identity(3, 3)).isPositive();
  };
  const Matrix linear = information({.kind = MartingaleKind::linear}), quadratic = information({.kind = MartingaleKind::quadratic});
  Matrix before = information({.kind = MartingaleKind::optimal});
  CHECK(exceeds(before, quadratic));
  CHECK(exceeds(before, linear));
  CHECK(before(0, 0) > 1.05 * quadratic(0, 0));  // and strictly: the square-root law is skewed
  for (const int degree : {3, 4}) {
    const Matrix now = information({.kind = MartingaleKind::optimal, .degree = degree});
    CHECK(exceeds(now, before));
    before = now;
  }
  // The likelihood's information as the sum of outer products, n = 1000: 4.5 sqrt(2 kurtosis/n) of noise; degree 4 is within it.
  const auto exact = log_likelihood(panel, truth, Transition::exact, true);
  for (Index j = 0; j < 3; ++j) CHECK(std::abs(before(j, j) / exact.scores.row(j).squaredNorm() - 1) < 0.4);
  const Fit f = fit_martingale(panel, named("cir", Vector{{1.0, 1.0, 1.0}}), {.kind = MartingaleKind::optimal, .degree = 3});
  REQUIRE(f.status == Status::converged);
  for (Index j = 0; j < 3; ++j) {
    CHECK(std::abs(f.estimate[j] - truth.parameters()[j]) < 4.5 * f.standard_errors()[j]);
    CHECK(std::abs(f.sandwich_errors()[j] / f.standard_errors()[j] - 1) < 0.3);
  }
}

TEST_CASE("numerical moments: CKLS at gamma = 1/2 is the square-root diffusion, with its derivatives") {
  // Nothing says so to the program: moments that hold for the family are looked for. Uneven steps, 40 of them, so that dt is interpolated as well; some points share one.
  const double a = 0.8, b = -1.0, sigma = 0.5;
  const Vector x = Vector::LinSpaced(60, 0.1, 2.2);
  Vector dt(60);
  for (Index i = 0; i < 60; ++i) dt[i] = 0.1 + 0.013 * static_cast<double>((i * 7) % 40);
  const auto numerical = conditional_moments(named("ckls", Vector{{a, b, sigma, 0.5}}), x, dt, 8), closed = conditional_moments(named("cir", Vector{{-b, -a / b, sigma}}), x, dt, 8);
  CHECK(closed.error == 0);
  CHECK(numerical.error > 0);
  for (Index i = 0; i < 60; ++i) {
    const double m2 = closed.value(1, i);
    // The chain's drift is exact and linear; its variance is off by (h/dt^{1/2})^4 = 1e-3 of what the fitting adds, b^2 dt/sigma^2 of the variance; each two orders cost a factor of about ten. Stated in the header.
    CHECK(std::abs(numerical.value(0, i) - closed.value(0, i)) < 1e-8 * std::sqrt(m2));
    CHECK(std::abs(numerical.value(1, i) - m2) < 1e-4 * m2);
    CHECK(std::abs(numerical.value(3, i) - closed.value(3, i)) < 1e-3 * m2 * m2);
    CHECK(std::abs(numerical.value(7, i) - closed.value(7, i)) < 5e-3 * closed.value(7, i));
    // kappa = -b, mu = -a/b: d/da = (d/dmu)/(-b), d/db = -d/dkappa + (a/b^2) d/dmu.
    CHECK(std::abs(numerical.by_theta[0](0, i) + closed.by_theta[1](0, i) / b) < 1e-8);
    CHECK(std::abs(numerical.by_theta[1](0, i) + closed.by_theta[0](0, i) - a / (b * b) * closed.by_theta[1](0, i)) < 1e-8);
    CHECK(std::abs(numerical.by_theta[2](1, i) - closed.by_theta[2](1, i)) < 2e-4 * closed.by_theta[2](1, i));
  }
}

TEST_CASE("numerical moments of a double well against its Fokker-Planck density, and their derivative in a against a difference") {
  const Diffusion well = named("cubic", Vector{{2.0, 2.0, 1.0}});
  const double dt = 0.5;
  const Vector x{{-1.3, 0.2, 0.9}};
  const auto m = conditional_moments(well, x, Vector::Constant(3, dt), 4);
  const auto up = conditional_moments(well.with_parameters(Vector{{2.01, 2.0, 1.0}}), x, Vector::Constant(3, dt), 4), down = conditional_moments(well.with_parameters(Vector{{1.99, 2.0, 1.0}}), x, Vector::Constant(3, dt), 4);
  const Vector grid = Vector::LinSpaced(601, -3, 3);  // the trapezoidal rule is exact for what decays like exp(-x^4)
  for (Index i = 0; i < 3; ++i) {
    const Vector density = fokker_planck_density(well, Vector::Constant(601, x[i]), grid, dt).log_density.array().exp();
    double power[4] = {0, 0, 0, 0};
    for (Index k = 0; k < 601; ++k) {
      for (int q = 0; q < 4; ++q) power[q] += 0.01 * density[k] * std::pow(grid[k] - x[i], q + 1);
    }
    for (int q = 0; q < 4; ++q) {
      CHECK(std::abs(m.value(q, i) - power[q]) < 2e-4 * std::pow(power[1], 0.5 * (q + 1)));
      // Central difference: (0.01)^2/6 of a third derivative of order one; the grid stands still in a.
      CHECK(std::abs(m.by_theta[0](q, i) - (up.value(q, i) - down.value(q, i)) / 0.02) < 1e-4);
    }
  }
}

TEST_CASE("eigenfunctions of Pearson diffusions span the powers: the optimal functions are one") {
  // Weights that are optimal do not depend on the basis. What differs is the grid: order four at 320 cells, 1e-4 and a factor of ten for each degree beyond two.
  const Panel square{square_root_path(1.3, 0.8, 0.5, 200, 5)};
  const Diffusion cir = named("cir", Vector{{1.2, 0.9, 0.55}});
  for (const int degree : {1, 2, 3}) {
    const auto powers = martingale_function(square, cir, {.kind = MartingaleKind::optimal, .degree = degree}), eigen = martingale_function(square, cir, {.kind = MartingaleKind::eigenfunctions, .degree = degree});
    const double bound = degree < 3 ? 1e-3 : 1e-2;
    for (Index j = degree == 1 ? 1 : 2; j >= 0; --j) {  // degree 1 knows nothing of sigma
      CHECK((powers.terms.row(j) - eigen.terms.row(j)).cwiseAbs().maxCoeff() < bound * powers.terms.row(j).cwiseAbs().maxCoeff());
      CHECK(std::abs(powers.sensitivity(j, j) - eigen.sensitivity(j, j)) < bound * powers.sensitivity(j, j));
    }
  }
  // h is a martingale difference whatever the eigenfunctions' error in theta: S and V are one matrix for optimal weights.
  const auto value = martingale_function(square, cir, {.kind = MartingaleKind::eigenfunctions});
  CHECK((value.sensitivity - value.variance).cwiseAbs().maxCoeff() < 1e-9 * value.variance.cwiseAbs().maxCoeff());
}

TEST_CASE("a double well at a coarse step: martingale functions recover the truth where Euler does not; GMM alike") {
  const Vector truth{{2.0, 2.0, 1.0}};
  RandomStream random(43, "double well", 0);
  Path path{Vector::LinSpaced(2001, 0, 1000), Matrix(1, 2001)};
  double x = 1;
  for (Index i = 0; i <= 2000; ++i) {
    path.values(0, i) = x;
    for (int k = 0; k < 100; ++k) x += 0.005 * (2 * x - 2 * x * x * x) + std::sqrt(0.005) * random.normal();  // Euler's bias at 0.005 is a hundredth of the errors below
  }
  const Diffusion start = named("cubic", Vector{{1.0, 1.0, 1.0}});
  for (const MartingaleKind kind : {MartingaleKind::linear, MartingaleKind::quadratic, MartingaleKind::optimal, MartingaleKind::eigenfunctions}) {
    const Fit fit = fit_martingale({path}, start, {.kind = kind});
    REQUIRE(fit.status == Status::converged);
    // Four standard errors, three parameters, four kinds: false alarm 8e-4 (fixed seed).
    for (Index j = 0; j < 3; ++j) CHECK(std::abs(fit.estimate[j] - truth[j]) < 4 * fit.sandwich_errors()[j]);
  }
  const Fit euler = fit({path}, start, Transition::euler);
  CHECK(truth[0] - euler.estimate[0] > 10 * euler.standard_errors()[0]);
  const GmmFit gmm = fit_gmm(transition_moments({path}, start, TransitionMoments::exact, 3), start.parameter_list(), euler.estimate, {.lags = 0});
  REQUIRE(gmm.fit.status == Status::converged);
  for (Index j = 0; j < 3; ++j) CHECK(std::abs(gmm.fit.estimate[j] - truth[j]) < 4 * gmm.fit.standard_errors()[j]);
}

TEST_CASE("misuse, bounds and what is not identified") {
  const Panel panel{square_root_path(1.3, 0.8, 0.5, 200, 3)};
  const Vector points = panel[0].values.row(0).transpose();
  for (const auto& [name, theta] : {std::pair{"student", Vector{{1.0, 0.3, 0.7, 0.5}}}, std::pair{"gbm", Vector{{0.3, 0.5}}}, std::pair{"vasicek", Vector{{1.0, 0.5, 0.7}}}}) CHECK(has_closed_moments(named(name, theta), points));
  CHECK_FALSE(has_closed_moments(named("ckls", Vector{{0.5, -1.0, 0.5, 0.5}}), points));  // closed at this start only
  CHECK_FALSE(has_closed_moments(named("cubic", Vector{{1.0, 1.0, 0.7}}), points));
  CHECK_THROWS_AS((void)fit_martingale(panel, named("cir", Vector{{1.0, 1.0, 1.0}}), {.degree = 5}), DomainError);
  CHECK_THROWS_AS((void)fit_martingale({}, named("cir", Vector{{1.0, 1.0, 1.0}})), ShapeError);
  CHECK(fit_martingale(panel, named("cir", Vector{{1.0, 1.0, 1.0}}), {.kind = MartingaleKind::optimal, .degree = 1}).status == Status::singular_information);
  const Fit held = fit_martingale(panel, named("cir", Vector{{1.0, 1.0, 1.0}}), {.fit = {.lower = {0, 1.5, 0}, .upper = {9, 9, 9}}});
  CHECK(held.status == Status::parameter_at_bound);
  CHECK(held.estimate[1] == 1.5);
  const Fit fixed = fit_martingale(panel, named("cir", Vector{{1.0, 1.5, 1.0}}), {.fit = {.fixed = {false, true, false}}});
  CHECK(std::abs(held.estimate[0] - fixed.estimate[0]) < 1e-7);
  CHECK(fixed.covariance(1, 1) == 0);
}
