#include <jko/core/error.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/steps/back_and_forth_step.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/quantile_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

namespace {

Model ou(double kappa, double mu, double beta) {
  Vector theta(2);
  theta << kappa, mu;
  return {ornstein_uhlenbeck(), theta, beta};
}

Gaussian normal(double mean, double variance) { return {Vector::Constant(1, mean), Matrix::Constant(1, 1, variance)}; }

/// W2 error at time 1 of a Gaussian flow of the 1-D OU process.
double error_at_one(Scheme scheme, int steps) {
  const double kappa = 1.3, mu = 0.4, beta = 2, m0 = 2, v0 = 2.89;
  Flow<GaussianStep> flow(GaussianStep(FreeEnergy(ou(kappa, mu, beta))), normal(m0, v0),
                          {.scheme = scheme, .h = 1.0 / steps, .steps = steps});
  const auto result = flow.run();
  REQUIRE(result.status == Status::converged);
  const double decay = std::exp(-kappa), stationary = 1 / (beta * kappa);
  return w2(result.final_state().measure, normal(mu + decay * (m0 - mu), stationary + decay * decay * (v0 - stationary)));
}

}  // namespace

TEST_CASE("JKO, BDF2 and VIM have orders 1, 2 and 2 on OU") {
  // error = C h^p (1 + c h + ...): the observed order from h and h/2 is p + c h/(2 log 2); c is at most about 2 kappa here, and
  // h = 1/320 leaves 0.01.
  for (const auto& [scheme, order] : {std::pair{Scheme::jko, 1.0}, {Scheme::bdf2, 2.0}, {Scheme::vim, 2.0}}) {
    const double observed = std::log2(error_at_one(scheme, 160) / error_at_one(scheme, 320));
    CHECK(std::abs(observed - order) < 0.02);
  }
}

TEST_CASE("the online mean has the exact finite-h variance kappa tau^2 [1 - (1 + h kappa)^{-2k}]/(2 + h kappa) times h") {
  const double kappa = 1.3, h = 0.05;
  const int steps = 40;
  Flow<GaussianStep> flow(GaussianStep(FreeEnergy(ou(kappa, 0.4, 2))), normal(2, 2.89),
                          {.h = h, .steps = steps, .sensitivity = Sensitivity::per_step});
  const auto result = flow.run();
  const Matrix& tangent = result.final_state().tangent;
  REQUIRE(tangent.cols() == 3 * steps);
  double variance = 0;  // of the mean, unit variance of mu in every step
  for (int k = 0; k < steps; ++k) variance += tangent(0, 3 * k + 1) * tangent(0, 3 * k + 1);
  const double exact = h * kappa * (1 - std::pow(1 + h * kappa, -2 * steps)) / (2 + h * kappa);
  CHECK(std::abs(variance - exact) <= 1e-13 * exact * steps);  // rounding grows at most linearly in the steps
}

TEST_CASE("quantile and Gaussian flows agree to second order in the cells") {
  const Model model = ou(1, 0, 1);
  double errors[2];
  for (int i = 0; i < 2; ++i) {
    const Index cells = 200 * (i + 1);
    Flow<QuantileStep> flow(QuantileStep(FreeEnergy(model)), QuantileFunction::gaussian(1, 4, cells), {.h = 0.01, .steps = 20});
    const auto result = flow.run();
    REQUIRE(result.status == Status::converged);
    Flow<GaussianStep> exact(GaussianStep(FreeEnergy(model)), normal(1, 4), {.h = 0.01, .steps = 20});
    const auto reference = exact.run();
    errors[i] = std::abs(result.final_state().measure.covariance()(0, 0) - reference.final_state().measure.covariance()(0, 0));
    CHECK(std::abs(result.final_state().measure.mean()[0] - reference.final_state().measure.mean()[0]) < 1e-9);
  }
  // Second order: the ratio is 4 (1 + O(cells^-2)); 10 % is far above that and far below the 2 of first order.
  CHECK(std::abs(errors[0] / errors[1] - 4) < 0.4);
}

TEST_CASE("an interrupted flow continues to the same bits") {
  struct StopAt : Observer {
    int left = 17;
    bool stop_requested() override { return left-- == 0; }
  } stop;
  for (const Scheme scheme : {Scheme::jko, Scheme::bdf2, Scheme::vim}) {
    const QuantileStep step{FreeEnergy(ou(1.3, 0.4, 2))};
    const auto start = QuantileFunction::gaussian(2, 2.89, 100);
    const FlowOptions options{.scheme = scheme, .h = 0.02, .steps = 40, .sensitivity = Sensitivity::shared};
    const auto whole = Flow<QuantileStep>(step, start, options).run();
    Flow<QuantileStep> first(step, start, options);
    stop.left = 17;
    CHECK(first.run(&stop).status == Status::cancelled);
    Flow<QuantileStep> second(step, first.checkpoint(), options);
    const auto resumed = second.run();
    CHECK(resumed.final_state().measure.nodes() == whole.final_state().measure.nodes());
    CHECK(resumed.final_state().tangent == whole.final_state().tangent);
  }
}

TEST_CASE("sensitivities agree with central differences of the whole flow") {
  const auto run = [](const Vector& parameters, Scheme scheme) {
    const Model model = ou(1.3, 0.4, 2).with_parameters(parameters);
    return Flow<QuantileStep>(QuantileStep(FreeEnergy(model), {.tolerance = 1e-14}), QuantileFunction::gaussian(2, 2.89, 60),
                              {.scheme = scheme, .h = 0.05, .steps = 10, .sensitivity = Sensitivity::shared})
        .run();
  };
  Vector centre(3);
  centre << 1.3, 0.4, 2;
  for (const Scheme scheme : {Scheme::jko, Scheme::bdf2, Scheme::vim}) {
    const Matrix tangent = run(centre, scheme).final_state().tangent;
    for (Index j = 0; j < 3; ++j) {
      const double d = 1e-4;
      Vector up = centre, down = centre;
      up[j] += d;
      down[j] -= d;
      const Vector difference =
          (run(up, scheme).final_state().measure.nodes() - run(down, scheme).final_state().measure.nodes()) / (2 * d);
      // Truncation d^2 |x'''|/6 is about 1e-8 for derivatives of order 10; solver error 1e-13/d is 1e-9.
      CHECK((difference - tangent.col(j)).cwiseAbs().maxCoeff() < 1e-6);
    }
  }
}

TEST_CASE("a back-and-forth flow carries its certificates, decreases the energy and refuses sensitivities") {
  const auto grid = std::make_shared<const Grid>(Grid{Vector{{-3.0}}, Vector{{3.0}}, {96}});
  const double kappa = 1.5, beta = 2, h = 0.1;
  FreeEnergy energy(Model(formula("k/2*x^2"), Vector{{kappa}}, beta));
  energy.assume_convexity({kappa, true, "Psi'' = k"});
  const BackAndForthStep step(energy, {.tolerance = 1e-7});
  const auto start = GridDensity::gaussian(grid, Vector{{0.5}}, Matrix{{0.3}});
  const auto result = Flow<BackAndForthStep>(step, start, {.h = h, .steps = 8}).run();
  REQUIRE(result.status == Status::converged);
  double before = std::numeric_limits<double>::infinity(), distance = 0;
  for (const FlowRecord& r : result.records) {
    CHECK(r.step.gap >= 0);
    CHECK(r.step.w2_bound == std::sqrt(2 * h * r.step.gap / (1 + h * kappa)));
    CHECK(r.step.energy.total < before);
    before = r.step.energy.total;
    distance = r.step.w2_bound + distance / (1 + h * kappa);  // steps contract by 1/(1 + h kappa)
  }
  // The exact means decay by 1/(1 + h kappa) a step, and a mean moves by no more than W2. The certificate speaks of the discrete step: its mean differs by the
  // excess of the discrete transport, third order in the width 1/16, which eight steps add up.
  const double exact = 0.5 * std::pow(1 + h * kappa, -8);
  CHECK(std::abs(result.final_state().measure.mean()[0] - exact) <= distance + 8 * std::pow(1.0 / 16, 3));
  CHECK_THROWS_AS(Flow<BackAndForthStep>(step, start, {.h = h, .steps = 2, .sensitivity = Sensitivity::shared}), DomainError);
}
