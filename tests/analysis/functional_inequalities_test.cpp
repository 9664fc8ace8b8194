#include <jko/analysis/functional_inequalities.hpp>
#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/energies/relative_entropy.hpp>
#include <jko/energies/slope.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::analysis;

namespace {

Model ou(double kappa, double beta) { return {ornstein_uhlenbeck(), Vector{{kappa, 0.4}}, beta}; }
Model cosine() { return {quadratic_cosine(), Vector{{1, 0, 0.3, 1.5}}, 2}; }
Model well() { return {double_well(), Vector{{1, 1, 0}}, 2}; }

}  // namespace

TEST_CASE("log-Sobolev, Talagrand and HWI: equality on translations, strict elsewhere") {
  const Model model(ornstein_uhlenbeck(2), Vector{{1.5, 0, 1.5, 0.1, -0.2}}, 2);
  const GaussianStep step{FreeEnergy(model)};
  const auto pi = find_minimiser(step, Gaussian(Vector{{0, 0}}, Matrix::Identity(2, 2)));
  const Gaussian moved(pi.measure.mean() + Vector{{1, 2}}, pi.measure.covariance());
  for (const Check& c : functional_inequalities(step, std::vector<Gaussian>{moved}, pi, "t")) {
    CHECK(c.verdict == Verdict::pass);
    CHECK(std::abs(c.statistic - c.bound) <= c.tolerance);
    CHECK(c.tolerance < 1e-12);
  }
  RandomStream random(4, "measures");
  std::vector<Gaussian> many;
  for (int i = 0; i < 50; ++i) {
    Matrix root(2, 2);
    for (double& x : root.reshaped()) x = random.normal();
    many.emplace_back(Vector{{random.normal(), random.normal()}}, root * root.transpose() + 0.01 * Matrix::Identity(2, 2));
  }
  for (const Check& c : functional_inequalities(step, many, pi, "r")) CHECK(c.verdict == Verdict::pass);
  // Relative entropy and Fisher information against the library's closed form.
  CHECK(std::abs(2 * (step.energy_value(many[0]).total - pi.energy) - relative_entropy(many[0], pi.measure)) < 1e-12);
}

TEST_CASE("a convexity constant that is a thousandth too large fails all three") {
  FreeEnergy wrong;
  wrong.add_potential(formula("1.3/2*x^2 + e*cosh(x)"), Vector{{0.0}}).add_entropy(2);  // no constant is stated
  wrong.assume_convexity({1.3 * 1.001, false, "made up"});
  const QuantileStep step(wrong);
  const auto pi = find_minimiser(step, QuantileFunction::gaussian(0, 0.4, 40, 5));
  const auto moved = pi.measure.with_coordinates(pi.measure.nodes().array() + 1);
  for (const Check& c : functional_inequalities(step, {moved}, pi, "w")) CHECK(c.verdict == Verdict::fail);
}

TEST_CASE("the discrete inequalities on quantile functions, rough ones included") {
  const QuantileStep step{FreeEnergy(cosine())};
  const auto start = QuantileFunction::gaussian(0, 0.5, 40, 5);
  const auto pi = find_minimiser(step, start);
  REQUIRE(pi.status == Status::converged);
  RandomStream random(9, "rough");
  std::vector<QuantileFunction> many;
  for (int i = 0; i < 50; ++i) {
    Vector nodes(41);
    nodes[0] = random.normal() - 2;
    for (Index j = 1; j < 41; ++j) nodes[j] = nodes[j - 1] + 0.1 * random.exponential();
    many.push_back(start.with_coordinates(nodes));
  }
  many.push_back(start.with_coordinates(pi.measure.nodes().array() + 0.01));
  for (const Check& c : functional_inequalities(step, many, pi, "q")) {
    INFO(c.id << c.statistic << " " << c.bound << " " << c.tolerance);
    CHECK(c.verdict == Verdict::pass);
    CHECK(c.tolerance < 1e-9);
  }
  const QuantileStep nonconvex{FreeEnergy(well())};
  for (const Check& c : functional_inequalities(nonconvex, many, find_minimiser(nonconvex, start), "n")) CHECK(c.verdict == Verdict::inconclusive);
}

TEST_CASE("spectral gap: exact for Ornstein-Uhlenbeck, second order, and independent of convexity") {
  const Bounded gap = spectral_gap(ou(1.3, 2), -6, 7, 500);
  CHECK(std::abs(gap.value - 1.3) <= gap.error);  // the wall at nine deviations changes it by far less
  CHECK(gap.error < 1e-2);
  const Bounded finer = spectral_gap(ou(1.3, 2), -6, 7, 1000);
  CHECK(std::abs(std::log2(gap.error / finer.error) - 2) < 0.05);
  // Free diffusion between walls: eigenvalue (pi/length)^2/beta. A tiny curvature stands in for none; it moves the gap by at most itself.
  const Bounded box = spectral_gap(Model(ornstein_uhlenbeck(), Vector{{1e-9, 0}}, 2), 0, 2, 400);
  CHECK(std::abs(box.value - std::pow(std::acos(-1.0) / 2, 2) / 2) <= box.error + 1e-8);
}

TEST_CASE("Hardy bounds enclose the known constants") {
  for (const double kappa : {0.3, 1.3}) {
    const HardyBounds b = hardy_bounds(ou(kappa, 2), -25, 25, 8000);  // best rates: both kappa
    CHECK(b.poincare_lower <= kappa);
    CHECK(b.poincare_upper >= kappa);
    CHECK(b.log_sobolev_lower <= kappa);
    CHECK(b.log_sobolev_upper >= kappa);
    CHECK(b.log_sobolev_lower > kappa / 8);  // not vacuous
    CHECK(b.poincare_upper < 8 * kappa);
    // Scaling: rates are proportional to kappa (x by sqrt(kappa) standardises pi).
    CHECK(std::abs(b.log_sobolev_lower / kappa - hardy_bounds(ou(1, 2), -25, 25, 8000).log_sobolev_lower) < 2e-3);
  }
  const HardyBounds b = hardy_bounds(well(), -5, 5);
  const Bounded gap = spectral_gap(well(), -5, 5);
  CHECK(b.poincare_lower <= gap.value);
  CHECK(b.poincare_upper >= gap.value);
  CHECK(b.log_sobolev_lower <= gap.value);  // a log-Sobolev rate is at most the gap
  // The lower bound of the log-Sobolev rate against measures: |dF|^2 >= 2 lambda (F - min F) must hold for every one. Discretised with 400 cells, the error of
  // both sides (1e-4 relative) is far below the factor two or more by which the bound is smaller.
  const QuantileStep step{FreeEnergy(well())};
  QuantileStep solver = step;
  auto pi = QuantileFunction::gaussian(0, 1, 400, 6);
  for (int i = 0; i < 60; ++i) pi = solver.advance(pi, 0.9).measure;
  const double minimum = step.energy_value(pi).total;
  double least = 1e300;
  for (const double m : {0.05, 0.3, 1.0, 2.0}) {
    for (const double v : {0.05, 0.2, 0.8, 2.0}) {
      const auto rho = QuantileFunction::gaussian(m, v, 400, 6);
      least = std::min(least, std::pow(slope(step.energy(), rho), 2) / (2 * (step.energy_value(rho).total - minimum)));
    }
  }
  CHECK(b.log_sobolev_lower <= least);
  CHECK(hardy_bounds(cosine(), -8, 8).log_sobolev_upper >= 0.325);  // Bakry-Emery: the rate is at least kappa
  CHECK(holley_stroock(1, 2, 0.6) <= hardy_bounds(cosine(), -8, 8).log_sobolev_upper);
}

TEST_CASE("decay factors imply each other in order, and the entropy decays as Bakry-Emery says") {
  CHECK(decay_factor(DecayAssumption::convex, 1, 0.5) < decay_factor(DecayAssumption::log_sobolev_convex, 1, 0.5));
  CHECK(decay_factor(DecayAssumption::log_sobolev_convex, 1, 0.5) < decay_factor(DecayAssumption::log_sobolev, 1, 0.5));
  const double kappa = 1.3, beta = 2, m = 0.7, v = 1 / (beta * kappa);
  // A translate of pi: KL = e^{-2 kappa t} alpha m^2/2 and FI = e^{-2 kappa t} alpha^2 m^2 exactly.
  const auto d = entropy_decay(ou(kappa, beta), [&](double x) { return std::exp(-(x - 0.4 - m) * (x - 0.4 - m) / (2 * v)); }, -5, 6, 1600, 1, 8);
  for (Index k = 0; k <= 8; ++k) {
    const double factor = std::exp(-2 * kappa * d.t[k]), alpha = beta * kappa;
    // Second order in the width 0.0069: relative errors of the order alpha width^2 = 1e-4.
    CHECK(std::abs(d.relative_entropy[k] / (factor * alpha * m * m / 2) - 1) < 1e-3);
    CHECK(std::abs(d.fisher_information[k] / (factor * alpha * alpha * m * m) - 1) < 1e-3);
  }
}

TEST_CASE("relative entropy of quantile functions") {
  const auto a = QuantileFunction::gaussian(0, 1, 800, 7), b = QuantileFunction::gaussian(1e-3, 1, 800, 7), c = QuantileFunction::gaussian(0.5, 1.44, 800, 8);
  // KL(N(0,1) | N(d,1)) = d^2/2 without cancellation, and the general formula; second order in cells of about 0.02 deviations: relative error 1e-3.
  CHECK(std::abs(relative_entropy(a, b).value / (0.5e-6) - 1) < 5e-3);
  const double exact = 0.5 * (1 / 1.44 - 1 + 0.25 / 1.44 + std::log(1.44));
  CHECK(std::abs(relative_entropy(a, c).value / exact - 1) < 2e-3);
  CHECK(relative_entropy(a, c).left_out == 0);
  CHECK(relative_entropy(c, a).left_out > 0);
  CHECK(relative_entropy(a, a).value == 0);
}
