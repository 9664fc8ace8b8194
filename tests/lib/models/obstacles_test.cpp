#include <jko/core/error.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/formula.hpp>
#include <jko/models/obstacles.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/entropic_step.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

using namespace jko;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

PotentialPtr walled() { return with_obstacles(formula("k/2*((x1-1)^2 + x2^2)", 2), {formula("(x1-0.5)^2 + x2^2 - 0.04", 2), formula("x2 + 0.9", 2)}); }

}  // namespace

TEST_CASE("a potential with obstacles is +infinity exactly where a formula is negative, and itself elsewhere") {
  const auto psi = walled();
  const Vector k{{2.0}};
  Matrix points(2, 5);
  points.col(0) = Vector{{0.5, 0.0}};   // in the disk
  points.col(1) = Vector{{0.0, -1.0}};  // below the line
  points.col(2) = Vector{{0.0, -0.9}};  // on the line: allowed
  points.col(3) = Vector{{0.5, 0.25}};
  points.col(4) = Vector{{0.0, 0.0}};
  const Matrix value = psi->evaluate({0, 0}, points, k);
  CHECK(value(0, 0) == infinity);
  CHECK(value(0, 1) == infinity);
  for (Index i = 2; i < 5; ++i) CHECK(std::abs(value(0, i) - (std::pow(points(0, i) - 1, 2) + std::pow(points(1, i), 2))) <= 1e-15 * 4);  // a few roundings of numbers below 2
  // Derivatives and parameters are the potential's own; convexity and quadratic form are not known any more.
  CHECK(psi->evaluate({1, 0}, points, k) == formula("k/2*((x1-1)^2 + x2^2)", 2)->evaluate({1, 0}, points, k));
  CHECK(psi->parameters().front().name == "k");
  CHECK_FALSE(psi->convexity(k).has_value());
  CHECK_FALSE(psi->quadratic(k).has_value());
  // A formula without a value has no sign.
  const Matrix left{{-1.0}};
  CHECK(std::isnan(with_obstacles(formula("x^2"), {formula("log(x)")})->evaluate({0, 0}, left, Vector())(0, 0)));
}

TEST_CASE("misuse of obstacles is refused") {
  CHECK_THROWS_AS((void)with_obstacles(nullptr, {formula("x")}), DomainError);
  CHECK_THROWS_AS((void)with_obstacles(formula("x^2"), {nullptr}), DomainError);
  CHECK_THROWS_AS((void)with_obstacles(formula("x^2"), {formula("a*x")}), DomainError);
  CHECK_THROWS_AS((void)with_obstacles(formula("x^2"), {formula("x1", 2)}), ShapeError);
  const auto plain = formula("x^2");
  CHECK(with_obstacles(plain, {}) == plain);
}

TEST_CASE("mass stays out of obstacles, is kept, and the energy falls to that of the Gibbs density on what is allowed") {
  const double beta = 2;
  const Vector k{{2.0}};
  const auto grid = std::make_shared<const Grid>(Grid{Vector{{-1.0, -1.2}}, Vector{{2.0, 1.2}}, {30, 24}});
  FreeEnergy energy;
  energy.add_potential(walled(), k).add_entropy(beta);
  const Vector psi = walled()->evaluate({0, 0}, grid->points(), k).row(0).transpose();
  const auto start = GridDensity::from_density(grid, [](const ConstMatrixRef& x) {
    return Vector((x.row(1).array() < -0.9).select(0.0, (-8 * (x.row(0).array() * x.row(0).array() + x.row(1).array() * x.row(1).array())).exp()).transpose());
  });
  // The least free energy of all densities on the allowed cells: -log(sum e^{-beta Psi} dV)/beta.
  const double least = -std::log((-beta * psi.array()).exp().sum() * grid->cell_volume()) / beta;
  const auto result = Flow<EntropicStep>(EntropicStep(energy, {.tolerance = 1e-7}), start, {.h = 0.25, .steps = 20}).run();
  REQUIRE(result.status == Status::converged);
  for (const auto& state : result.states) {
    CHECK(std::abs(state.measure.values().sum() * grid->cell_volume() - 1) <= 1e-12);  // rounding of 720 terms
    for (Index i = 0; i < psi.size() && state.k > 0; ++i) {
      if (psi[i] == infinity) CHECK(state.measure.values()[i] == 0);
    }
  }
  double before = infinity;
  for (const auto& record : result.records) {
    CHECK(record.step.energy.total < before + 1e-7);  // a stationary step may move by its own tolerance
    CHECK(record.step.energy.total >= least - 1e-12);
    before = record.step.energy.total;
  }
  // kappa is at least 2 where no obstacle bends the way: 5 units of time leave e^{-20} of the excess; what stays is the bias at the obstacles' edges, in the
  // energy of second order in a relative change of the density of at most order one within sqrt(epsilon) = a tenth of them, whose mass is below 0.05.
  CHECK(before - least < 0.05 / beta);
}

TEST_CASE("the back-and-forth step refuses obstacles") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector{{-1.0, -1.2}}, Vector{{2.0, 1.2}}, {10, 8}});
  FreeEnergy energy;
  energy.add_potential(walled(), Vector{{2.0}}).add_entropy(2);
  const auto start = GridDensity::gaussian(grid, Vector{{0.2, 0.1}}, 0.2 * Matrix::Identity(2, 2));
  CHECK_THROWS_AS((void)BackAndForthStep(energy).advance(start, 0.1), DomainError);
}
