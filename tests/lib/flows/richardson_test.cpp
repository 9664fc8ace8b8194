#include <jko/core/error.hpp>
#include <jko/flows/richardson.hpp>
#include <jko/models/families.hpp>
#include <jko/reference/ornstein_uhlenbeck.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

namespace {

Model ou2() { return {ornstein_uhlenbeck(2), Vector{{2, 0.3, 1, 0.1, -0.2}}, 1.5}; }
Gaussian start2() { return {Vector{{1, -1}}, Matrix{{1.2, 0.4}, {0.4, 0.7}}}; }

double error(Scheme scheme, int steps, int levels) {
  const auto r = richardson(GaussianStep(FreeEnergy(ou2())), start2(), {.scheme = scheme, .h = 1.0 / steps, .steps = steps, .keep_every = steps}, {.levels = levels});
  REQUIRE(r.status == Status::converged);
  REQUIRE(r.states.size() == 1);
  CHECK(std::abs(r.states[0].t - 1) < 1e-12);
  const double e = w2(r.states[0].measure, OrnsteinUhlenbeck(ou2()).law(start2(), 1));
  CHECK(e <= r.states[0].error);  // the estimate is that of the column before
  return e;
}

}  // namespace

TEST_CASE("every column adds its order: JKO 2, 3, 4; BDF2 3; implicit midpoint 4, 6") {
  // The observed order from h and h/2 is p + c h/log 2 with c of the order of the largest rate (2.1 here) times p: at h = 1/40 that is 0.1 p.
  const auto order = [](Scheme scheme, int steps, int levels) { return std::log2(error(scheme, steps, levels) / error(scheme, 2 * steps, levels)); };
  CHECK(std::abs(order(Scheme::jko, 40, 2) - 2) < 0.2);
  CHECK(std::abs(order(Scheme::jko, 40, 3) - 3) < 0.3);
  CHECK(std::abs(order(Scheme::jko, 40, 4) - 4) < 0.4);
  CHECK(std::abs(order(Scheme::bdf2, 40, 2) - 3) < 0.3);
  CHECK(std::abs(order(Scheme::vim, 20, 2) - 4) < 0.4);
  CHECK(std::abs(order(Scheme::vim, 10, 3) - 6) < 0.8);  // coarser, to stay clear of rounding
}

TEST_CASE("quantile flows: the error estimates hold against a much finer flow in the same space") {
  const QuantileStep step{FreeEnergy(Model(double_well(), Vector{{1, 1, 0}}, 2))};
  const auto start = QuantileFunction::gaussian(0.5, 0.3, 100, 6);
  const auto fine = richardson(step, start, {.scheme = Scheme::vim, .h = 1.0 / 160, .steps = 160, .keep_every = 160}, {.levels = 3});
  const auto r = richardson(step, start, {.h = 0.05, .steps = 20, .keep_every = 10}, {.levels = 4});
  REQUIRE(r.status == Status::converged);
  REQUIRE(r.states.size() == 2);
  const double error = w2(r.states[1].measure, fine.states[0].measure);
  CHECK(error <= r.states[1].error + fine.states[0].error);
  CHECK(error < 1e-3 * r.states[1].finest_error);
  // Its estimate of the plain flow's error is right to the extrapolated one's.
  const auto plain = Flow<QuantileStep>(step, start, {.h = 0.05 / 8, .steps = 160, .keep_every = 160}).run();
  CHECK(std::abs(w2(plain.final_state().measure, fine.states[0].measure) - r.states[1].finest_error) <= error);
}

TEST_CASE("what cannot be extrapolated") {
  const GaussianStep step{FreeEnergy(ou2())};
  CHECK_THROWS_AS((void)richardson(step, start2(), {.adaptive = AdaptiveOptions{}}), DomainError);
  CHECK_THROWS_AS((void)richardson(step, start2(), {}, {.levels = 1}), DomainError);
  // A step far too large: from a wide start the covariances are close to Sigma/(1 + kappa h)^2 and Sigma/(1 + kappa h/2)^4, and with kappa h = 40 twice the second less
  // the first is negative. That is reported.
  const auto r = richardson(step, Gaussian(Vector{{0, 0}}, 1e4 * Matrix::Identity(2, 2)), {.h = 20, .steps = 1}, {.levels = 2});
  CHECK(r.status == Status::order_lost);
  CHECK(r.states.empty());
}
