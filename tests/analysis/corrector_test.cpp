#include <jko/analysis/corrector.hpp>
#include <jko/core/error.hpp>
#include <jko/models/families.hpp>
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

TEST_CASE("misuse is one line") {
  const Model model(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
  CHECK_THROWS_AS((void)first_order_corrector(model, [](double) { return -1.0; }, -5, 5, 100, 1, 10), DomainError);
  CHECK_THROWS_AS((void)first_order_corrector(model, [](double) { return 1.0; }, -5, 5, 100, -1, 10), DomainError);
}
