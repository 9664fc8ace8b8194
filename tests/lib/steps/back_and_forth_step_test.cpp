#include <jko/core/error.hpp>
#include <jko/models/formula.hpp>
#include <jko/problems/ornstein_uhlenbeck_flow.hpp>
#include <jko/problems/self_similar.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;
using namespace jko::problems;

namespace {

std::shared_ptr<const Grid> box(std::vector<Index> cells, double half_width) {
  const auto d = static_cast<Index>(cells.size());
  return std::make_shared<const Grid>(Grid{Vector::Constant(d, -half_width), Vector::Constant(d, half_width), std::move(cells)});
}

FreeEnergy heat() {
  FreeEnergy energy;
  energy.add_entropy(1);
  return energy;
}

}  // namespace

TEST_CASE("heat step in 1, 2 and 3 dimensions: the closed form with third order in the width, gap and bounds at rounding") {
  const double sigma = 0.1, h = 1e-3;
  for (int d = 1; d <= 3; ++d) {
    const double exact = mckean_vlasov_gaussian(d, 1, 0, 0).jko(sigma, h);
    const auto error = [&](Index cells, StepResult<GridDensity>& result) {
      const auto grid = box(std::vector<Index>(static_cast<std::size_t>(d), cells), 0.6);
      const auto at = [&](double s) { return GridDensity::gaussian(grid, Vector::Zero(d), s * s * Matrix::Identity(d, d)); };
      const double tolerance = d == 3 ? 1e-3 : 1e-5;
      BackAndForthStep step(heat(), {.tolerance = tolerance});
      result = step.advance(at(sigma), h);
      CHECK(result.status == Status::converged);
      // The gap is KL(q | rho), about int (q - rho)^2/(2 rho): the square of the residual but for the tails, for which a factor of 10^3 is left.
      CHECK(result.gap < 1e3 * tolerance * tolerance);
      CHECK(step.report().dual_value <= step.report().primal_value + 1e-13);
      // Cell averages have the variance sigma^2 + width^2/12; the interpolation's own error is of third order.
      const double read = std::sqrt(sigma * sigma + grid->width(0) * grid->width(0) / 12);
      CHECK(std::abs(result.w2_moved - std::sqrt(d) * (mckean_vlasov_gaussian(d, 1, 0, 0).jko(read, h) - read)) < 2e-3 * result.w2_moved);
      CHECK(std::abs(result.measure.mass() - 1) < 1e-13);
      return l1_distance(result.measure, at(exact));
    };
    StepResult<GridDensity> coarse, fine;
    const Index n = d == 3 ? 20 : 32;
    const double first = error(n, coarse), second = d == 3 ? 0 : error(2 * n, fine);
    CAPTURE(d);
    CAPTURE(first);
    CAPTURE(second);
    CHECK(first < (d == 3 ? 8e-3 : 1e-3));
    if (d < 3) CHECK(std::log2(first / second) > 2.5);
  }
}

TEST_CASE("a potential that does not commute with the start: the Gaussian step") {
  const OrnsteinUhlenbeckFlow flow = non_commuting();
  const Gaussian start = flow.at(0).front(), exact = flow.jko(0.1, 1);
  const auto grid = box({96, 96}, 3.5);
  const auto on = [&](const Gaussian& g) { return GridDensity::gaussian(grid, g.mean(), g.covariance()); };
  BackAndForthStep step(FreeEnergy(flow.model()), {.tolerance = 1e-6});
  const auto result = step.advance(on(start), 0.1);
  REQUIRE(result.status == Status::converged);
  // Width 0.073 against the least standard deviation 0.5: (width/sigma)^3 is 3e-3, of which the heat steps above keep a hundredth.
  CHECK(l1_distance(result.measure, on(exact)) < 1e-4);
  GaussianStep closed(FreeEnergy(flow.model()));
  const auto reference = closed.advance(start, 0.1);
  CHECK(std::abs(result.objective - reference.objective) < 1e-4);
  CHECK(std::abs(step.report().dual_value - reference.objective) < 1e-4);
}

TEST_CASE("porous medium: Barenblatt to Barenblatt, and m = 1.5, 3 and entropy added against the quantile step") {
  const SelfSimilar problem = barenblatt(2, 2, 0.05);
  const auto error = [&](Index cells) {
    FreeEnergy energy;
    energy.add_porous_medium(0.05, 2);
    const auto grid = box({cells, cells}, 0.5);
    BackAndForthStep step(energy, {.tolerance = 1e-4});
    const auto result = step.advance(problem.on_grid(grid, 0.2), 0.005);
    REQUIRE(result.status == Status::converged);
    CHECK(result.gap < 1e-8);
    const double scale = problem.jko(0.2, 0.005);
    CHECK(std::abs(result.w2_moved - problem.w2(0.2, scale)) < std::pow(grid->width(0) / 0.2, 2) * result.w2_moved);  // second order in width/radius
    return l1_distance(result.measure, problem.on_grid(grid, scale));
  };
  const double coarse = error(32), fine = error(64);
  CAPTURE(coarse);
  CAPTURE(fine);
  // The kinks of start and result at their fronts limit the order: at least 1.5 here.
  CHECK(fine < 5e-3);
  CHECK(std::log2(coarse / fine) > 1.2);

  for (const double m : {1.5, 3.0}) {
    for (const bool entropy : {false, true}) {
      CAPTURE(m);
      CAPTURE(entropy);
      FreeEnergy energy;
      energy.add_potential(formula("x^2", 1), Vector(0)).add_porous_medium(0.3, m);
      if (entropy) energy.add_entropy(10);
      const auto density = [](double x) { return std::exp(-2 * x * x) * (1.2 + std::sin(3 * x)); };
      const auto grid = box({200}, 3.5);
      const auto from = GridDensity::from_density(grid, [&](const ConstMatrixRef& x) {
        Vector out(x.cols());
        for (Index i = 0; i < x.cols(); ++i) out[i] = density(x(0, i));
        return out;
      });
      const auto result = BackAndForthStep(energy, {.tolerance = 1e-5}).advance(from, 0.05);
      REQUIRE(result.status == Status::converged);
      const auto reference = QuantileStep(energy).advance(QuantileFunction::from_density(density, -3.5, 3.5, 800), 0.05);
      REQUIRE(reference.status == Status::converged);
      double difference = 0;
      const Vector x = grid->centres(0);
      for (Index i = 0; i < x.size(); ++i) difference += std::abs(result.measure.values()[i] - reference.measure.density(x[i])) * grid->width(0);
      // Centre values against cell averages: width^2/24 of rho'', below 1e-3; and the front of the pure powers.
      CHECK(difference < 2e-3);
      CHECK(std::abs(result.w2_moved - reference.w2_moved) < 2e-3 * reference.w2_moved);
    }
  }
}

TEST_CASE("the bounds hold: a loose result is within its L1 bound of a tight one, and no density has a lower objective than the dual value") {
  const auto grid = box({48, 40}, 0.7);
  const auto from = GridDensity::gaussian(grid, Vector{{0.05, -0.1}}, Matrix{{0.02, 0.005}, {0.005, 0.015}});
  FreeEnergy energy;
  energy.add_potential(formula("2*x1^2 + x2^4 + 0.3*sin(5*x1*x2)", 2), Vector(0)).add_entropy(2);
  BackAndForthStep tight(energy, {.tolerance = 1e-6});
  const auto best = tight.advance(from, 0.01);
  REQUIRE(best.status == Status::converged);
  CHECK(std::isnan(best.w2_bound));  // no convexity constant is known
  for (const double tolerance : {1e-1, 1e-2, 1e-3}) {
    BackAndForthStep loose(energy, {.tolerance = tolerance});
    const auto result = loose.advance(from, 0.01);
    CHECK(result.status == Status::converged);
    const double distance = l1_distance(result.measure, best.measure);
    CHECK(distance <= loose.report().l1_bound + tight.report().l1_bound);
    CHECK(loose.report().dual_value <= tight.report().dual_value + 1e-12);
    CHECK(loose.report().primal_value >= tight.report().dual_value - 1e-12);
  }
  BackAndForthStep stopped(energy, {.tolerance = 1e-12, .max_iterations = 2});
  const auto early = stopped.advance(from, 0.01);
  CHECK(early.status == Status::iteration_limit);
  CHECK(l1_distance(early.measure, best.measure) <= stopped.report().l1_bound + tight.report().l1_bound);
}

TEST_CASE("any number of threads gives the same bits; 1 x N is the line") {
  const auto grid = box({60, 50}, 0.6);
  const auto from = GridDensity::gaussian(grid, Vector::Zero(2), 0.01 * Matrix::Identity(2, 2));
  const auto one = BackAndForthStep(heat(), {.max_iterations = 4}).advance(from, 1e-3);
  const auto two = BackAndForthStep(heat(), {.max_iterations = 4, .threads = 2}).advance(from, 1e-3);
  CHECK(one.measure.values() == two.measure.values());
  CHECK(one.gap == two.gap);
  const auto line = box({64}, 0.6), thin = box({1, 64}, 0.6);
  const auto start = GridDensity::gaussian(line, Vector::Zero(1), 0.01 * Matrix::Identity(1, 1));
  const auto on_line = BackAndForthStep(heat()).advance(start, 1e-3);
  const auto on_thin = BackAndForthStep(heat()).advance(GridDensity(thin, start.values() / 1.2), 1e-3);
  CHECK((1.2 * on_thin.measure.values() - on_line.measure.values()).cwiseAbs().maxCoeff() < 1e-4 * on_line.measure.values().maxCoeff());
}

TEST_CASE("misuse is one line") {
  FreeEnergy mean_field = heat();
  mean_field.add_interaction(formula("x1^2+x2^2", 2), Vector(0));
  CHECK_THROWS_WITH_AS(BackAndForthStep{mean_field}, "back_and_forth_step: an interaction is not local; the entropic step takes it", DomainError);
  FreeEnergy bare;
  bare.add_potential(formula("x1^2+x2^2", 2), Vector(0));
  CHECK_THROWS_AS(BackAndForthStep{bare}, DomainError);
  CHECK_THROWS_AS(BackAndForthStep(heat(), {.tolerance = 0}), DomainError);
  const auto grid = box({8, 8}, 1);
  const auto from = GridDensity::gaussian(grid, Vector::Zero(2), 0.1 * Matrix::Identity(2, 2));
  BackAndForthStep step(heat());
  CHECK_THROWS_AS((void)step.advance(from, 0), DomainError);
  CHECK_THROWS_AS((void)step.advance(GridDensity(), 1), DomainError);
  auto periodic = std::make_shared<Grid>(*grid);
  periodic->boundary = Boundary::periodic;
  CHECK_THROWS_AS((void)step.advance(GridDensity(periodic, from.values()), 1), DomainError);
  FreeEnergy infinite = heat();
  infinite.add_potential(formula("log(x1)", 2), Vector(0));
  CHECK_THROWS_AS((void)BackAndForthStep(infinite).advance(from, 1), DomainError);
  FreeEnergy line = heat();
  line.add_potential(formula("x^2", 1), Vector(0));
  CHECK_THROWS_AS((void)BackAndForthStep(line).advance(from, 1), ShapeError);
}
