#include <jko/core/error.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/bures_wasserstein.hpp>

#include <Eigen/LU>
#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using namespace jko;

namespace {

const Model ou(ornstein_uhlenbeck(2), Vector{{1.5, 0.4, 0.9, 0.3, -0.2}}, 1.7);
const Matrix precision = 1.7 * Matrix{{1.5, 0.4}, {0.4, 0.9}};
const Gaussian start(Vector{{1.0, -2.0}}, Matrix{{2.0, -0.7}, {-0.7, 0.8}});

/// V = sum of log cosh-like terms: convex, not quadratic, smooth.
Target logistic(bool hessian) {
  Target t;
  t.dimension = 2;
  t.value = [](const ConstMatrixRef& x) { return Vector((0.25 * x.array().square() + x.array().cosh().log()).colwise().sum().transpose() + (x.row(0).array() * 0.5).transpose()); };
  t.gradient = [](const ConstMatrixRef& x) {
    Matrix g = 0.5 * x.array() + x.array().tanh();
    g.row(0).array() += 0.5;
    return g;
  };
  if (hessian) {
    t.hessian = [](const ConstMatrixRef& x) {
      Matrix h = Matrix::Zero(4, x.cols());
      h.row(0) = 0.5 + x.row(0).array().cosh().square().inverse();
      h.row(3) = 0.5 + x.row(1).array().cosh().square().inverse();
      return h;
    };
  }
  return t;
}

/// E f(X), X ~ N(m, v), by the trapezoidal rule at 1/50 standard deviation up to ten: spectrally exact.
template <class F>
double expectation(double m, double v, const F& f) {
  double sum = 0;
  for (int i = -500; i <= 500; ++i) {
    const double z = 0.02 * i;
    sum += f(m + std::sqrt(v) * z) * std::exp(-0.5 * z * z);
  }
  return sum * 0.02 / std::sqrt(2 * std::numbers::pi);
}

}  // namespace

TEST_CASE("a Gaussian target is found exactly, from any step below 1/L, at the theory's rate") {
  const Gaussian pi(Vector{{0.3, -0.2}}, precision.inverse());
  const double low = 1.7 * 0.7, high = 1.7 * 1.7;
  for (const double eta : {0.05, 1 / high}) {
    const auto r = forward_backward_inference(Target::of(ou), start, {.step = eta, .nodes = 3});
    REQUIRE(r.status == Status::converged);
    CHECK((r.gaussian.mean() - pi.mean()).norm() < 1e-8);
    CHECK((r.gaussian.covariance() - pi.covariance()).norm() < 1e-8);
    // The objective is KL - log Z: its value at the end, and its decrease by at least W2^2/(2 eta k) in the convex case.
    const double log_z = std::log(2 * std::numbers::pi) - 0.5 * std::log(precision.determinant());
    CHECK(std::abs(r.records.back().objective + log_z) < 1e-12);
    for (std::size_t k = 1; k < r.records.size(); ++k) {
      const double excess = r.records[k].objective + log_z;
      CHECK(excess <= std::pow(w2(start, pi), 2) / (2 * eta * static_cast<double>(k)) + 1e-13);
      CHECK(excess <= r.records[k - 1].objective + log_z + 1e-13);
      // theory.md d10: 2 eta KL(k) <= (1 - eta alpha)^k W2^2(start).
      CHECK(2 * eta * excess <= std::pow(1 - eta * low, static_cast<double>(k)) * std::pow(w2(start, pi), 2) + 1e-12);
    }
  }
}

TEST_CASE("a target that is no Gaussian: E grad V = 0 and E Hess V = Sigma^{-1}, checked by another quadrature; Stein's identity agrees") {
  const auto r = forward_backward_inference(logistic(true), start, {.step = 0.5, .nodes = 40});
  REQUIRE(r.status == Status::converged);
  for (const Index i : {0, 1}) {
    const double m = r.gaussian.mean()[i], v = r.gaussian.covariance()(i, i);
    // 40 nodes integrate tanh (poles at i pi/2) to 1e-8 for these variances near 1.
    CHECK(std::abs(expectation(m, v, [&](double x) { return 0.5 * x + std::tanh(x) + (i == 0 ? 0.5 : 0.0); })) < 1e-7);
    CHECK(std::abs(expectation(m, v, [](double x) { return 0.5 + std::pow(std::cosh(x), -2); }) - 1 / v) < 1e-6);
  }
  CHECK(std::abs(r.gaussian.covariance()(0, 1)) < 1e-8);
  const auto stein = forward_backward_inference(logistic(false), start, {.step = 0.5, .nodes = 40});
  REQUIRE(stein.status == Status::converged);
  CHECK(w2(stein.gaussian, r.gaussian) < 1e-5);
  // Monte Carlo: mean of pairs +-z; with 4000 draws a step the mean fluctuates by about sqrt(eta/samples) = 0.01; ten of it.
  const auto noisy = forward_backward_inference(logistic(true), start, {.step = 0.3, .max_steps = 60, .rule = GaussianRule::monte_carlo, .samples = 4000, .seed = 4});
  CHECK(noisy.status == Status::converged);
  CHECK(w2(noisy.gaussian, r.gaussian) < 0.1);
}

TEST_CASE("stochastic descent: the covariance of a quadratic target follows its deterministic recursion, the mean contracts on average") {
  const double eta = 0.05;
  const auto r = stochastic_inference(Target::of(ou), start, {.step = eta, .max_steps = 200, .seed = 2});
  REQUIRE(r.status == Status::converged);
  Matrix sigma = start.covariance();
  for (int k = 0; k < 200; ++k) {
    const Matrix map = Matrix::Identity(2, 2) - eta * (precision - sigma.inverse());
    sigma = map * sigma * map;
  }
  CHECK((r.gaussian.covariance() - sigma).norm() < 1e-12);
  CHECK((sigma - precision.inverse()).norm() < 1e-5);  // contraction about 1 - 2 eta alpha = 0.88 a step
  // Mean of 200 seeds after 40 steps against (I - eta P)^40 (m0 - mu): each run fluctuates by at most sqrt(eta L/2 / L...) <= sqrt(eta) = 0.22, the mean by 0.016; five of it.
  Vector mean = Vector::Zero(2);
  for (std::uint64_t seed = 1; seed <= 200; ++seed) mean += stochastic_inference(Target::of(ou), start, {.step = eta, .max_steps = 40, .seed = seed}).gaussian.mean() / 200;
  Vector expected = start.mean() - Vector{{0.3, -0.2}};
  for (int k = 0; k < 40; ++k) expected -= eta * precision * expected;
  CHECK((mean - Vector{{0.3, -0.2}} - expected).norm() < 0.08);
  const auto capped = stochastic_inference(Target::of(ou), start, {.step = eta, .max_steps = 1, .seed = 2, .largest_variance = 0.5});
  CHECK(capped.gaussian.covariance().trace() <= 1.0);
}

TEST_CASE("statuses and misuse") {
  CHECK(forward_backward_inference(Target::of(ou), start, {.step = 0.05, .max_steps = 3, .nodes = 3}).status == Status::iteration_limit);
  Target t = logistic(false);
  CHECK_THROWS_WITH_AS((void)stochastic_inference(t, start), "stochastic_inference: the target must give its Hessian", DomainError);
  t.gradient = [](const ConstMatrixRef& x) { return Matrix(Matrix::Constant(2, x.cols(), std::nan(""))); };
  CHECK(forward_backward_inference(t, start).status == Status::not_finite);
  t.value = nullptr;
  CHECK_THROWS_WITH_AS((void)forward_backward_inference(t, start), "target: value and gradient must be given", DomainError);
  CHECK_THROWS_WITH_AS((void)forward_backward_inference(Target::of(ou), start, {.step = 0}), "bures_wasserstein: step eta is 0, but must be positive", DomainError);
  CHECK_THROWS_AS((void)forward_backward_inference(Target::of(ou), Gaussian(Vector{{0.0}}, Matrix{{1.0}})), ShapeError);
  Target wide = logistic(true);
  wide.dimension = 8;
  CHECK_THROWS_AS((void)forward_backward_inference(wide, Gaussian(Vector::Zero(8), Matrix::Identity(8, 8)), {.nodes = 12}), DomainError);
}
