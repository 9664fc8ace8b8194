#include <jko/core/error.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/fokker_planck.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace jko;

namespace {

constexpr double kappa = 1.3, mu = 0.4, beta = 2, m0 = 1.2, v0 = 0.3;

Model ou() { return {ornstein_uhlenbeck(), (Vector(2) << kappa, mu).finished(), beta}; }

Vector gaussian(const Vector& x, double mean, double variance) {
  return (-(x.array() - mean).square() / (2 * variance)).exp() / std::sqrt(2 * M_PI * variance);
}

/// L1 error at t = 0.5 against the closed form.
double error(Index cells, int steps, TimeStepping method) {
  FokkerPlanck solver(ou(), -4, 5, cells);
  const Vector end = solver.advance(gaussian(solver.centres(), m0, v0), 0.5 / steps, steps, method);
  const double decay = std::exp(-0.5 * kappa), stationary = 1 / (beta * kappa);
  const Vector exact = gaussian(solver.centres(), mu + decay * (m0 - mu), stationary + decay * decay * (v0 - stationary));
  return (end - exact).cwiseAbs().sum() * solver.width();
}

}  // namespace

TEST_CASE("second order in space and time, first for implicit Euler") {
  // Observed order p + O(h): the coarse grids' next term is below 5 %.
  CHECK(std::abs(std::log2(error(100, 2000, TimeStepping::sdirk2) / error(200, 2000, TimeStepping::sdirk2)) - 2) < 0.1);
  CHECK(std::abs(std::log2(error(6400, 8, TimeStepping::sdirk2) / error(6400, 16, TimeStepping::sdirk2)) - 2) < 0.15);
  CHECK(std::abs(std::log2(error(6400, 64, TimeStepping::implicit_euler) / error(6400, 128, TimeStepping::implicit_euler)) - 1) < 0.05);
}

TEST_CASE("mass, positivity and the stationary law") {
  const Model well(double_well(), (Vector(3) << 1, 1, 0.2).finished(), 3);
  FokkerPlanck solver(well, -3, 3, 300);
  Vector spike = Vector::Zero(300);
  spike[70] = 1 / solver.width();
  const Vector later = solver.advance(spike, 10, 5, TimeStepping::implicit_euler);
  // A solve rounds terms of size 1 + 2 dt/(beta dx^2) = 3300 times the density: five of them lose at most 5 * 3300 epsilon.
  CHECK(std::abs(later.sum() * solver.width() - 1) < 4e-12);
  CHECK(later.minCoeff() > 0);
  const Vector stationary = solver.stationary();
  // The rows of L* are of size 1/(beta dx^2) = 833; cancellation leaves epsilon times that.
  CHECK(solver.apply(stationary).cwiseAbs().maxCoeff() < 1e-11);
}

TEST_CASE("a source enters with second order") {
  // d_t u = L* u + cos(t) pi has the solution pi (1 + sin t) from pi.
  double errors[2];
  for (int i = 0; i < 2; ++i) {
    FokkerPlanck solver(ou(), -4, 5, 100);
    const Vector pi = solver.stationary();
    const int steps = 20 << i;
    const Vector end = solver.advance(pi, 1.0 / steps, steps, TimeStepping::sdirk2, [&](double t) { return Vector(std::cos(t) * pi); });
    errors[i] = (end - (1 + std::sin(1.0)) * pi).cwiseAbs().maxCoeff();
  }
  CHECK(std::abs(std::log2(errors[0] / errors[1]) - 2) < 0.1);
}

TEST_CASE("misuse is one line") {
  CHECK_THROWS_WITH_AS(FokkerPlanck(ou(), 1, 0, 10), "fokker_planck: lower end 1 must lie below upper end 0", DomainError);
  FokkerPlanck solver(ou(), -1, 1, 10);
  CHECK_THROWS_AS((void)solver.advance(Vector::Ones(10), -0.1, 1), DomainError);
  CHECK_THROWS_AS((void)solver.advance(Vector::Ones(9), 0.1, 1), ShapeError);
}
