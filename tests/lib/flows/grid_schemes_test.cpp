#include <jko/core/error.hpp>
#include <jko/flows/density_extrapolation.hpp>
#include <jko/flows/flow.hpp>
#include <jko/measures/gaussian.hpp>
#include <jko/models/families.hpp>
#include <jko/problems/ornstein_uhlenbeck_flow.hpp>
#include <jko/reference/fokker_planck_grid.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/entropic_step.hpp>
#include <jko/steps/finite_volume_step.hpp>
#include <jko/transport/flux_bound.hpp>
#include <jko/transport/grid_geodesic.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>
#include <vector>

using namespace jko;

namespace {

template <class Step>
GridDensity end_of(const Step& step, const GridDensity& start, double time, int steps, Scheme scheme) {
  const auto out = Flow<Step>(step, start, {.scheme = scheme, .h = time / steps, .steps = steps, .keep_every = steps}).run();
  REQUIRE(out.status == Status::converged);
  REQUIRE(static_cast<int>(out.records.size()) == steps);
  CHECK(std::abs(out.final_state().measure.mass() - 1) < 1e-12);
  return out.final_state().measure;
}

struct PorousMedium {
  std::shared_ptr<const Grid> grid;
  FreeEnergy energy = FreeEnergy().add_porous_medium(0.5, 2);
  GridDensity start;
  double time = 0.1;
  /// d_t rho = Lap rho^2/2 from a smooth positive density on the unit box.
  PorousMedium(int d, Index n) : grid(std::make_shared<const Grid>(Grid{Vector::Zero(d), Vector::Ones(d), std::vector<Index>(static_cast<std::size_t>(d), n)})) {
    start = GridDensity::from_density(grid, [d](const ConstMatrixRef& x) {
      const auto first = (std::numbers::pi * x.row(0).array()).cos();
      if (d == 1) return Vector((1 + 0.6 * first).transpose());
      return Vector((1 + 0.6 * first + 0.3 * first * (2 * std::numbers::pi * x.row(1).array()).cos()).transpose());
    });
  }
};

double observed(double coarse, double fine) { return std::log2(coarse / fine); }

}  // namespace

TEST_CASE("BDF2 and the implicit midpoint have order two on Ornstein-Uhlenbeck in the plane, where nothing commutes") {
  const auto problem = problems::non_commuting();
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(2, -4.5), Vector::Constant(2, 4.8), {128, 128}});
  const double time = 0.6;
  const GridDensity start = problem.on_grid(grid, 0), exact = problem.on_grid(grid, time);
  const auto errors = [&](const auto& step, Scheme scheme, int first) {
    std::vector<double> out;
    for (int level = 0; level < 4; ++level) out.push_back(l1_distance(end_of(step, start, time, first << level, scheme), exact));
    return out;
  };
  // The space's share, measured at fixed h between 96^2, 128^2 and 160^2, is 1e-4 for the back-and-forth step and 2e-4 for the entropic step at epsilon = width^2 over 16 to 24 steps. Against errors of
  // 2e-4 at the third halving it moves that order by up to 0.6, the first two by 0.1; and orders at finite h are 2 + O(kappa h), kappa = 1.9, h = 0.3 to 0.025.
  const BackAndForthStep step{FreeEnergy(problem.model()), {.tolerance = 1e-7}};
  for (const auto& e : {errors(step, Scheme::vim, 2), errors(step, Scheme::bdf2, 4)}) {
    CHECK(std::abs(observed(e[0], e[1]) - 2) < 0.35);
    CHECK(std::abs(observed(e[1], e[2]) - 2) < 0.35);
    CHECK(std::abs(observed(e[2], e[3]) - 2) < 0.65);
  }
  const EntropicStep entropic{FreeEnergy(problem.model()), {.epsilon = 0.0053, .tolerance = 1e-8}};
  const double one = l1_distance(end_of(entropic, start, time, 3, Scheme::vim), exact), two = l1_distance(end_of(entropic, start, time, 6, Scheme::vim), exact);
  CHECK(std::abs(observed(one, two) - 2) < 0.35);
  CHECK(two < 0.1 * l1_distance(end_of(entropic, start, time, 6, Scheme::jko), exact));
}

TEST_CASE("BDF2's potential is the geodesic's to third order in h") {
  // A Gaussian Ornstein-Uhlenbeck flow: displacements between two times are linear and known. kappa = 1.3, beta = 2, from N(1, 1).
  const double kappa = 1.3, rest = 1 / (2 * kappa), now = 0.3;
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(1, -7), Vector::Constant(1, 7), {400}});
  const FreeEnergy energy(Model(ornstein_uhlenbeck(), Vector{{kappa, 0.0}}, 2));
  const auto law = [&](double t) { return Gaussian(Vector{{std::exp(-kappa * t)}}, Matrix{{rest + std::exp(-2 * kappa * t) * (1 - rest)}}); };
  const Vector x = grid->points().row(0).transpose();
  const auto on = [&](const Gaussian& g) {
    return GridDensity::from_density(grid, [&](const ConstMatrixRef& points) { return Vector((-0.5 * (points.row(0).array() - g.mean()[0]).square() / g.covariance()(0, 0)).exp().transpose()); });
  };
  const auto error = [&](double h) {
    const Gaussian a = law(now - h), b = law(now);
    const double slope = std::sqrt(a.covariance()(0, 0) / b.covariance()(0, 0));
    const Vector exact = 0.5 * x.array().square() - a.mean()[0] * x.array() - 0.5 * slope * (x.array() - b.mean()[0]).square();
    return displacement_norm(on(b), bdf2_potential(GridEnergy(energy, grid), on(a), on(b), h) - exact);
  };
  // C h^3 (1 + O(kappa h)); the splines are exact on quadratics, the walls hold e^{-18} of the mass.
  CHECK(std::abs(observed(error(0.1), error(0.05)) - 3) < 0.3);
  CHECK(std::abs(observed(error(0.05), error(0.025)) - 3) < 0.2);
}

TEST_CASE("order two on smooth positive solutions of the porous medium equation, in one and two dimensions") {
  const auto orders = [](const PorousMedium& p, const auto& step, Scheme scheme, const GridDensity& exact, int first, int levels) {
    std::vector<double> errors, out;
    for (int level = 0; level < levels; ++level) errors.push_back(l1_distance(end_of(step, p.start, p.time, first << level, scheme), exact));
    for (std::size_t i = 1; i < errors.size(); ++i) out.push_back(observed(errors[i - 1], errors[i]));
    return out;
  };
  {
    const PorousMedium p(1, 512);
    // Crank-Nicolson in 1000 steps, on the same cells: independent of transport. Its error in time is below 1e-8.
    const auto exact = FokkerPlanckGrid(p.energy, p.grid, {.tolerance = 1e-12}).advance(p.start, p.time / 1000, 1000).measure;
    for (const Scheme scheme : {Scheme::vim, Scheme::bdf2}) {
      // The two discretisations differ by 5e-7, a seventh of the smallest error, 3.5e-6; at the coarse end the order is 2 + O(h/0.1).
      for (const double order : orders(p, BackAndForthStep(p.energy, {.tolerance = 1e-8}), scheme, exact, 4, 5)) CHECK(std::abs(order - 2) < 0.2);
      // epsilon = 2e-4 has a bias of about (epsilon pi^2)^2/8 = 5e-7 a step: below a tenth of the errors for up to 16 steps.
      for (const double order : orders(p, EntropicStep(p.energy, {.epsilon = 2e-4, .tolerance = 1e-9}), scheme, exact, 4, 3)) CHECK(std::abs(order - 2) < 0.2);
    }
  }
  const PorousMedium p(2, 64);
  const auto exact = FokkerPlanckGrid(p.energy, p.grid, {.tolerance = 1e-12}).advance(p.start, p.time / 400, 400).measure;
  // BDF2's errors are 4.8e-3 to 1.1e-4, those of space 3e-5.
  const auto bdf2 = orders(p, BackAndForthStep(p.energy), Scheme::bdf2, exact, 4, 3);
  for (const double order : bdf2) CHECK(std::abs(order - 2) < 0.3);
}

TEST_CASE("Richardson's scheme gives the finite-volume step order two in h, which its geodesics do not have") {
  const PorousMedium p(2, 40);
  const FiniteVolumeStep step(p.energy);
  const auto at = [&](int steps) { return extrapolated_flow(step, p.start, {.h = p.time / steps, .steps = steps, .keep_every = steps}).result.final_state().measure; };
  // Differences of successive h see the order in h of the semi-discrete problem, upwinding's error of first order in the width apart.
  const GridDensity a = at(4), b = at(8), c = at(16), d = at(32);
  CHECK(std::abs(observed(l1_distance(a, b), l1_distance(b, c)) - 2) < 0.5);
  CHECK(std::abs(observed(l1_distance(b, c), l1_distance(c, d)) - 2) < 0.3);
}

TEST_CASE("adaptive steps on grids keep the tolerance, record each step size and end on time") {
  const auto problem = problems::non_commuting();
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(2, -4.5), Vector::Constant(2, 4.8), {64, 64}});
  const GridDensity start = problem.on_grid(grid, 0);
  const EntropicStep step{FreeEnergy(problem.model()), {.epsilon = 0.0212, .tolerance = 1e-9}};
  for (const Scheme scheme : {Scheme::jko, Scheme::vim}) {
    const double tolerance = scheme == Scheme::jko ? 4e-3 : 1e-3;
    const auto out = Flow<EntropicStep>(step, start, {.scheme = scheme, .h = 0.01, .steps = 80, .adaptive = AdaptiveOptions{.tolerance = tolerance}}).run();
    REQUIRE(out.status == Status::converged);
    double t = 0;
    for (const auto& record : out.records) t += record.h;
    CHECK(std::abs(t - 0.8) < 1e-12);
    CHECK(std::abs(out.final_state().t - 0.8) < 1e-12);
    // Relaxation: the last step before the cut one is longer than the first.
    CHECK(out.records[out.records.size() - 2].h > 2 * out.records[0].h);
    // A step in the middle, done again: one step and two halves are within the tolerance in W2, by any distance below the bound.
    const std::size_t k = out.records.size() / 2;
    const double h = out.records[k].h;
    const GridDensity& from = out.states[k].measure;
    const GridDensity whole = end_of(step, from, h, 1, scheme), halves = end_of(step, from, h, 2, scheme);
    CHECK(flux_bound(whole, halves).value <= 1.01 * tolerance * (scheme == Scheme::jko ? 1 : 3));  // iterative solves from other guesses: 1e-9 in L1
    // Each step's local error is at most about the tolerance, and the flow contracts.
    const Matrix covariance = problem.at(0.8)[0].covariance();
    CHECK((out.final_state().measure.mean() - problem.at(0.8)[0].mean()).norm() < tolerance * static_cast<double>(out.records.size()));
  }
  const FiniteVolumeStep volumes{FreeEnergy(problem.model())};
  CHECK(Flow<FiniteVolumeStep>(volumes, start, {.h = 0.02, .steps = 5, .adaptive = AdaptiveOptions{.tolerance = 1e-2}}).run().status == Status::converged);
  // No step can be as good as 1e-14.
  CHECK(Flow<EntropicStep>(step, start, {.h = 0.1, .steps = 1, .adaptive = AdaptiveOptions{.tolerance = 1e-14, .h_min = 1e-3}}).run().status == Status::stalled);
}

TEST_CASE("second-order grid flows continue from checkpoints to the same bits, refuse what they cannot do, and report lost order") {
  const PorousMedium p(1, 64);
  const EntropicStep step(p.energy, {.epsilon = 5e-4});
  for (const Scheme scheme : {Scheme::vim, Scheme::bdf2}) {
    const FlowOptions whole{.scheme = scheme, .h = 0.01, .steps = 6};
    FlowOptions half = whole;
    half.steps = 3;
    Flow<EntropicStep> first(step, p.start, half);
    REQUIRE(first.run().status == Status::converged);
    const auto continued = Flow<EntropicStep>(step, first.checkpoint(), whole).run();
    CHECK(continued.final_state().measure.values() == Flow<EntropicStep>(step, p.start, whole).run().final_state().measure.values());
    CHECK(continued.records.back().step.w2_moved > 0);
  }
  using E = Flow<EntropicStep>;
  const auto refuses = [&](const FreeEnergy& energy, EntropicStepOptions options, const FlowOptions& flow) { CHECK_THROWS_AS(E(EntropicStep(energy, options), p.start, flow), DomainError); };
  refuses(p.energy, {}, {.scheme = Scheme::vim, .sensitivity = Sensitivity::shared});
  refuses(p.energy, {}, {.scheme = Scheme::bdf2, .parameters_at = [](int) { return Vector::Constant(1, 0.5); }});
  refuses(FreeEnergy(p.energy).add_congestion(3), {}, {.scheme = Scheme::vim});
  CHECK_THROWS_AS(Flow<FiniteVolumeStep>(FiniteVolumeStep(p.energy), p.start, {.scheme = Scheme::vim}), DomainError);
  const auto torus = std::make_shared<const Grid>(Grid{p.grid->lower, p.grid->upper, p.grid->cells, Boundary::periodic});
  CHECK_THROWS_AS(E(step, GridDensity(torus, p.start.values()), {.scheme = Scheme::vim}), DomainError);
  // With kappa = 4 particles reach x/(1 + 2 h) at the midpoint of h = 0.7, and would pass 0 by its end.
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(1, -4), Vector::Constant(1, 4), {256}});
  const EntropicStep stiff{FreeEnergy(Model(ornstein_uhlenbeck(), Vector{{4.0, 0.0}}, 8)), {.epsilon = 0.01}};
  const auto lost = E(stiff, GridDensity::gaussian(grid, Vector{{0.0}}, Matrix{{0.5}}), {.scheme = Scheme::vim, .h = 0.7, .steps = 1}).run();
  CHECK(lost.status == Status::order_lost);
}
