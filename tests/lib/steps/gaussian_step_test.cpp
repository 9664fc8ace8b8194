#include <jko/core/error.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <Eigen/Eigenvalues>
#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

namespace {

/// K and Sigma do not commute.
struct Case {
  Matrix k{{1.5, 0.4}, {0.4, 0.9}};
  Vector mu{{0.3, -0.2}};
  double beta = 1.7;
  Gaussian start{Vector{{1.0, -2.0}}, Matrix{{2.0, -0.7}, {-0.7, 0.8}}};
  [[nodiscard]] Model model() const { return {ornstein_uhlenbeck(2), Vector{{k(0, 0), k(1, 0), k(1, 1), mu[0], mu[1]}}, beta}; }
};

Matrix root(const Matrix& a, double power) {
  const Eigen::SelfAdjointEigenSolver<Matrix> e(a);
  return e.eigenvectors() * e.eigenvalues().array().pow(power).matrix().asDiagonal() * e.eigenvectors().transpose();
}

}  // namespace

TEST_CASE("the step satisfies its optimality condition T Sigma' T = Sigma with T = A - c Sigma'^{-1}") {
  const Case c;
  for (const double h : {1e-3, 0.1, 10.0}) {
    GaussianStep step{FreeEnergy(c.model())};
    const auto r = step.advance(c.start, h);
    REQUIRE(r.status == Status::converged);
    const Matrix after = r.measure.covariance();
    const Matrix t = Matrix::Identity(2, 2) + h * c.k - h / c.beta * after.inverse();
    // Rounding: T is a difference of terms of size h/(beta lambda_min), here at most 30.
    CHECK((t * after * t - c.start.covariance()).norm() < 1e-12 * (1 + h));
    CHECK(((Matrix::Identity(2, 2) + h * c.k) * r.measure.mean() - c.start.mean() - h * c.k * c.mu).norm() < 1e-13 * (1 + h));
    CHECK(r.w2_bound < 1e-12 * (1 + h));
    CHECK(r.gap < 1e-22 * (1 + h) * (1 + h) + 1e-24);
  }
}

TEST_CASE("no other Gaussian is better") {
  const Case c;
  const double h = 0.3;
  GaussianStep step{FreeEnergy(c.model())};
  const auto r = step.advance(c.start, h);
  const auto objective = [&](const Gaussian& g) { return step.energy_value(g).total + std::pow(w2(g, c.start), 2) / (2 * h); };
  CHECK(std::abs(objective(r.measure) - r.objective) < 1e-12);
  const double kappa = Eigen::SelfAdjointEigenSolver<Matrix>(c.k).eigenvalues()[0];
  for (int i = 0; i < 50; ++i) {
    const double a = std::sin(1.0 + i), b = std::cos(2.0 * i), e = 0.2;
    const Gaussian other(r.measure.mean() + e * Vector{{a, b}}, r.measure.covariance() * (1 + 0.5 * e * b) + e * Matrix{{0.1 + a * a, a * b}, {a * b, 0.1 + b * b}} * 0.3);
    // J is (1/h + kappa)-convex along the geodesics based at the start (theory.md b7); 1e-12 covers rounding.
    CHECK(objective(other) >= r.objective - 1e-12);
    CHECK(objective(other) - r.objective >= 0.5 * (1 / h + std::min(kappa, 0.0)) * std::pow(w2(other, r.measure), 2) * (1 - 1e-9) - 1e-12);
  }
}

TEST_CASE("K to 0: the entropic prox Sigma' = (Sigma + 2hI + (Sigma (Sigma + 4hI))^{1/2})/2 of Diao et al.") {
  const Case c;
  const double h = 0.4, small = 1e-9;  // K = small I moves the result by O(small)
  GaussianStep step{FreeEnergy(Model(ornstein_uhlenbeck(2), Vector{{small, 0, small, 0, 0}}, 1))};
  const Matrix sigma = c.start.covariance(), identity = Matrix::Identity(2, 2);
  const Matrix expected = 0.5 * (sigma + 2 * h * identity + root(sigma * (sigma + 4 * h * identity), 0.5));
  CHECK((step.advance(c.start, h).measure.covariance() - expected).cwiseAbs().maxCoeff() < 1e-7);
}

TEST_CASE("one dimension agrees with the scalar formula of theory.md 2.1") {
  const double kappa = 1.3, mu = 0.4, beta = 2, h = 0.2, m = 2, s = 1.7;
  GaussianStep step{FreeEnergy(Model(ornstein_uhlenbeck(), Vector{{kappa, mu}}, beta))};
  const auto r = step.advance(Gaussian(Vector{{m}}, Matrix{{s * s}}), h);
  const double a = 1 + h * kappa;
  CHECK(std::abs(r.measure.mean()[0] - (m + h * kappa * mu) / a) < 1e-15);
  CHECK(std::abs(std::sqrt(r.measure.covariance()(0, 0)) - (s + std::sqrt(s * s + 4 * a * h / beta)) / (2 * a)) < 1e-15);
}

TEST_CASE("the stationary law is a fixed point for every step size, and W2 to it contracts by 1 + kappa h") {
  const Case c;
  const Gaussian pi(c.mu, (c.beta * c.k).inverse());
  const double kappa = Eigen::SelfAdjointEigenSolver<Matrix>(c.k).eigenvalues()[0];
  for (const double h : {0.01, 1.0, 100.0}) {
    GaussianStep step{FreeEnergy(c.model())};
    CHECK(w2(step.advance(pi, h).measure, pi) < 1e-7);  // W2 is a square root: 1e-15 under it is 3e-8
    CHECK(w2(step.advance(c.start, h).measure, pi) <= w2(c.start, pi) / (1 + kappa * h) + 1e-7);
  }
}

TEST_CASE("the tangent agrees with differences in the start and in every parameter") {
  const Case c;
  const double h = 0.3, d = 1e-5;  // truncation d^2 = 1e-10 times third derivatives of order 10, rounding 1e-16/d
  const Vector parameters = c.model().parameters();
  const auto run = [&](const Vector& p, const Vector& start) {
    GaussianStep step{FreeEnergy(c.model().with_parameters(p))};
    return step.advance(c.start.with_coordinates(start), h).measure.coordinates();
  };
  GaussianStep step{FreeEnergy(c.model())};
  (void)step.advance(c.start, h);
  const Matrix by_parameter = step.tangent(Matrix(), Matrix::Identity(parameters.size(), parameters.size()));
  for (Index j = 0; j < parameters.size(); ++j) {
    Vector up = parameters, down = parameters;
    up[j] += d;
    down[j] -= d;
    CHECK((by_parameter.col(j) - (run(up, c.start.coordinates()) - run(down, c.start.coordinates())) / (2 * d)).cwiseAbs().maxCoeff() < 1e-8);
  }
  Matrix directions = Matrix::Zero(6, 3);  // symmetric changes of Sigma only
  directions(0, 0) = 1;
  directions(2, 1) = 1;
  directions(3, 2) = directions(4, 2) = 1;
  const Matrix by_start = step.tangent(directions, Matrix());
  for (Index j = 0; j < 3; ++j) {
    const Vector x = c.start.coordinates();
    CHECK((by_start.col(j) - (run(parameters, x + d * directions.col(j)) - run(parameters, x - d * directions.col(j))) / (2 * d)).cwiseAbs().maxCoeff() < 1e-8);
  }
}

TEST_CASE("bad input: one line or a status") {
  const Case c;
  GaussianStep step{FreeEnergy(c.model())};
  CHECK_THROWS_WITH_AS((void)step.advance(c.start, -0.1), "gaussian_step: step size h is -0.1, but must be positive", DomainError);
  CHECK_THROWS_AS((void)step.advance(c.start, std::nan("")), DomainError);
  CHECK_THROWS_AS(GaussianStep{FreeEnergy(Model(double_well(), Vector{{1, 1, 0}}, 1))}, DomainError);
  CHECK_THROWS_AS((void)step.advance(Gaussian(Vector{{0.0}}, Matrix{{1.0}}), 0.1), Error);
  GaussianStep concave{FreeEnergy(Model(ornstein_uhlenbeck(2), Vector{{-1, 0, -2, 0, 0}}, 1))};
  const auto r = concave.advance(c.start, 0.6);
  CHECK(r.status == Status::step_not_convex);
  CHECK(r.measure.coordinates() == c.start.coordinates());
  CHECK(concave.advance(c.start, 0.4).status == Status::converged);
}
