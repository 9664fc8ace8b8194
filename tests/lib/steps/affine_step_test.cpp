#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/flows/flow.hpp>
#include <jko/measures/convert.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/steps/affine_step.hpp>
#include <jko/steps/gaussian_step.hpp>

#include <doctest/doctest.h>

#include <cmath>

using namespace jko;

namespace {

Particles cloud(Index d, Index n) {
  Matrix x(d, n);
  RandomStream random(3, "affine step test", static_cast<std::uint64_t>(d));
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = 0.5 + random.normal();
  if (d > 1) x.row(1) += 0.8 * x.row(0);
  Vector w(n);
  for (Index i = 0; i < n; ++i) w[i] = 1 + 0.5 * random.uniform();
  return {x, w / w.sum()};
}

const Vector ou_theta{{1.5, 0.4, 0.9, 0.3, -0.2}};

}  // namespace

TEST_CASE("a quadratic potential: mean and covariance are the exact Gaussian step's, within the certificate") {
  const Model model(ornstein_uhlenbeck(2), ou_theta, 1.7);
  const Particles from = cloud(2, 40);
  for (const double h : {0.01, 0.5, 50.0}) {
    AffineStep step{FreeEnergy(model)};
    GaussianStep exact{FreeEnergy(model)};
    const auto r = step.advance(from, h);
    const auto expected = exact.advance(to_gaussian(from), h);
    REQUIRE(r.status == Status::converged);
    // W2 between the moments' Gaussians is at most W2 between the samples' images, and that at most the certificate; rounding of the moments, 1e-15, enters W2
    // through the square root of a covariance's error: 1e-15/deviation.
    CHECK(w2(to_gaussian(r.measure), expected.measure) <= r.w2_bound + 1e-7);
    CHECK((r.measure.mean() - expected.measure.mean()).norm() <= r.w2_bound + 1e-13);
    CHECK((r.measure.covariance() - expected.measure.covariance()).norm() <= 1e-9);  // 2 deviation w2_bound <= 2 * 2 * 1.5e-10
    CHECK(std::abs(r.objective - expected.objective) <= r.gap + 1e-12 * (1 + std::abs(r.objective)));
    CHECK(std::abs(r.energy.total - expected.energy.total) <= 1e-8);
    CHECK(std::abs(r.w2_moved - expected.w2_moved) <= 1e-8);
    CHECK(r.w2_bound <= 3e-10);
    // The map is the gradient of a convex function, applied to every sample.
    CHECK((step.linear() - step.linear().transpose()).norm() == 0);
    CHECK(((step.linear() * (from.points().colwise() - from.mean())).colwise() + step.centre() - r.measure.points()).norm() < 1e-13);
  }
}

TEST_CASE("a double well in one dimension: the derivatives of J, summed up by hand, vanish; where J is convex it grows quadratically") {
  const Vector theta{{1.0, 0.6, 0.1}};  // x^4/4 - 0.6 x^2/2 + 0.1 x
  const double beta = 1.4, h = 0.8;
  const Particles from = cloud(1, 30);
  AffineStep step{FreeEnergy(Model(double_well(), theta, beta))};
  const auto r = step.advance(from, h);
  REQUIRE(r.status == Status::converged);
  const auto objective = [&](double a, double b) {  // x = b + a (y - m)
    double sum = -std::log(a) / beta;
    for (Index i = 0; i < from.size(); ++i) {
      const double y = from.points()(0, i), x = b + a * (y - from.mean()[0]);
      sum += from.weights()[i] * (std::pow(x, 4) / 4 - 0.3 * x * x + 0.1 * x + (x - y) * (x - y) / (2 * h));
    }
    return sum;
  };
  const double a = step.linear()(0, 0), b = step.centre()[0], d = 1e-5;
  // Truncation d^2/6 times third derivatives of order 10, rounding 1e-15/d: 1e-9 together.
  CHECK(std::abs(objective(a + d, b) - objective(a - d, b)) / (2 * d) < 2e-9);
  CHECK(std::abs(objective(a, b + d) - objective(a, b - d)) / (2 * d) < 2e-9);
  // kappa = -0.6 and 1/h = 1.25: J is 0.65-convex in the norm a'^2 var + b'^2.
  const double variance = from.covariance()(0, 0);
  for (const auto& [da, db] : {std::pair{0.3, 0.0}, {-0.3, 0.2}, {0.05, -0.5}}) {
    CHECK(objective(a + da, b + db) - objective(a, b) >= 0.5 * 0.65 * (da * da * variance + db * db) - 1e-12);
  }
}

TEST_CASE("a flow of affine maps carries any law's shape: the moments are the Gaussian flow's") {
  const Model model(ornstein_uhlenbeck(2), ou_theta, 1.7);
  const Particles from = cloud(2, 25);
  const FlowOptions options{.h = 0.1, .steps = 10};
  const auto flow = Flow<AffineStep>(AffineStep(FreeEnergy(model)), from, options).run();
  const auto exact = Flow<GaussianStep>(GaussianStep(FreeEnergy(model)), to_gaussian(from), options).run();
  REQUIRE(flow.status == Status::converged);
  // Each step agrees to 1e-9 (first test) and contracts; BDF2 would extrapolate along labels, whose maps over two steps are not symmetric where K and Sigma do not commute.
  CHECK((flow.final_state().measure.mean() - exact.final_state().measure.mean()).norm() < 1e-8);
  CHECK((flow.final_state().measure.covariance() - exact.final_state().measure.covariance()).norm() < 1e-8);
}

TEST_CASE("tangents agree with differences in the start and in every parameter") {
  FreeEnergy energy(Model(formula("a*x1^4/4 + b*x2^2/2 + x1*x2/3", 2), Vector{{0.7, 1.2}}, 1.3));
  energy.add_interaction(formula("c*exp(-(x1^2+x2^2)/2)", 2), Vector{{0.4}});
  const AffineStepOptions options{.tolerance = 1e-13};
  const Particles from = cloud(2, 12);
  const double h = 0.4, d = 1e-5;  // truncation 1e-10 times third derivatives of order 100, rounding 1e-12/1e-5
  const auto run = [&](const Vector& parameters, const Vector& start) {
    FreeEnergy e = energy;
    e.set_parameters(parameters);
    return AffineStep(e, options).advance(from.with_coordinates(start), h).measure.coordinates();
  };
  AffineStep step(energy, options);
  REQUIRE(step.advance(from, h).status == Status::converged);
  const Vector parameters = energy.parameters(), start = from.coordinates();
  const Matrix by_parameter = step.tangent(Matrix(), Matrix::Identity(parameters.size(), parameters.size()));
  for (Index q = 0; q < parameters.size(); ++q) {
    const Vector e = d * Vector::Unit(parameters.size(), q);
    CHECK((by_parameter.col(q) - (run(parameters + e, start) - run(parameters - e, start)) / (2 * d)).cwiseAbs().maxCoeff() < 1e-6);
  }
  for (const Index i : {0, 7, 13}) {
    const Vector e = d * Vector::Unit(start.size(), i);
    const Vector difference = (run(parameters, start + e) - run(parameters, start - e)) / (2 * d);
    CHECK((step.tangent(Vector::Unit(start.size(), i), Matrix()) - difference).cwiseAbs().maxCoeff() < 1e-6);
  }
}

TEST_CASE("statuses and misuse") {
  const FreeEnergy energy(Model(ornstein_uhlenbeck(2), ou_theta, 1.7));
  FreeEnergy cold;
  cold.add_potential(ornstein_uhlenbeck(2), ou_theta);
  CHECK_THROWS_WITH_AS(AffineStep{cold}, "affine_step: the energy has no entropy, without which the map may lose its rank; use the particle step", DomainError);
  FreeEnergy porous = energy;
  porous.add_porous_medium(1, 2);
  CHECK_THROWS_AS(AffineStep{porous}, DomainError);
  AffineStep step(energy);
  CHECK_THROWS_AS((void)step.advance(Particles(Matrix{{0, 1}, {0, 1}}), 0.1), DomainError);
  CHECK_THROWS_AS((void)step.advance(cloud(2, 9), std::nan("")), DomainError);
  CHECK_THROWS_AS((void)AffineStep(energy).tangent(Matrix(), Matrix()), DomainError);
  AffineStep hill{FreeEnergy(Model(ornstein_uhlenbeck(2), Vector{{-1, 0, -1, 0, 0}}, 1.0))};
  CHECK(hill.advance(cloud(2, 9), 2.0).status == Status::step_not_convex);
  CHECK(hill.advance(cloud(2, 9), 0.5).status == Status::converged);
}
