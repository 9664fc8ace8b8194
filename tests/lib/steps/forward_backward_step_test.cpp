#include <jko/core/error.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/steps/forward_backward_step.hpp>

#include <Eigen/LU>
#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

namespace {

const Vector theta{{1.5, 0.4, 0.9, 0.3, -0.2}};
const Matrix k{{1.5, 0.4}, {0.4, 0.9}};
const Vector mu{{0.3, -0.2}};
const double beta = 1.7;

}  // namespace

TEST_CASE("Gaussians: the scalar formula of theory.md d10, the fixed point for every h, contraction by sqrt(1 - h kappa)") {
  const double kappa = 1.3, b = 2, h = 0.3, s = 1.7;
  ForwardBackwardStep<GaussianStep> line{FreeEnergy(Model(ornstein_uhlenbeck(), Vector{{kappa, 0.4}}, b))};
  const auto r = line.advance(Gaussian(Vector{{2.0}}, Matrix{{s * s}}), h);
  const double half = (1 - h * kappa) * s;
  CHECK(std::abs(std::sqrt(r.measure.covariance()(0, 0)) - 0.5 * (half + std::sqrt(half * half + 4 * h / b))) < 1e-15);
  CHECK(std::abs(r.measure.mean()[0] - (2.0 - h * kappa * 1.6)) < 1e-15);

  ForwardBackwardStep<GaussianStep> step{FreeEnergy(Model(ornstein_uhlenbeck(2), theta, beta))};
  const Gaussian pi(mu, (beta * k).inverse());
  const double low = 0.7, high = 1.7;  // eigenvalues of K: 1.2 +- 0.5
  for (const double size : {0.05, 0.9 / high}) {  // at 1/high the forward map is singular: status order_lost
    CHECK(w2(step.advance(pi, size).measure, pi) < 1e-7);  // a square root of rounding
    Gaussian g(Vector{{1.0, -2.0}}, Matrix{{2.0, -0.7}, {-0.7, 0.8}});
    for (int i = 0; i < 20; ++i) {
      const auto next = step.advance(g, size);
      REQUIRE(next.status == Status::converged);
      // theory.md d10 with pi' = pi: W2^2 <= (1 - h kappa) W2^2, and the energy gap is bounded too.
      CHECK(std::pow(w2(next.measure, pi), 2) <= (1 - size * low) * std::pow(w2(g, pi), 2) + 1e-13);
      const double excess = next.energy.total - step.energy_value(pi).total;
      CHECK(2 * size * excess <= (1 - size * low) * std::pow(w2(g, pi), 2) - std::pow(w2(next.measure, pi), 2) + 1e-13);
      g = next.measure;
    }
  }
}

TEST_CASE("quantiles agree with the Gaussian closed form; the error falls with the cells") {
  const Model model(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2.0);
  const double h = 0.2;
  ForwardBackwardStep<GaussianStep> exact{FreeEnergy(model)};
  const auto expected = exact.advance(Gaussian(Vector{{1.0}}, Matrix{{0.49}}), h).measure;
  double error[2];
  for (const int i : {0, 1}) {
    ForwardBackwardStep<QuantileStep> step{FreeEnergy(model)};
    const auto r = step.advance(QuantileFunction::gaussian(1.0, 0.49, i == 0 ? 200 : 400), h);
    REQUIRE(r.status == Status::converged);
    CHECK(std::abs(r.measure.mean()[0] - expected.mean()[0]) < 1e-9);
    error[i] = std::abs(r.measure.covariance()(0, 0) - expected.covariance()(0, 0));
  }
  CHECK(error[1] < 1e-4);
  CHECK(std::abs(std::log2(error[0] / error[1]) - 2) < 0.3);  // quantile_step.hpp: O(cells^-2)
}

TEST_CASE("particles: the inner problem is the particle step without potential, and the mean is explicit") {
  const Model model(double_well(), Vector{{1.0, 0.5, 0.1}}, 1.5);
  const Particles from(Matrix(Vector::LinSpaced(40, -1.5, 1.8).transpose()));
  const double h = 0.1;
  const auto make = [](FreeEnergy rest) { return ParticleStep(std::move(rest), {.energy = {.entropy = ParticleEntropy::spacing}}); };
  ForwardBackwardStep<ParticleStep> step(FreeEnergy(model), make);
  const auto r = step.advance(from, h);
  REQUIRE(r.status == Status::converged);
  CHECK(r.w2_bound < 2e-9);  // the inner energy is convex
  const Matrix middle = from.points() - h * model.potential().evaluate({1, 0}, from.points(), model.theta());
  CHECK(std::abs(r.measure.mean()[0] - middle.mean()) < 2e-9);
  FreeEnergy entropy;
  entropy.add_entropy(1.5);
  CHECK(label_distance(make(entropy).advance(Particles(middle), h).measure, r.measure) < 1e-12);
  CHECK(r.energy.parts.size() == 2);
}

TEST_CASE("tangents agree with differences: Gaussians and particles") {
  const double h = 0.2, d = 1e-5;  // truncation 1e-10 times third derivatives of order 100, rounding 1e-12/1e-5
  {
    const Gaussian start(Vector{{1.0, -2.0}}, Matrix{{2.0, -0.7}, {-0.7, 0.8}});
    const Model model(ornstein_uhlenbeck(2), theta, beta);
    const auto run = [&](const Vector& p, const Vector& x) { return ForwardBackwardStep<GaussianStep>(FreeEnergy(model.with_parameters(p))).advance(start.with_coordinates(x), h).measure.coordinates(); };
    ForwardBackwardStep<GaussianStep> step{FreeEnergy(model)};
    (void)step.advance(start, h);
    const Vector p = model.parameters();
    const Matrix by_parameter = step.tangent(Matrix(), Matrix::Identity(6, 6));
    for (Index q = 0; q < 6; ++q) {
      const Vector e = d * Vector::Unit(6, q);
      CHECK((by_parameter.col(q) - (run(p + e, start.coordinates()) - run(p - e, start.coordinates())) / (2 * d)).cwiseAbs().maxCoeff() < 1e-7);
    }
    Vector direction{{0.3, -1, 0.2, 0.1, 0.1, 0.4}};
    CHECK((step.tangent(direction, Matrix()) - (run(p, start.coordinates() + d * direction) - run(p, start.coordinates() - d * direction)) / (2 * d)).cwiseAbs().maxCoeff() < 1e-7);
  }
  const Model model(double_well(), Vector{{1.0, 0.5, 0.1}}, 1.5);
  const Particles from(Matrix(Vector::LinSpaced(12, -1.5, 1.8).transpose()));
  const auto make = [](FreeEnergy rest) { return ParticleStep(std::move(rest), {.energy = {.bandwidth = 0.5}, .tolerance = 1e-13}); };
  const auto run = [&](const Vector& p) { return ForwardBackwardStep<ParticleStep>(FreeEnergy(model.with_parameters(p)), make).advance(from, h).measure.coordinates(); };
  ForwardBackwardStep<ParticleStep> step(FreeEnergy(model), make);
  (void)step.advance(from, h);
  const Matrix by_parameter = step.tangent(Matrix(), Matrix::Identity(4, 4));
  for (Index q = 0; q < 4; ++q) {
    const Vector e = d * Vector::Unit(4, q);
    CHECK((by_parameter.col(q) - (run(model.parameters() + e) - run(model.parameters() - e)) / (2 * d)).cwiseAbs().maxCoeff() < 1e-7);
  }
}

TEST_CASE("statuses and misuse") {
  ForwardBackwardStep<QuantileStep> step{FreeEnergy(Model(ornstein_uhlenbeck(), Vector{{1.0, 0.0}}, 1.0))};
  CHECK(step.advance(QuantileFunction::gaussian(0, 1, 50), 2.0).status == Status::order_lost);  // x -> -x
  FreeEnergy entropy;
  entropy.add_entropy(1);
  CHECK_THROWS_WITH_AS(ForwardBackwardStep<QuantileStep>{entropy}, "forward_backward_step: the energy has no potential", DomainError);
  CHECK_THROWS_AS(ForwardBackwardStep<GaussianStep>(FreeEnergy(Model(double_well(), Vector{{1, 1, 0}}, 1))), DomainError);
}
