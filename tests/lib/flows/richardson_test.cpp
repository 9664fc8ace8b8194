#include <jko/core/error.hpp>
#include <jko/flows/richardson.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/entropic_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

TEST_CASE("entropic JKO flows of an Ornstein-Uhlenbeck process have order one, extrapolated order two") {
  const double kappa = 1.3, mu = 0.4, beta = 2, time = 0.8;
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Constant(1, -5), Vector::Constant(1, 7), {300}});
  const auto normal = [&](double mean, double variance) { return GridDensity::gaussian(grid, Vector::Constant(1, mean), Matrix::Constant(1, 1, variance)); };
  const double decay = std::exp(-kappa * time), stationary = 1 / (beta * kappa);
  const auto exact = normal(mu + decay * (2 - mu), stationary + decay * decay * (1 - stationary));
  const auto flow = [&](int steps) {
    // The bias must stay below the extrapolated errors of 1e-2 and 3e-3: 32 steps of 2e-6 do.
    const EntropicStep step{FreeEnergy(Model(ornstein_uhlenbeck(), Vector{{kappa, mu}}, beta)), {.epsilon = 1.7e-3, .tolerance = 1e-8}};
    const auto result = Flow<EntropicStep>(step, normal(2, 1), {.h = time / steps, .steps = steps, .keep_every = steps}).run();
    REQUIRE(result.status == Status::converged);
    return result.final_state().measure;
  };
  const auto a = flow(8), b = flow(16), c = flow(32);
  // error = C h^p (1 + c h): c is about 2 kappa, h = 1/20 to 1/10, so the observed orders are off by up to 0.3.
  CHECK(std::abs(std::log2(l1_distance(b, exact) / l1_distance(c, exact)) - 1) < 0.2);
  const auto first = richardson(a, b), second = richardson(b, c);
  REQUIRE(first.status == Status::converged);
  REQUIRE(second.status == Status::converged);
  CHECK(std::abs(std::log2(l1_distance(first.density, exact) / l1_distance(second.density, exact)) - 2) < 0.4);
  CHECK(std::abs(second.error / l1_distance(c, exact) - 1) < 0.2);  // the estimate is right to the extrapolated error's share
}

TEST_CASE("extrapolations that are no density are reported") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector::Zero(1), Vector::Ones(1), {4}});
  const GridDensity left(grid, Vector{{4, 0, 0, 0}}), right(grid, Vector{{0, 0, 0, 4}});
  const auto out = richardson(left, right);
  CHECK(out.clipped == 1);
  CHECK(out.density.mass() == 1);
  CHECK(out.status == Status::converged);  // clipped 1 <= error 2: the estimate says how little it is worth
  CHECK(out.error == 2);
  CHECK_THROWS_AS((void)richardson(left, right, 0), DomainError);
}
