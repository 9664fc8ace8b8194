#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/estimators/likelihood.hpp>
#include <jko/estimators/ornstein_uhlenbeck.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>

#include <Eigen/Eigenvalues>
#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::estimators;

namespace {

/// An exact OU path on an even grid, started from its stationary law.
Path ou_path(double kappa, double mu, double beta, double dt, Index n, std::uint64_t index) {
  RandomStream random(7, "ou path", index);
  Path path{Vector::LinSpaced(n + 1, 0, dt * static_cast<double>(n)), Matrix(1, n + 1)};
  const double phi = std::exp(-kappa * dt), deviation = std::sqrt(1 / (beta * kappa));
  path.values(0, 0) = mu + deviation * random.normal();
  for (Index i = 0; i < n; ++i) {
    path.values(0, i + 1) = mu + phi * (path.values(0, i) - mu) + deviation * std::sqrt(1 - phi * phi) * random.normal();
  }
  return path;
}

Model ou(double kappa, double mu, double beta) { return {ornstein_uhlenbeck(), (Vector(2) << kappa, mu).finished(), beta}; }

}  // namespace

TEST_CASE("invariants of OU: exact equals Shoji-Ozaki, and Euler has the same maximum") {
  const double dt = 0.2;
  const Path path = ou_path(1.3, 0.4, 2, dt, 2000, 0);
  const Fit exact = fit({path}, ou(1, 0, 1), Transition::exact);
  const Fit linearised = fit({path}, ou(1, 0, 1), Transition::shoji_ozaki);
  const Fit euler = fit({path}, ou(1, 0, 1), Transition::euler);
  const OuEstimate closed = exact_ou_estimate(path.values.row(0).transpose(), dt);
  REQUIRE(exact.status == Status::converged);
  REQUIRE(closed.ok);
  // Both solve the same equations; the scaled gradient 1e-9 leaves 1e-9 standard errors, relative 1e-10 here.
  CHECK(std::abs(exact.estimate[0] / closed.kappa - 1) < 1e-9);
  CHECK(std::abs(exact.estimate[1] - closed.mu) < 1e-9);
  CHECK(std::abs(exact.estimate[2] / closed.beta - 1) < 1e-9);
  CHECK(std::abs(exact.log_likelihood - linearised.log_likelihood) < 1e-8);
  CHECK(std::abs(exact.log_likelihood - euler.log_likelihood) < 1e-8);
  CHECK(std::abs(exact.estimate[0] + std::log(1 - euler.estimate[0] * dt) / dt) < 1e-8);
  // On simulated data the sandwich agrees with the information within 6 % or so (n = 2000: se of the ratio about 3 %).
  for (Index i = 0; i < 3; ++i) CHECK(std::abs(exact.sandwich_errors()[i] / exact.standard_errors()[i] - 1) < 0.12);
}

TEST_CASE("the gradient is exact") {
  const Path path = ou_path(1.3, 0.4, 2, 0.1, 50, 1);
  const Model model(double_well(), (Vector(3) << 1.2, 0.7, 0.1).finished(), 1.7);
  for (const Transition kind : {Transition::euler, Transition::shoji_ozaki}) {
    const Vector centre = model.parameters();
    const Vector gradient = log_likelihood({path}, model, kind).gradient;
    for (Index i = 0; i < centre.size(); ++i) {
      const auto at = [&](double d) {
        Vector moved = centre;
        moved[i] += d;
        return log_likelihood({path}, model.with_parameters(moved), kind).value;
      };
      // Fourth-order difference: truncation about 1e-12 |f^(5)|, rounding 50 terms * 1e-16/1e-3.
      const double d = 1e-3;
      const double difference = (8 * (at(d) - at(-d)) - (at(2 * d) - at(-2 * d))) / (12 * d);
      CHECK(std::abs(difference - gradient[i]) <= 1e-8 * (1 + std::abs(gradient[i])));
    }
  }
}

TEST_CASE("the covariance of the exact OU estimate is that of theory.md 3(e)") {
  // R = 2000 replications: the s.e. of a variance is sqrt(2/R) = 3.2 %; 5 s.e. is a false alarm of 6e-7 a check (fixed seed).
  // n = 4000 leaves a finite-sample term of order 1/n T, below 2 %.
  const double kappa = 1.3, mu = 0.4, beta = 2, dt = 0.5;
  const Index n = 4000;
  const int replications = 2000;
  Matrix sum = Matrix::Zero(3, 3);
  for (int r = 0; r < replications; ++r) {
    const OuEstimate e = exact_ou_estimate(ou_path(kappa, mu, beta, dt, n, 100 + static_cast<std::uint64_t>(r)).values.row(0).transpose(), dt);
    REQUIRE(e.ok);
    const Vector z = (Vector(3) << e.kappa - kappa, e.mu - mu, e.beta - beta).finished() * std::sqrt(static_cast<double>(n));
    sum += z * z.transpose() / replications;
  }
  const Matrix theory = exact_ou_covariance(kappa, beta, dt);
  for (Index i = 0; i < 3; ++i) {
    for (Index j = 0; j < 3; ++j) {
      const double se = std::sqrt((theory(i, i) * theory(j, j) + theory(i, j) * theory(i, j)) / replications);
      CHECK(std::abs(sum(i, j) - theory(i, j)) < 5 * se + 0.02 * std::sqrt(theory(i, i) * theory(j, j)));
    }
  }
}

TEST_CASE("d dimensions: separate coordinates add, rotations change nothing, OU is exact") {
  const Path a = ou_path(1.3, 0.4, 2, 0.1, 60, 5), b = ou_path(0.8, -0.2, 2, 0.1, 60, 6);
  Path both{a.times, Matrix(2, a.times.size())};
  both.values << a.values, b.values;
  const auto well = formula("a/4*x^4 - b/2*x^2"), wells = formula("a/4*x1^4 - b/2*x1^2 + c/2*x2^2 + e/3*x2^3", 2), other = formula("c/2*x^2 + e/3*x^3");
  for (const Transition kind : {Transition::euler, Transition::shoji_ozaki}) {
    const auto one = log_likelihood({a}, {well, Vector{{1.2, 0.7}}, 1.7}, kind), two = log_likelihood({b}, {other, Vector{{0.9, 0.3}}, 1.7}, kind);
    const auto sum = log_likelihood({both}, {wells, Vector{{1.2, 0.7, 0.9, 0.3}}, 1.7}, kind);
    CHECK(std::abs(sum.value - one.value - two.value) < 1e-10);  // 120 terms of order one
    CHECK(std::abs(sum.gradient[0] - one.gradient[0]) < 1e-10);
    CHECK(std::abs(sum.gradient[3] - two.gradient[1]) < 1e-10);
    CHECK(std::abs(sum.gradient[4] - one.gradient[2] - two.gradient[2]) < 1e-9);
  }
  // Coordinates turned by 0.6: the potential turned with them has the same likelihood.
  Path turned = both;
  const Matrix q{{std::cos(0.6), -std::sin(0.6)}, {std::sin(0.6), std::cos(0.6)}};
  turned.values = q * both.values;
  const auto turned_wells = formula("a/4*(x1*cos(0.6)+x2*sin(0.6))^4 - b/2*(x1*cos(0.6)+x2*sin(0.6))^2 + c/2*(-x1*sin(0.6)+x2*cos(0.6))^2 + e/3*(-x1*sin(0.6)+x2*cos(0.6))^3", 2);
  const Vector theta{{1.2, 0.7, 0.9, 0.3}};
  const auto straight = log_likelihood({both}, {wells, theta, 1.7}, Transition::shoji_ozaki), rotated = log_likelihood({turned}, {turned_wells, theta, 1.7}, Transition::shoji_ozaki);
  CHECK(std::abs(straight.value - rotated.value) < 1e-9);
  CHECK((straight.gradient - rotated.gradient).cwiseAbs().maxCoeff() < 1e-8);
  CHECK((straight.expected - rotated.expected).cwiseAbs().maxCoeff() < 1e-7);
  // Two-dimensional OU, K and Sigma coupled: the gradient agrees with differences of the value.
  const Model ou2(ornstein_uhlenbeck(2), Vector{{1.3, 0.4, 0.9, 0.1, -0.2}}, 2);
  const auto exact = log_likelihood({both}, ou2, Transition::exact);
  const Vector centre = ou2.parameters();
  for (Index i = 0; i < centre.size(); ++i) {
    const auto at = [&](double d) {
      Vector moved = centre;
      moved[i] += d;
      return log_likelihood({both}, ou2.with_parameters(moved), Transition::exact).value;
    };
    const double d = 1e-3;  // as above
    CHECK(std::abs((8 * (at(d) - at(-d)) - (at(2 * d) - at(-2 * d))) / (12 * d) - exact.gradient[i]) <= 1e-7 * (1 + std::abs(exact.gradient[i])));
  }
}

TEST_CASE("the exact law in two dimensions: one transition's mean and covariance") {
  const Matrix k{{1.3, 0.4}, {0.4, 0.9}};
  const Vector mu{{0.1, -0.2}}, x{{1.0, 2.0}}, next{{0.7, 1.1}};
  const double beta = 2, dt = 0.7;
  const Eigen::SelfAdjointEigenSolver<Matrix> e(k);
  const Vector decay = (-dt * e.eigenvalues().array()).exp();
  const Matrix flow = e.eigenvectors() * decay.asDiagonal() * e.eigenvectors().transpose();
  const Matrix covariance = e.eigenvectors() * ((1 - decay.array().square()) / (beta * e.eigenvalues().array())).matrix().asDiagonal() * e.eigenvectors().transpose();
  const Gaussian law(mu + flow * (x - mu), covariance);
  Path path{Vector{{0.0, dt}}, Matrix(2, 2)};
  path.values << x, next;
  CHECK(std::abs(log_likelihood({path}, {ornstein_uhlenbeck(2), Vector{{1.3, 0.4, 0.9, 0.1, -0.2}}, beta}, Transition::exact).value - law.log_density(next)) < 1e-13);
}

TEST_CASE("uneven times and panels: the likelihood is additive") {
  const Path whole = ou_path(1.3, 0.4, 2, 0.1, 40, 9);
  Path uneven = whole;
  uneven.times[20] += 0.03;
  const Path first{uneven.times.head(21), uneven.values.leftCols(21)}, second{uneven.times.tail(21), uneven.values.rightCols(21)};
  const Model model(double_well(), Vector{{1.2, 0.7, 0.1}}, 1.7);
  const auto together = log_likelihood({uneven}, model, Transition::shoji_ozaki), apart = log_likelihood({first, second}, model, Transition::shoji_ozaki);
  CHECK(std::abs(together.value - apart.value) < 1e-11);
  CHECK(std::abs(together.value - log_likelihood({whole}, model, Transition::shoji_ozaki).value) > 1e-6);
}

TEST_CASE("bounds hold, are reported, and their parameters count as known") {
  const Path path = ou_path(1.3, 0.4, 2, 0.2, 1000, 0);
  const Fit free = fit({path}, ou(1, 0, 1), Transition::exact);
  FitOptions options;
  options.lower = {0, free.estimate[1] + 0.1, 0};
  options.upper = {10, 5, 10};
  const Fit held = fit({path}, ou(1, 0.6, 1), Transition::exact, options);
  CHECK(held.status == Status::parameter_at_bound);
  CHECK(held.estimate[1] == options.lower[1]);
  CHECK(held.standard_errors()[1] == 0);
  CHECK(held.log_likelihood < free.log_likelihood);
  REQUIRE(held.warnings.size() >= 1);
  options.fixed = {false, true, false};
  options.lower = options.upper = {};
  const Fit fixed = fit({path}, ou(1, held.estimate[1], 1), Transition::exact, options);
  CHECK(std::abs(fixed.estimate[0] - held.estimate[0]) < 1e-8);
  CHECK(std::abs(fixed.covariance(0, 0) - held.covariance(0, 0)) < 1e-8);
}

TEST_CASE("a hopeless start is searched out of, an inadmissible one is minus infinity") {
  const Path path = ou_path(1.3, 0.4, 2, 0.5, 500, 2);
  const Fit good = fit({path}, {double_well(), Vector{{0.1, -1, 0}}, 1}, Transition::shoji_ozaki);
  const Fit bad = fit({path}, {double_well(), Vector{{40.0, 30.0, -20.0}}, 1}, Transition::shoji_ozaki);
  REQUIRE(good.status == Status::converged);
  CHECK(bad.status == Status::converged);
  CHECK(bad.log_likelihood > good.log_likelihood - 1e-6);
  const Path far{Vector{{0.0, 1.0}}, Matrix{{1e3, 0.0}}};
  CHECK(log_likelihood({far}, {formula("-exp(x)"), Vector(), 1}, Transition::shoji_ozaki).value == -std::numeric_limits<double>::infinity());
}

TEST_CASE("misuse is one line") {
  const Model model = ou(1, 0, 1);
  CHECK_THROWS_AS((void)fit({}, model, Transition::exact), ShapeError);
  CHECK_THROWS_AS((void)fit({{Vector{{0.0, 1.0}}, Matrix{{1.0, 1.0}}}}, model, Transition::exact), DomainError);
  CHECK_THROWS_AS((void)fit({{Vector{{0.0, 0.0}}, Matrix{{1.0, 2.0}}}}, model, Transition::exact), DomainError);
  CHECK_THROWS_AS((void)fit({{Vector{{0.0, 1.0}}, Matrix{{1.0, std::nan("")}}}}, model, Transition::exact), DomainError);
  CHECK_THROWS_AS((void)log_likelihood({{Vector{{0.0, 1.0}}, Matrix::Ones(2, 2)}}, model, Transition::exact), ShapeError);
  CHECK_THROWS_AS((void)log_likelihood({{Vector{{0.0, 1.0}}, Matrix{{1.0, 2.0}}}}, {double_well(), Vector::Ones(3), 1}, Transition::exact), DomainError);
}
