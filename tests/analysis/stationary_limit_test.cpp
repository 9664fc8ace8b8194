#include <jko/analysis/online_limit.hpp>
#include <jko/analysis/stationary_limit.hpp>
#include <jko/models/families.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::analysis;

namespace {

const Model ou(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
const Model well(double_well(), Vector{{1, 1, 0}}, 2);

}  // namespace

TEST_CASE("Ornstein-Uhlenbeck: eigenvalues j kappa; mu excites the first mode, kappa the second; the costs of theory.md 2.5") {
  const double tau2 = 0.7, sigma2 = 0.4, v = 1 / (2 * 1.3);
  const Matrix sigma = Vector{{sigma2, tau2, 0}}.asDiagonal();
  const auto coarse = stationary_limit(ou, sigma, -4, 4.8, 150, 4), fine = stationary_limit(ou, sigma, -4, 4.8, 300, 4);
  const auto limit = [](double a, double b) { return (4 * b - a) / 3; };
  for (Index j = 0; j < 4; ++j) {
    // Second order; the extrapolation leaves O(width^4), below a hundredth of the correction for these modes.
    CHECK(std::abs(limit(coarse.rates[j], fine.rates[j]) - 1.3 * static_cast<double>(j + 1)) < 0.01 * std::abs(fine.rates[j] - coarse.rates[j]));
  }
  CHECK(std::abs(fine.coefficients(0, 0)) < 1e-9);
  CHECK(std::abs(fine.coefficients(1, 1)) < 1e-9);
  CHECK(fine.coefficients.bottomRows(2).cwiseAbs().maxCoeff() < 1e-3);
  CHECK(std::abs(fine.online(0, 0) / fine.offline(0, 0) - 1.3 / 2) < 1e-3);
  CHECK(std::abs(limit(coarse.free_energy_cost, fine.free_energy_cost) - 0.25 * (1.3 * 1.3 * tau2 + sigma2 * v)) < 1e-5);
  CHECK(std::abs(limit(coarse.slope_cost, fine.slope_cost) - (0.5 * 1.3 * 1.3 * 1.3 * tau2 + sigma2 / 2)) < 1e-4);
  // beta/2 tr(Sigma Cov(psi)): Var(kappa (x - mu)) = kappa^2 v, Var((x - mu)^2/2) = v^2/2.
  CHECK(std::abs(limit(coarse.offline_free_energy_cost, fine.offline_free_energy_cost) - (tau2 * 1.3 * 1.3 * v + sigma2 * v * v / 2)) < 1e-5);
  CHECK(std::abs(stationary_information(ou, -4, 4.8)(0, 0) - 1 / (2 * 1.3 * 1.3)) < 1e-8);  // Var kappa = 2 kappa^2/n, Var mu = v/n
  CHECK(std::abs(stationary_information(ou, -4, 4.8)(1, 1) - 1 / v) < 1e-8);
}

TEST_CASE("double well: the late online covariance has the spectral ratio to the offline one, temperature included") {
  const Index cells = 140;
  const double lower = -2.9, upper = 2.9, width = (upper - lower) / static_cast<double>(cells);
  const Spectrum s = generator_spectrum(well, lower, upper, cells, 4);
  const Matrix gram = s.width * s.eigenfunctions.transpose() * s.stationary.asDiagonal() * s.eigenfunctions;
  CHECK((gram - Matrix::Identity(4, 4)).cwiseAbs().maxCoeff() < 1e-10);
  CHECK(std::abs(s.eigenvalues[0]) < 1e-9);
  CHECK(s.eigenvalues[1] > 0.1);
  Matrix sigma = Matrix::Identity(4, 4);
  sigma(0, 1) = sigma(1, 0) = 0.5, sigma(2, 3) = sigma(3, 2) = -0.3;
  const auto limit = stationary_limit(well, sigma, lower, upper, cells, 3);
  std::vector<Functional> phi;
  for (Index j = 1; j <= 3; ++j) phi.push_back([&, j](double x) { return s.eigenfunctions(std::lround((x - lower) / width - 0.5), j); });
  // From pi, at lambda_1 t = 9: what is missing is exp(-2 lambda_1 t) = 2e-8 of it. Same grid: only the time step is left, second order.
  LimitCase c{well, [](double x) { return std::exp(-2 * (x * x * x * x / 4 - x * x / 2)); }, lower, upper, cells, 9 / s.eigenvalues[1], 100};
  const Matrix coarse = online_limit(c).covariance(phi, sigma);
  c.steps *= 2;
  const Matrix fine = online_limit(c).covariance(phi, sigma);
  CHECK(((4 * fine - coarse) / 3 - limit.online).cwiseAbs().maxCoeff() < 0.2 * (fine - coarse).cwiseAbs().maxCoeff() / 3 + 1e-7);
  CHECK((fine - coarse).cwiseAbs().maxCoeff() < 0.05 * limit.online.cwiseAbs().maxCoeff());
  CHECK(limit.offline.cwiseAbs().maxCoeff() > 0.01);
}
