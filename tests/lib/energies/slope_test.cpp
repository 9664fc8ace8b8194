#include <jko/core/error.hpp>
#include <jko/energies/slope.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

namespace {

FreeEnergy everything() {
  FreeEnergy energy;
  energy.add_potential(double_well(), Vector{{1, 1, 0.2}}).add_entropy(2).add_porous_medium(0.3, 2).add_interaction(ornstein_uhlenbeck(), Vector{{0.5, 0}});
  return energy;
}

}  // namespace

TEST_CASE("the gradient is the derivative of the energy in the metric of the mass matrix") {
  QuantileStep step(everything());
  const auto q = QuantileFunction::gaussian(0.3, 0.5, 24, 4);
  const Vector g = wasserstein_gradient(step.energy(), q);
  // <G, e>_M = dF(x; e), the right side by central differences: with t = 1e-5 the truncation t^2 F''' and the rounding epsilon F/t are both below 1e-9 times
  // the derivatives of F, which the closely spaced nodes (spacing 0.1) make as large as 1e2.
  for (const Index i : {0, 3, 12, 24}) {
    Vector e = Vector::Zero(q.cells() + 1);
    e[i] = 1;
    const double t = 1e-5;
    const double numerical = (step.energy_value(q.with_coordinates(q.nodes() + t * e)).total - step.energy_value(q.with_coordinates(q.nodes() - t * e)).total) / (2 * t);
    // <g, e>_M from the polarisation of the norm.
    const double plus = w2(q.with_coordinates(g + e), q.with_coordinates(Vector::Zero(q.cells() + 1)));
    const double minus = w2(q.with_coordinates(g - e), q.with_coordinates(Vector::Zero(q.cells() + 1)));
    CHECK(std::abs((plus * plus - minus * minus) / 4 - numerical) < 1e-7);
  }
}

TEST_CASE("the slope of quantile functions tends to that of Gaussians, with second order") {
  const FreeEnergy energy(Model(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2));
  const double m = 2, s = 1.7;
  const double exact = std::sqrt(std::pow(1.3 * (m - 0.4), 2) + std::pow(1.3 * s - 1 / (2 * s), 2));  // theory.md b3
  CHECK(std::abs(slope(energy, Gaussian(Vector{{m}}, Matrix{{s * s}})) - exact) < 1e-14);
  const double coarse = std::abs(slope(energy, QuantileFunction::gaussian(m, s * s, 200)) - exact), fine = std::abs(slope(energy, QuantileFunction::gaussian(m, s * s, 400)) - exact);
  CHECK(std::abs(std::log2(coarse / fine) - 2) < 0.2);  // graded cells are not nested: the constant moves by a few per cent
}

TEST_CASE("the first-order error vanishes at the JKO step and equals an added drift") {
  const Model model(ornstein_uhlenbeck(2), Vector{{2, 0.3, 1, 0.1, -0.2}}, 1.5);
  const FreeEnergy energy(model);
  const Gaussian from(Vector{{1, -1}}, Matrix{{1.2, 0.4}, {0.4, 0.7}});
  const double h = 0.3;
  const Gaussian to = GaussianStep(energy).advance(from, h).measure;
  CHECK(first_order_error(energy, from, to, h) < 1e-14);
  // Moving the mean by e adds the constant field (K + 1/h) e.
  const Vector e{{1e-3, 2e-3}};
  const Matrix k{{2, 0.3}, {0.3, 1}};
  CHECK(std::abs(first_order_error(energy, from, Gaussian(to.mean() + e, to.covariance()), h) - (k * e + e / h).norm()) < 1e-14);
  QuantileStep step(everything());
  const auto q = QuantileFunction::gaussian(0.3, 0.5, 100, 6);
  const auto result = step.advance(q, h);
  CHECK(first_order_error(step.energy(), q, result.measure, h) <= 1.0001 * result.residual);  // the step reports an upper bound
  CHECK(first_order_error(step.energy(), q, q, h) == doctest::Approx(slope(step.energy(), q)));
}

TEST_CASE("misuse is one line") {
  FreeEnergy energy = everything();
  CHECK_THROWS_AS((void)slope(energy, Gaussian(Vector{{0.0}}, Matrix{{1.0}})), DomainError);
  CHECK_THROWS_AS((void)slope(energy, QuantileFunction(std::make_shared<const Vector>(Vector{{0.5, 0.5}}), Vector{{0, 2, 1}})), DomainError);
}
