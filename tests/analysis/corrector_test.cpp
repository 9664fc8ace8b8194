#include <jko/analysis/corrector.hpp>
#include <jko/core/error.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

using namespace jko;
using namespace jko::analysis;

TEST_CASE("the PDE gives the OU corrector, with second order") {
  const Model model(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
  const double m0 = 1.2, v0 = 0.6, t = 0.5;
  const Gaussian start(Vector{{m0}}, Matrix{{v0}});
  const OrnsteinUhlenbeck process(model);
  const Vector eta = process.corrector(start, t);
  const Gaussian law = process.law(start, t);
  const double m = law.mean()[0], v = law.covariance()(0, 0);
  double before = 0;
  for (const int level : {1, 2, 4}) {
    const auto c = first_order_corrector(model, [&](double x) { return std::exp(-(x - m0) * (x - m0) / (2 * v0)); }, -5, 7, 200 * level, t, 100 * level);
    // theory.md 2.1: eta(t, x) = -eta_m d_x rho + eta_v d_xx rho/2.
    double error = 0;
    for (Index i = 0; i < c.centres.size(); ++i) {
      const double x = c.centres[i], rho = std::exp(-(x - m) * (x - m) / (2 * v)) / std::sqrt(2 * std::numbers::pi * v);
      const double exact = eta[0] * (x - m) / v * rho + 0.5 * eta[1] * ((x - m) * (x - m) / v - 1) / v * rho;
      error += std::abs(c.eta[i] - exact) * c.width;
    }
    if (before > 0) CHECK(std::abs(std::log2(before / error) - 2) < 0.15);
    before = error;
    CHECK(std::abs(c.pairing([](double) { return 1.0; })) < 1e-12);  // mass
  }
  CHECK(before < 1e-3);
}

TEST_CASE("in the plane: the closed form of a non-commuting OU process") {
  const Model model(ornstein_uhlenbeck(2), Vector{{1.5, 0.6, 0.8, 0.2, -0.1}}, 1.5);
  const Gaussian start(Vector{{0.5, 0.4}}, Matrix{{0.3, -0.1}, {-0.1, 0.5}});
  const OrnsteinUhlenbeck process(model);
  const double t = 0.4;
  const Vector eta = process.corrector(start, t), mean = process.law(start, t).mean();
  // Moments of eta: <x_i> = eta_m, <x_i x_j> = eta_S + eta_m m' + m eta_m'.
  double before = 0;
  for (const int level : {1, 2}) {
    const auto grid = std::make_shared<const Grid>(Grid{Vector{{-5, -5.5}}, Vector{{5, 5.5}}, {60 * level, 60 * level}});
    const auto c = first_order_corrector(model, GridDensity::gaussian(grid, start.mean(), start.covariance()), t, 16 * level);
    CHECK(std::abs(c.pairing([](const ConstMatrixRef& x) { return Vector(Vector::Ones(x.cols())); })) < 1e-11);
    double error = 0;
    for (Index i = 0; i < 2; ++i) {
      error = std::max(error, std::abs(c.pairing([&](const ConstMatrixRef& x) { return Vector(x.row(i).transpose()); }) - eta[i]));
      for (Index j = 0; j < 2; ++j) {
        const double exact = eta[2 + i + 2 * j] + eta[i] * mean[j] + mean[i] * eta[j];
        error = std::max(error, std::abs(c.pairing([&](const ConstMatrixRef& x) { return Vector(x.row(i).cwiseProduct(x.row(j)).transpose()); }) - exact));
      }
    }
    // Second order in width and time step together; the next terms move the observed order by the relative change of the constant, a fifth at these sizes.
    if (before > 0) CHECK(std::abs(std::log2(before / error) - 2) < 0.4);
    before = error;
  }
  CHECK(before < 0.02 * eta.cwiseAbs().maxCoeff());
}

TEST_CASE("in the plane: for a sum of potentials and a product start the corrector is eta_1 rho_2 + rho_1 eta_2") {
  const double t = 0.3, beta = 2;
  const Model plane(formula("x1^4/4 - x1^2/2 + x2^2/2", 2), Vector(), beta);
  const Model well(double_well(), Vector{{1, 1, 0}}, beta), quadratic(ornstein_uhlenbeck(), Vector{{1, 0}}, beta);
  const auto narrow = [](double x) { return std::exp(-(x - 0.4) * (x - 0.4) / 0.6); };
  const auto grid = std::make_shared<const Grid>(Grid{Vector{{-3, -4}}, Vector{{3, 4}}, {90, 90}});
  const auto start = GridDensity::from_density(grid, [&](const ConstMatrixRef& x) {
    Vector out(x.cols());
    for (Index i = 0; i < x.cols(); ++i) out[i] = narrow(x(0, i)) * narrow(x(1, i));
    return out;
  });
  const auto one = first_order_corrector(well, narrow, -3, 3, 90, t, 200), two = first_order_corrector(quadratic, narrow, -4, 4, 90, t, 200);
  const Matrix product = one.eta * two.density.transpose() + one.density * two.eta.transpose();
  CHECK(product.cwiseAbs().sum() * grid->cell_volume() > 0.05);
  // The cells are the same in space, so that only the error in time is left: second order after the extrapolation, with a next term of a tenth at dt = 1/40.
  const auto error = [&](int steps) { return (Matrix(first_order_corrector(plane, start, t, steps).eta.reshaped(90, 90)) - product).cwiseAbs().sum() / product.cwiseAbs().sum(); };
  const double coarse = error(12), fine = error(24);
  CHECK(std::abs(std::log2(coarse / fine) - 2) < 0.2);
  CHECK(fine < 0.01);
}

TEST_CASE("misuse is one line") {
  const Model model(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
  CHECK_THROWS_AS((void)first_order_corrector(model, [](double) { return -1.0; }, -5, 5, 100, 1, 10), DomainError);
  CHECK_THROWS_AS((void)first_order_corrector(model, [](double) { return 1.0; }, -5, 5, 100, -1, 10), DomainError);
}
