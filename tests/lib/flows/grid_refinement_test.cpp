#include <jko/core/error.hpp>
#include <jko/flows/grid_refinement.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

namespace {

constexpr double kappa = 1.3, mu = 0.4, beta = 2;
const FreeEnergy& energy() {
  static const FreeEnergy energy{Model(ornstein_uhlenbeck(), Vector{{kappa, mu}}, beta)};
  return energy;
}

/// The exact JKO flow from N(1, 1): Gaussian.
Gaussian exact_flow(const FlowOptions& options) {
  const Gaussian start(Vector::Constant(1, 1.0), Matrix::Identity(1, 1));
  return Flow<GaussianStep>(GaussianStep(energy()), start, options).run().final_state().measure;
}

}  // namespace

TEST_CASE("quantile functions: the estimate is the distance to the exact flow") {
  const FlowOptions options{.h = 0.1, .steps = 5, .keep_every = 5};
  const QuantileStep step{energy()};
  const auto start = QuantileFunction::gaussian(1, 1, 800);
  const std::function run = [&](const QuantileFunction& from) { return Flow<QuantileStep>(step, from, options).run(); };
  const auto result = run(start).final_state().measure;
  const auto refinement = grid_refinement(start, result, run);
  REQUIRE(refinement.status == Status::converged);
  // The exact flow maps the start's nodes affinely.
  const Gaussian law = exact_flow(options);
  const auto exact = start.with_coordinates(((start.nodes().array() - 1) * std::sqrt(law.covariance()(0, 0)) + law.mean()[0]).matrix());
  // Errors C n^-2 (1 + c n^-1) with an observed order of 2 +- d are estimated within 4^d (1 + d log 4): a fifth for d = 0.1, which c of order ten allows at n = 200.
  CHECK(std::abs(refinement.order - 2) < 0.1);
  CHECK(std::abs(refinement.error / w2(result, exact) - 1) < 0.2);
}

TEST_CASE("grid densities: the estimate is the distance to the same entropic flow on a much finer grid") {
  const FlowOptions options{.h = 0.1, .steps = 3, .keep_every = 3};
  const EntropicStep step{energy(), {.epsilon = 0.02, .tolerance = 1e-9}};
  const auto start = [](Index n) {
    return GridDensity::gaussian(std::make_shared<const Grid>(Grid{Vector::Constant(1, -5), Vector::Constant(1, 7), {n}}), Vector::Constant(1, 1.0), Matrix::Identity(1, 1));
  };
  const std::function run = [&](const GridDensity& from) { return Flow<EntropicStep>(step, from, options).run(); };
  const auto result = run(start(256)).final_state().measure;
  const auto refinement = grid_refinement(start(256), result, run);
  REQUIRE(refinement.status == Status::converged);
  // The finer flow is 16 times nearer to the limit. The kernel's and the cells' errors are even in the width: an observed order of 2 +- d with d = O(width^2) = 0.02 is an estimate
  // to 4^d (1 + d log 4): six per cent, and a sixteenth for the finer flow's own error.
  const GridDensity finer = coarsened(coarsened(run(start(1024)).final_state().measure));
  CHECK(std::abs(refinement.order - 2) < 0.05);
  CHECK(std::abs(refinement.error / l1_distance(result, result.with_coordinates(finer.values())) - 1) < 0.125);
}

TEST_CASE("coarser measures are averages and nodes; the estimate of an error C/n^p; what cannot be estimated says so") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Zero(2), Vector{{1.0, 2.0}}, {8, 1}});
  const auto slope = [&](const std::shared_ptr<const Grid>& on, double a) {
    return GridDensity(on, ((1 + a * (2 * on->points().row(0).transpose().array() - 1)) / 2).matrix());
  };
  const GridDensity density = slope(grid, 0.5), half = coarsened(density);
  CHECK(half.grid().cells == std::vector<Index>{4, 1});
  CHECK((half.values() - slope(half.grid_ptr(), 0.5).values()).cwiseAbs().maxCoeff() < 1e-15);  // averages of a linear density are its values at the centres

  const auto quantiles = QuantileFunction::gaussian(0, 1, 8);
  CHECK(coarsened(quantiles).nodes()[2] == quantiles.nodes()[4]);
  CHECK(coarsened(quantiles).masses()[1] == doctest::Approx(quantiles.masses()[2] + quantiles.masses()[3]).epsilon(1e-15));

  // int |linear density of slope a - of slope b| is |a - b|/2 on cells that resolve the sign. Error e(n) in the slope.
  const auto estimate = [&](const std::function<double(Index)>& e, Status status = Status::converged) {
    const std::function run = [&](const GridDensity& from) {
      FlowResult<GridDensity> out;
      out.status = status;
      out.states.push_back({1, 0.1, slope(from.grid_ptr(), 0.5 + e(from.grid().cells[0])), {}});
      return out;
    };
    return grid_refinement(density, run(density).final_state().measure, run);
  };
  const auto second = estimate([](Index n) { return 1.6 / static_cast<double>(n * n); });
  CHECK(second.order == doctest::Approx(2).epsilon(1e-12));
  CHECK(second.error == doctest::Approx(1.6 / 64 / 2).epsilon(1e-12));
  const auto fourth = estimate([](Index n) { return 1.6 / std::pow(static_cast<double>(n), 4); });
  CHECK(fourth.order == doctest::Approx(4).epsilon(1e-12));
  CHECK(fourth.error == doctest::Approx(fourth.fine / 3).epsilon(1e-12));
  CHECK(estimate([](Index) { return 0.0; }).error == 0);
  const auto growing = estimate([](Index n) { return 1e-3 * static_cast<double>(n); });
  CHECK(growing.status == Status::order_lost);
  CHECK(std::isnan(growing.error));
  CHECK(estimate([](Index) { return 0.0; }, Status::iteration_limit).status == Status::iteration_limit);

  CHECK_THROWS_WITH_AS(check_refinable(QuantileFunction::gaussian(0, 1, 10)), "grid_refinement: cells is 10, but must be a multiple of 4", ShapeError);
  const auto odd = std::make_shared<const Grid>(Grid{Vector::Zero(2), Vector::Ones(2), {8, 6}});
  CHECK_THROWS_WITH_AS(check_refinable(GridDensity(odd, Vector::Ones(48))), "grid_refinement: cells of axis 2 is 6, but must be a multiple of 4", ShapeError);
}
