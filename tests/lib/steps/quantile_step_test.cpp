#include <jko/core/error.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

namespace {

Model ou(double kappa, double mu, double beta) { return {ornstein_uhlenbeck(), Vector{{kappa, mu}}, beta}; }

/// Density 3/4 (1 - (x/r)^2)/r, through its distribution function.
QuantileFunction barenblatt(double radius, Index cells) {
  const auto below = [&](double x) {
    const double z = std::clamp(x / radius, -1.0, 1.0);
    return 0.25 * (z + 1) * (z + 1) * (2 - z);
  };
  return QuantileFunction::from_cdf(below, [&](double x) { return below(-x); }, -radius, radius, cells);
}

}  // namespace

TEST_CASE("second order in the cells against the Gaussian step, on graded cells") {
  GaussianStep exact{FreeEnergy(ou(1.3, 0.4, 2))};
  const auto goal = exact.advance(Gaussian(Vector{{2.0}}, Matrix{{2.89}}), 0.1).measure;
  double before = 0;
  for (const Index cells : {100, 200, 400}) {
    QuantileStep step{FreeEnergy(ou(1.3, 0.4, 2))};
    const auto r = step.advance(QuantileFunction::gaussian(2, 2.89, cells), 0.1);
    REQUIRE(r.status == Status::converged);
    CHECK(std::abs(r.measure.mean()[0] - goal.mean()[0]) < 1e-12);  // the mean is exact for a quadratic potential
    const double error = std::abs(r.measure.covariance()(0, 0) - goal.covariance()(0, 0));
    if (before > 0) CHECK(std::abs(before / error - 4) < 0.1);  // the next term of the expansion is cells^-2 relative
    before = error;
  }
}

TEST_CASE("porous medium: JKO maps Barenblatt to Barenblatt, R' - R = 3hc/R'^2 for m = 2") {
  const double h = 0.05, c = 0.7, radius = 1;
  double wide = radius;
  for (int i = 0; i < 100; ++i) wide -= (wide - radius - 3 * h * c / (wide * wide)) / (1 + 6 * h * c / (wide * wide * wide));
  double before = 0;
  for (const Index cells : {200, 400, 800}) {
    QuantileStep step{FreeEnergy().add_porous_medium(c, 2)};
    const auto r = step.advance(barenblatt(radius, cells), h);
    REQUIRE(r.status == Status::converged);
    CHECK(r.w2_bound < 1e-10);
    // Variance of Barenblatt m = 2 is R^2/5; the front, where the density vanishes, costs a little of the second order.
    const double error = std::abs(std::sqrt(5 * r.measure.covariance()(0, 0)) - wide);
    CHECK(error < 20.0 / static_cast<double>(cells * cells));
    if (before > 0) CHECK(std::log2(before / error) > 1.6);
    before = error;
  }
}

TEST_CASE("a quadratic interaction acts on the variance like a potential at the mean") {
  const double k = 1.7, h = 0.2, beta = 1.4;
  const auto start = QuantileFunction::gaussian(0.8, 1.3, 150);
  QuantileStep with{FreeEnergy().add_entropy(beta).add_interaction(formula("k/2*x^2"), Vector{{k}})};
  QuantileStep without{FreeEnergy(ou(k, 0.8, beta))};
  const auto a = with.advance(start, h), b = without.advance(start, h);
  REQUIRE(a.status == Status::converged);
  // 1/2 iint k/2 (x-y)^2 = k/2 Var, and the mean stays: the same discrete problem. Solver tolerance 1e-11 in W2, nodes in the far tail have
  // mass 1e-12 and so a hundred thousandth of that certainty.
  CHECK(w2(a.measure, b.measure) < 1e-10);
  CHECK(std::abs(a.measure.mean()[0] - 0.8) < 1e-10);
}

TEST_CASE("the certificate bounds the distance to the exact discrete minimiser") {
  const Model model(double_well(), Vector{{1, 0.5, 0.2}}, 2);
  const auto start = QuantileFunction::gaussian(0.5, 0.6, 200);
  const double h = 0.3;
  QuantileStep exact{FreeEnergy(model), {.tolerance = 1e-14}};
  const auto best = exact.advance(start, h);
  for (int iterations = 1; iterations <= 6; ++iterations) {
    QuantileStep early{FreeEnergy(model), {.tolerance = 1e-14, .max_iterations = iterations}};
    const auto r = early.advance(start, h);
    CHECK(w2(r.measure, best.measure) <= r.w2_bound + best.w2_bound);
    CHECK(r.objective - best.objective <= r.gap + 1e-13 * (1 + std::abs(best.objective)));
    CHECK(r.objective - best.objective >= -1e-13 * (1 + std::abs(best.objective)));
  }
}

TEST_CASE("energy descent, slope chain and contraction (theory.md a2, b4, b5)") {
  const double kappa = 1.3, h = 0.2;
  QuantileStep step{FreeEnergy(ou(kappa, 0.4, 2))};
  const auto a = QuantileFunction::gaussian(2, 2.89, 200);
  const auto b = a.with_coordinates((a.nodes().array() * 0.7 + 0.1 * a.nodes().array().sin() - 1).matrix());
  const auto ra = step.advance(a, h), rb = step.advance(b, h);
  CHECK(step.energy_value(a).total - ra.energy.total >= (1 / h + kappa / 2) * ra.w2_moved * ra.w2_moved * (1 - 1e-10));
  CHECK(w2(ra.measure, rb.measure) <= w2(a, b) / (1 + kappa * h) + ra.w2_bound + rb.w2_bound);
}

TEST_CASE("bits do not depend on threads, nor the problem on the guess") {
  const auto start = QuantileFunction::gaussian(1, 4, 250000);
  QuantileStep one{FreeEnergy(ou(1, 0, 1))}, two{FreeEnergy(ou(1, 0, 1)), {.threads = 2}};
  const auto a = one.advance(start, 0.01), b = two.advance(start, 0.01);
  CHECK(a.measure.nodes() == b.measure.nodes());
  CHECK(a.residual == b.residual);
  const auto c = one.advance(start, 0.01, start.nodes() * 0.99);
  CHECK(w2(a.measure, c.measure) <= a.w2_bound + c.w2_bound);
  const auto bad_guess = one.advance(start, 0.01, Vector::Constant(start.nodes().size(), std::nan("")));
  CHECK(bad_guess.measure.nodes() == a.measure.nodes());
}

TEST_CASE("tangents of porous medium and interaction agree with differences") {
  const auto start = QuantileFunction::gaussian(0, 1, 40, 3);
  const auto energy = [](double c, double k) {
    return FreeEnergy().add_entropy(2).add_porous_medium(c, 3).add_interaction(formula("k*log(1+x^2)"), Vector{{k}});
  };
  const auto run = [&](double c, double k) {
    QuantileStep step{energy(c, k), {.tolerance = 1e-14}};
    return step.advance(start, 0.1).measure.nodes();
  };
  QuantileStep step{energy(0.5, 0.8), {.tolerance = 1e-14}};
  (void)step.advance(start, 0.1);
  const Matrix tangent = step.tangent(Matrix(), Matrix::Identity(3, 3));
  const double d = 1e-4;  // truncation 1e-8, solver error 1e-13/d
  CHECK((tangent.col(1) - (run(0.5 + d, 0.8) - run(0.5 - d, 0.8)) / (2 * d)).cwiseAbs().maxCoeff() < 1e-6);
  CHECK((tangent.col(2) - (run(0.5, 0.8 + d) - run(0.5, 0.8 - d)) / (2 * d)).cwiseAbs().maxCoeff() < 1e-6);
}

TEST_CASE("huge steps and steep potentials still converge") {
  const auto start = QuantileFunction::gaussian(3, 0.01, 300);
  for (const double h : {1e-6, 1.0, 1e6}) {
    QuantileStep step{FreeEnergy(ou(1.3, 0.4, 2))};
    const auto r = step.advance(start, h);
    CHECK(r.status == Status::converged);
    GaussianStep exact{FreeEnergy(ou(1.3, 0.4, 2))};
    const auto goal = exact.advance(Gaussian(Vector{{3.0}}, Matrix{{0.01}}), h).measure;
    // 300 graded cells: relative error of the variance about 1e-4 (second-order test above), times a stretch of at most 6.
    CHECK(std::abs(r.measure.covariance()(0, 0) - goal.covariance()(0, 0)) < 1e-3 * goal.covariance()(0, 0));
  }
  QuantileStep quartic_step{FreeEnergy(Model(quartic(), Vector{{0, 0, 0, 1e4}}, 1))};
  CHECK(quartic_step.advance(QuantileFunction::gaussian(0, 100, 300), 1).status == Status::converged);
}

TEST_CASE("bad input: one line or a status with a remedy") {
  const auto start = QuantileFunction::gaussian(0, 1, 50);
  QuantileStep step{FreeEnergy(ou(1, 0, 1))};
  CHECK_THROWS_WITH_AS((void)step.advance(start, -0.1), "quantile_step: step size h is -0.1, but must be positive", DomainError);
  CHECK_THROWS_AS((void)step.advance(start, std::nan("")), DomainError);
  CHECK_THROWS_AS(QuantileStep{FreeEnergy(Model(ornstein_uhlenbeck(2), Vector{{1, 0, 1, 0, 0}}, 1))}, DomainError);
  CHECK_THROWS_AS((QuantileStep{FreeEnergy(ou(1, 0, 1)), {.tolerance = 0}}), DomainError);
  // 1 + h kappa <= 0: a double well with b = 2 and h = 1.
  QuantileStep well{FreeEnergy(Model(double_well(), Vector{{1, 2, 0}}, 10))};
  CHECK(well.advance(start, 1).status == Status::step_not_convex);
  CHECK(std::isnan(well.advance(start, 1).w2_bound));
  // No minimiser: a potential that is not confining, a large step.
  QuantileStep falling{FreeEnergy(Model(quartic(), Vector{{0, 0, 0, -1}}, 1))};
  CHECK_FALSE(is_success(falling.advance(start, 10).status));
  // Infinite in the window.
  QuantileStep infinite{FreeEnergy(Model(formula("-log(x)"), Vector(), 1))};
  CHECK(infinite.advance(start, 0.1).status == Status::not_finite);
}
