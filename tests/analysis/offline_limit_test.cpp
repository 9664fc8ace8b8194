#include <jko/analysis/offline_limit.hpp>
#include <jko/analysis/stationary_limit.hpp>
#include <jko/core/error.hpp>
#include <jko/estimators/bands.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::analysis;

namespace {

const Model ou(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2);
const Model well(double_well(), Vector{{1, 1, 0}}, 2);

LimitCase case_of(const Model& model, double m, double v, double t) {
  return {model, [=](double x) { return std::exp(-(x - m) * (x - m) / (2 * v)); }, -7, 9, 200, t, 50};
}

}  // namespace

TEST_CASE("the response is the exact derivative of the discrete density") {
  LimitCase c = case_of(well, 0.5, 0.3, 0.6);
  c.lower = -4, c.upper = 4;
  const auto limit = offline_limit(c);
  for (Index j = 0; j < 4; ++j) {
    const auto difference = [&](double step) {
      Vector up = well.parameters(), down = up;
      up[j] += step, down[j] -= step;
      LimitCase above = c, below = c;
      above.model = well.with_parameters(up), below.model = well.with_parameters(down);
      return Vector((offline_limit(above).density - offline_limit(below).density) / (2 * step));
    };
    const Vector coarse = difference(2e-3), fine = difference(1e-3), extrapolated = (4 * fine - coarse) / 3;
    // Fourth order in the step: the remainder is far below the squared first correction; rounding is 1e-16/1e-3 of the density's few units.
    const double correction = (fine - coarse).cwiseAbs().maxCoeff();
    CHECK((extrapolated - limit.response.col(j)).cwiseAbs().maxCoeff() < 1e-11 + correction * correction);
    CHECK(std::abs(limit.response.col(j).sum()) < 1e-10);
    CHECK(limit.response.col(j).cwiseAbs().maxCoeff() > 1e-2);
  }
}

TEST_CASE("Ornstein-Uhlenbeck: the forced equation gives J(t), in mean and variance, and the metric forms") {
  const double t = 0.8;
  const LimitCase c = case_of(ou, 2, 1.2, t);
  const Gaussian start(Vector{{2.0}}, Matrix{{1.2}});
  const OrnsteinUhlenbeck process(ou);
  const Gaussian law = process.law(start, t);
  const double m = law.mean()[0], v = law.covariance()(0, 0);
  const std::vector<Functional> phi{[](double x) { return x; }, [=](double x) { return (x - m) * (x - m); }};
  const Matrix exact = process.sensitivity(start, t);
  const auto coarse = offline_limit(c), fine = offline_limit(c.refined());
  const Matrix a = coarse.pairing(phi), b = fine.pairing(phi);
  // Second order: the error of the finer is a third of the difference, of the extrapolation much less; a tenth of that third is asked for.
  CHECK(((4 * b - a) / 3 - exact).cwiseAbs().maxCoeff() < 0.1 * (b - a).cwiseAbs().maxCoeff() / 3);
  CHECK((b - a).cwiseAbs().maxCoeff() < 0.02);
  const Matrix sigma{{0.9, 0.1, 0.2}, {0.1, 0.7, 0}, {0.2, 0, 1.5}};
  const Matrix spread = exact * sigma * exact.transpose();
  const auto second_order = [&](double rough, double good, double truth) { return std::abs((4 * good - rough) / 3 - truth) <= 0.1 * std::abs(good - rough) / 3 + 1e-9; };
  CHECK(second_order(coarse.covariance(phi, sigma)(0, 1), fine.covariance(phi, sigma)(0, 1), spread(0, 1)));
  // n W2^2 -> V_m^2 + V_v^2/(4 v), 2 n KL -> V_m^2/v + V_v^2/(2 v^2), in expectation.
  CHECK(second_order(coarse.expected_w2_squared(sigma), fine.expected_w2_squared(sigma), spread(0, 0) + spread(1, 1) / (4 * v)));
  CHECK(second_order(coarse.expected_relative_entropy(sigma), fine.expected_relative_entropy(sigma), spread(0, 0) / v + spread(1, 1) / (2 * v * v)));
}

TEST_CASE("n to infinity and t to infinity commute, for JKO at a large fixed step too") {
  LimitCase c = case_of(well, 0.5, 0.3, 1);
  c.lower = -3.5, c.upper = 3.5, c.steps = 400;
  c.t = 35 / generator_spectrum(well, c.lower, c.upper, c.cells, 2).eigenvalues[1];  // what is left of the start: t exp(-35) = 5e-14
  const auto late = offline_limit(c), stationary = stationary_offline_limit(well, c.lower, c.upper, c.cells);
  CHECK((late.response - stationary.response).cwiseAbs().maxCoeff() < 1e-10);
  CHECK((late.density - stationary.density).cwiseAbs().maxCoeff() < 1e-10);

  // Sensitivities of a quantile flow at h = 0.8 (kappa = -1): its fixed point is the discrete pi whatever h. Both discretisations are second order in space.
  const auto at_rest = [](Index cells) {
    const auto r = Flow<QuantileStep>(QuantileStep(FreeEnergy(well)), QuantileFunction::gaussian(0.5, 0.3, cells), {.h = 0.8, .steps = 100, .sensitivity = Sensitivity::shared, .keep_every = 100}).run();
    REQUIRE(r.status == Status::converged);
    const auto& state = r.final_state();
    return Matrix(estimators::expectation(state.measure, [](double x) { return x * x; }, [](double x) { return 2 * x; }).gradient * state.tangent);
  };
  const Matrix rough = at_rest(100), good = at_rest(200);
  const std::vector<Functional> square{[](double x) { return x * x; }};
  const Matrix theory = stationary_offline_limit(well, c.lower, c.upper, 800).pairing(square);
  // The tails beyond the outermost node are cut at mass 1e-15 of the start: the difference between the resolutions bounds the error of the finer.
  CHECK((good - theory).cwiseAbs().maxCoeff() < (good - rough).cwiseAbs().maxCoeff());
  CHECK((good - rough).cwiseAbs().maxCoeff() < 0.01);
}

TEST_CASE("misuse of a limit case") {
  LimitCase c = case_of(ou, 2, 1, 1);
  c.t = -1;
  CHECK_THROWS_AS((void)offline_limit(c), DomainError);
  c = case_of(ou, 2, 1, 1);
  CHECK_THROWS_AS((void)offline_limit(c).covariance({[](double x) { return x; }}, Matrix::Identity(2, 2)), ShapeError);
  c.start = [](double) { return -1.0; };
  CHECK_THROWS_AS((void)offline_limit(c), DomainError);
}
