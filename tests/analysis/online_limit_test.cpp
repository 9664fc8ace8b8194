#include <jko/analysis/online_limit.hpp>
#include <jko/core/error.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::analysis;
using jko::estimators::OnlineData;

namespace {

constexpr double kappa = 1.3, mu = 0.4, beta = 2, m0 = 2, v0 = 1.2, t = 0.9;
const Model ou(ornstein_uhlenbeck(), Vector{{kappa, mu}}, beta);
const Gaussian start(Vector{{m0}}, Matrix{{v0}});

LimitCase ou_case() {
  return {ou, [](double x) { return std::exp(-(x - m0) * (x - m0) / (2 * v0)); }, -7, 9, 150, t, 30};
}

/// theory.md 2.3 for noise of unit variance in kappa, and Var U_m for unit variance in mu; derived again: U_m = int e^{-kappa(t-s)} (mu - m_s) dB,
/// U_v = -2 int e^{-2 kappa(t-s)} v_s dB.
Matrix kappa_law() {
  const double v = 1 / (beta * kappa), d = v0 - v, e = std::exp(-kappa * t);
  const double mm = (m0 - mu) * (m0 - mu) * e * e * t, mv = 2 * (m0 - mu) * e * (v * (1 - e * e) / (2 * kappa) + d * t * e * e);
  const double vv = 4 * (v * v * (1 - std::pow(e, 4)) / (4 * kappa) + v * d * (e * e - std::pow(e, 4)) / kappa + d * d * t * std::pow(e, 4));
  return Matrix{{mm, mv}, {mv, vv}};
}
Matrix unit(Index i) {
  Matrix out = Matrix::Zero(3, 3);
  out(i, i) = 1;
  return out;
}
/// 2 kappa int_0^t e^{-kappa(2t-r)} (e^{kappa r} - 1)/r dr by the midpoint rule, error below 1e-8.
double accumulated_mean() {
  double sum = 0;
  const int n = 4000;
  for (int i = 0; i < n; ++i) {
    const double r = (i + 0.5) * t / n;
    sum += std::exp(-kappa * (2 * t - r)) * std::expm1(kappa * r) / r * t / n;
  }
  return 2 * kappa * sum;
}

}  // namespace

TEST_CASE("the Gaussian Lyapunov equation gives the closed forms in one dimension") {
  CHECK((gaussian_online_limit(ou, start, t, unit(0)) - kappa_law()).cwiseAbs().maxCoeff() < 1e-10);
  CHECK(std::abs(gaussian_online_limit(ou, start, t, unit(1))(0, 0) - kappa * (1 - std::exp(-2 * kappa * t)) / 2) < 1e-10);
  CHECK(std::abs(gaussian_online_limit(ou, start, t, unit(1), OnlineData::accumulated)(0, 0) - accumulated_mean()) < 1e-7);
}

TEST_CASE("two dimensions without commutation: sensitivities of the flow tend to the Lyapunov equation as h to 0") {
  const Model model(ornstein_uhlenbeck(2), Vector{{1.5, 0.4, 0.8, 0.3, -0.2}}, 2);
  const Gaussian from(Vector{{1.0, -1.0}}, Matrix{{0.9, -0.3}, {-0.3, 0.5}});
  Matrix root(6, 6);
  for (Index i = 0; i < 6; ++i) {
    for (Index j = 0; j < 6; ++j) root(i, j) = std::sin(1.0 + static_cast<double>(i * i + 3 * j));
  }
  const Matrix sigma = root * root.transpose() / 6;
  for (const OnlineData data : {OnlineData::fresh, OnlineData::accumulated}) {
    const auto at = [&](int steps) {
      const double h = t / steps;
      const auto r = Flow<GaussianStep>(GaussianStep(FreeEnergy(model)), from, {.h = h, .steps = steps, .sensitivity = Sensitivity::per_step, .keep_every = steps}).run();
      const Matrix& tangent = r.final_state().tangent;
      return Matrix(tangent * estimators::online_covariance(sigma, steps, data) * tangent.transpose() / h);
    };
    const Matrix limit = gaussian_online_limit(model, from, t, sigma, data);
    CHECK((limit - limit.transpose()).cwiseAbs().maxCoeff() < 1e-12);
    const Matrix a = at(40), b = at(80), c = at(160);
    const double first = (b - limit).norm(), second = (c - limit).norm();
    if (data == OnlineData::fresh) {  // order 1, so that the extrapolation is of order 2
      CHECK(std::log2(first / second) == doctest::Approx(1).epsilon(0.05));
      CHECK((2 * c - b - limit).norm() < 0.35 * (2 * b - a - limit).norm());
    } else {  // the forcing B_t/t costs a logarithm
      CHECK(std::log2(first / second) > 0.75);
    }
    CHECK(second < 0.02 * limit.norm());
  }
}

TEST_CASE("the grid's Lyapunov recursion is second order to the closed forms, fresh and accumulated") {
  const double m = mu + std::exp(-kappa * t) * (m0 - mu);
  const std::vector<Functional> phi{[](double x) { return x; }, [=](double x) { return (x - m) * (x - m); }};
  const auto coarse = online_limit(ou_case()), fine = online_limit(ou_case().refined());
  const auto check = [&](const Matrix& sigma, OnlineData data, const Matrix& exact) {
    const Matrix a = coarse.covariance(phi, sigma, data), b = fine.covariance(phi, sigma, data);
    // A third of the difference is the finer one's error, a fifth of that is left for the extrapolation's.
    CHECK(((4 * b - a) / 3 - exact).cwiseAbs().maxCoeff() < 0.2 * (b - a).cwiseAbs().maxCoeff() / 3);
    CHECK((b - a).cwiseAbs().maxCoeff() < 0.02 * exact.cwiseAbs().maxCoeff());
  };
  check(unit(0), OnlineData::fresh, kappa_law());
  check(unit(0) + unit(1) + unit(2), OnlineData::fresh, gaussian_online_limit(ou, start, t, Matrix::Identity(3, 3)));
  check(Matrix::Identity(3, 3), OnlineData::accumulated, gaussian_online_limit(ou, start, t, Matrix::Identity(3, 3), OnlineData::accumulated));
}

TEST_CASE("simulated stochastic PDE has the covariance of the Lyapunov recursion") {
  const LimitCase c = ou_case();
  const std::vector<Functional> phi{[](double x) { return x; }, [](double x) { return std::cos(x); }};
  const Matrix sigma{{1, 0.3, 0}, {0.3, 0.5, 0}, {0, 0, 0.7}};
  const int n = 1500;
  const Matrix draws = simulate_online_limit(c, sigma, phi, {.replications = n, .seed = 4, .threads = 2});
  CHECK(draws == simulate_online_limit(c, sigma, phi, {.replications = n, .seed = 4}));
  // The mean is known to be 0. Same grid, time step and quadrature in time: no bias. Three entries at 4.5 s.e. of a Gaussian second moment: false alarm 2e-5.
  const Matrix measured = draws * draws.transpose() / n, theory = online_limit(c).covariance(phi, sigma);
  for (Index i = 0; i < 2; ++i) {
    for (Index j = 0; j <= i; ++j) {
      const double error = std::sqrt((theory(i, i) * theory(j, j) + theory(i, j) * theory(i, j)) / n);
      CHECK(std::abs(measured(i, j) - theory(i, j)) < 4.5 * error);
    }
  }
}

TEST_CASE("the exact variance at finite h is that of the flow's sensitivities") {
  const double h = 0.03;
  const int steps = 25;
  const auto r = Flow<GaussianStep>(GaussianStep(FreeEnergy(ou)), start, {.h = h, .steps = steps, .sensitivity = Sensitivity::per_step, .keep_every = steps}).run();
  double sum = 0;  // the mean is linear in the estimates of mu: exact
  for (int k = 0; k < steps; ++k) sum += std::pow(r.final_state().tangent(0, 3 * k + 1), 2) * 0.7 / h;
  CHECK(std::abs(sum - online_mean_variance(kappa, 0.7, h, steps)) < 1e-13);
  CHECK(online_mean_variance(kappa, 0.7, h, 0) == 0);
  CHECK_THROWS_AS((void)online_mean_variance(-1, 1, h, 2), DomainError);
  CHECK_THROWS_AS((void)online_limit(ou_case()).covariance({[](double x) { return x; }}, Matrix::Identity(2, 2)), ShapeError);
}
