#include <jko/analysis/flow_inequalities.hpp>
#include <jko/analysis/grid_trace.hpp>
#include <jko/problems/ornstein_uhlenbeck_flow.hpp>
#include <jko/steps/entropic_step.hpp>

#include <Eigen/LU>
#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::analysis;

namespace {

std::shared_ptr<const Grid> plane(double half, Index cells) {
  return std::make_shared<const Grid>(Grid{Vector{{-half, -half}}, Vector{{half, half}}, {cells, cells}});
}

}  // namespace

TEST_CASE("a Gaussian proxy's distance is bounded by Talagrand's inequality") {
  const auto grid = plane(6.5, 130);
  const Gaussian law(Vector{{0.3, -0.2}}, Matrix{{0.6, 0.2}, {0.2, 0.4}});
  const auto exact = gaussian_proxy(GridDensity::from_density(grid, [&](const ConstMatrixRef& x) {
    const Matrix centred = x.colwise() - law.mean();
    return Vector((-0.5 * (centred.array() * (law.covariance().inverse() * centred).array()).colwise().sum()).exp().transpose());
  }));
  CHECK((exact.gaussian.mean() - law.mean()).norm() < 1e-12);
  CHECK((exact.gaussian.covariance() - law.covariance()).norm() < 1e-10);  // the midpoint rule is spectrally accurate; the box cuts off 1e-16
  CHECK(exact.bound < 1e-4);                                               // sqrt(2 lambda rounding), 1.7e4 cells
  const auto bumps = gaussian_proxy(GridDensity::from_density(grid, [](const ConstMatrixRef& x) {
    return Vector(((-4 * (x.row(0).array() - 1.5).square()).exp() + (-4 * (x.row(0).array() + 1.5).square()).exp()).transpose() * (-x.row(1).array().square()).exp().transpose());
  }));
  CHECK(bumps.bound > 0.3);
}

TEST_CASE("an entropic flow's numbers with their errors satisfy the inequalities; a wrong kappa fails") {
  const auto flow = problems::non_commuting();
  const double h = 0.2;
  const int steps = 4;
  const auto trace_at = [&](Index cells, double epsilon) {
    std::vector<GridDensity> states;
    FlowTrace t = trace_grid_flow(EntropicStep(FreeEnergy(flow.model()), {.epsilon = epsilon}), flow.on_grid(plane(5.5, cells), 0), h, steps, &states);
    REQUIRE(t.status == Status::converged);
    for (std::size_t k = 1; k < states.size(); ++k) {
      const auto a = gaussian_proxy(states[k - 1]), b = gaussian_proxy(states[k]);
      CHECK(std::abs(t.steps[k - 1].moved - w2(a.gaussian, b.gaussian)) < 0.01 * t.steps[k - 1].moved);  // the plan's corrected cost is of second order in epsilon
      t.steps[k - 1].moved = w2(a.gaussian, b.gaussian);
      t.distance_error = std::max(t.distance_error, a.bound + b.bound);
    }
    return t;
  };
  const FlowTrace fine = trace_at(80, 0.019), coarse = trace_at(40, 0.076), blurred = trace_at(80, 0.038);
  const FlowTrace t = trace_refined(fine, {coarse, blurred}, SolverErrors::compared);  // the solver's bias is in the comparison
  // The closed form: the errors cover the truth.
  for (int k = 1; k <= steps; ++k) {
    const Gaussian exact = flow.jko(h, k), before = flow.jko(h, k - 1);
    CHECK(std::abs(t.steps[static_cast<std::size_t>(k) - 1].moved - w2(before, exact)) <= t.distance_error);
  }
  int passed = 0;
  for (const Check& c : flow_inequalities(t, "g")) {
    INFO(c.id << " " << c.statistic << " " << c.bound << " " << c.tolerance << " " << c.reason);
    CHECK(c.verdict != Verdict::fail);
    passed += c.verdict == Verdict::pass;
  }
  CHECK(passed >= 3);
  FlowTrace wrong = t;
  wrong.convexity->kappa = 8;
  for (const Check& c : flow_inequalities(wrong, "g")) {
    if (c.id == "g-descent-kappa" || c.id == "g-slope-before") CHECK(c.verdict == Verdict::fail);
  }
}
