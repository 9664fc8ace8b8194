#include <jko/core/error.hpp>
#include <jko/flows/density_extrapolation.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/entropic_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

TEST_CASE("entropic JKO flows of an Ornstein-Uhlenbeck process have order one, extrapolated order two") {
  const double kappa = 1.3, mu = 0.4, beta = 2, time = 0.8;
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(1, -4), Vector::Constant(1, 7), {160}});
  const auto normal = [&](double mean, double variance) { return GridDensity::gaussian(grid, Vector::Constant(1, mean), Matrix::Constant(1, 1, variance)); };
  const double decay = std::exp(-kappa * time), stationary = 1 / (beta * kappa);
  const auto exact = normal(mu + decay * (2 - mu), stationary + decay * decay * (1 - stationary));
  const auto flow = [&](int steps) {
    // The bias, 2.5e-6 a step by the rule of chosen_epsilon, must stay below the extrapolated errors: 32 steps make 8e-5, a sixth of the smallest,
    // which lowers the observed order by 0.2.
    const EntropicStep step{FreeEnergy(Model(ornstein_uhlenbeck(), Vector{{kappa, mu}}, beta)), {.epsilon = 4.4e-3, .tolerance = 1e-8}};
    const auto result = Flow<EntropicStep>(step, normal(2, 1), {.h = time / steps, .steps = steps, .keep_every = steps}).run();
    REQUIRE(result.status == Status::converged);
    return result.final_state().measure;
  };
  const auto a = flow(8), b = flow(16), c = flow(32);
  // error = C h^p (1 + c h): c is about 2 kappa, h = 1/20 to 1/10, so the observed orders are off by up to 0.3.
  CHECK(std::abs(std::log2(l1_distance(b, exact) / l1_distance(c, exact)) - 1) < 0.2);
  const auto first = extrapolate(a, b), second = extrapolate(b, c);
  REQUIRE(first.status == Status::converged);
  REQUIRE(second.status == Status::converged);
  CHECK(std::abs(std::log2(l1_distance(first.density, exact) / l1_distance(second.density, exact)) - 2) < 0.4);
  CHECK(std::abs(second.error / l1_distance(c, exact) - 1) < 0.2);  // the estimate is right to the extrapolated error's share
}

TEST_CASE("Richardson's scheme in two dimensions: order two, the two flows' combination to the bit, and its sensitivities") {
  const Model model(ornstein_uhlenbeck(2), Vector{{2.0, 0.7, 0.9, 0.3, -0.2}}, 1.5);
  const Gaussian start(Vector{{1.2, 0.6}}, Matrix{{0.6, -0.1}, {-0.1, 0.7}});
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(2, -4.5), Vector::Constant(2, 4.8), {88, 88}});
  const auto on = [&](const Gaussian& g) { return GridDensity::gaussian(grid, g.mean(), g.covariance()); };
  const EntropicStep step{FreeEnergy(model), {.epsilon = 0.0112, .tolerance = 1e-9}};
  const double time = 0.6;
  const Gaussian exact = OrnsteinUhlenbeck(model).law(start, time);
  const auto flow = [&](int steps) { return extrapolated_flow(step, on(start), {.h = time / steps, .steps = steps, .keep_every = steps}); };
  double mean[2], density[2];
  for (int i = 0; i < 2; ++i) {
    const auto out = flow(3 << i);
    REQUIRE(out.result.status == Status::converged);
    REQUIRE(out.result.records.size() == static_cast<std::size_t>(3 << i));
    REQUIRE(out.result.states.size() == 2);
    mean[i] = (out.result.final_state().measure.mean() - exact.mean()).norm();
    density[i] = l1_distance(out.result.final_state().measure, on(exact));
    CHECK(density[i] < 0.3 * out.error.back());
  }
  // The observed order is 2 + O(kappa h): kappa is 2.3 at most and h 0.1 to 0.2, so it is off by up to 0.3. The bias of epsilon, 4e-5 a step (chosen_epsilon's rule for the variance
  // of 0.6), is below a tenth of the finer density's error, 2.8e-3.
  CHECK(std::abs(std::log2(mean[0] / mean[1]) - 2) < 0.3);
  CHECK(std::abs(std::log2(density[0] / density[1]) - 2) < 0.3);

  // A smaller box for the rest: the combination of two flows, and its derivative in an entry of K by differences.
  const auto small = std::make_shared<const Grid>(Grid{Vector::Constant(2, -4), Vector::Constant(2, 4.5), {40, 40}});
  const auto from = GridDensity::gaussian(small, start.mean(), start.covariance());
  const auto run = [&](double k, Sensitivity sensitivity) {
    const EntropicStep coarse{FreeEnergy(Model(ornstein_uhlenbeck(2), Vector{{2.0, k, 0.9, 0.3, -0.2}}, 1.5)), {.epsilon = 0.05, .tolerance = 1e-9}};
    return extrapolated_flow(coarse, from, {.h = 0.1, .steps = 2, .sensitivity = sensitivity});
  };
  const auto out = run(0.7, Sensitivity::shared);
  REQUIRE(out.result.states.size() == 3);
  const EntropicStep coarse{FreeEnergy(model), {.epsilon = 0.05, .tolerance = 1e-9}};
  const auto one = Flow<EntropicStep>(coarse, from, {.h = 0.1, .steps = 2}).run(), two = Flow<EntropicStep>(coarse, from, {.h = 0.05, .steps = 4}).run();
  CHECK(out.result.final_state().measure.values() == extrapolate(one.final_state().measure, two.final_state().measure).density.values());
  CHECK(out.result.records[1].step.energy.total == coarse.energy_value(out.result.final_state().measure).total);
  CHECK(std::isnan(out.result.records[1].step.gap));
  const double d = 1e-3;
  const Vector difference = (run(0.7 + d, Sensitivity::none).result.final_state().measure.values() - run(0.7 - d, Sensitivity::none).result.final_state().measure.values()) / (2 * d);
  // d^2 times a third derivative of order one, and three times the solver's 1e-9/d.
  CHECK((difference - out.result.final_state().tangent.col(1)).cwiseAbs().maxCoeff() < 1e-5 * (1 + difference.cwiseAbs().maxCoeff()));
  CHECK_THROWS_AS((void)extrapolated_flow(coarse, from, {.scheme = Scheme::bdf2}), DomainError);
  CHECK_THROWS_AS((void)extrapolated_flow(coarse, GridDensity(), {}), DomainError);
}

TEST_CASE("extrapolations that are no density are reported") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Zero(1), Vector::Ones(1), {4}});
  const GridDensity left(grid, Vector{{4, 0, 0, 0}}), right(grid, Vector{{0, 0, 0, 4}});
  const auto out = extrapolate(left, right);
  CHECK(out.clipped == 1);
  CHECK(out.density.mass() == 1);
  CHECK(out.status == Status::converged);  // clipped 1 <= error 2: the estimate says how little it is worth
  CHECK(out.error == 2);
  CHECK_THROWS_AS((void)extrapolate(left, right, 0), DomainError);
}
