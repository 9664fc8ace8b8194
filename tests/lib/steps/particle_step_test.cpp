#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/flows/checkpoint.hpp>
#include <jko/flows/flow.hpp>
#include <jko/models/families.hpp>
#include <jko/models/formula.hpp>
#include <jko/steps/gaussian_step.hpp>
#include <jko/steps/particle_step.hpp>
#include <jko/transport/exact.hpp>

#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <boost/math/distributions/normal.hpp>
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>

using namespace jko;

namespace {

Particles cloud(Index d, Index n, double shift = 0) {
  Matrix x(d, n);
  RandomStream random(11, "particle step test", static_cast<std::uint64_t>(d));
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = shift + random.normal();
  return Particles(x);
}

/// N(m, s^2) as the quantiles at the midpoints of n equal cells.
Particles quantiles(double m, double s, Index n) {
  Matrix x(1, n);
  for (Index i = 0; i < n; ++i) x(0, i) = m + s * boost::math::quantile(boost::math::normal(), (static_cast<double>(i) + 0.5) / static_cast<double>(n));
  return Particles(x);
}

const Vector ou_theta{{1.5, 0.4, 0.9, 0.3, -0.2}};  // K = [[1.5, 0.4], [0.4, 0.9]], mu = (0.3, -0.2)

}  // namespace

TEST_CASE("without entropy a quadratic step is (I + hK)^{-1}(y + hK mu), certified") {
  const Matrix k{{1.5, 0.4}, {0.4, 0.9}};
  const Vector mu{{0.3, -0.2}};
  FreeEnergy energy;
  energy.add_potential(ornstein_uhlenbeck(2), ou_theta);
  const Particles from = cloud(2, 50);
  for (const double h : {0.01, 1.0, 100.0}) {
    ParticleStep step(energy);
    const auto r = step.advance(from, h);
    REQUIRE(r.status == Status::converged);
    const Matrix exact = (Matrix::Identity(2, 2) + h * k).inverse() * (from.points().colwise() + Vector(h * k * mu));
    // The certificate, and rounding of the residual, (1 + h k) 1e-16/h times h/(1 + h kappa).
    CHECK(label_distance(r.measure, Particles(exact)) <= r.w2_bound + 1e-14);
    CHECK(r.w2_bound <= 2e-9);
    CHECK(r.gap >= 0);
  }
}

TEST_CASE("an interaction W = c|z|^2/2 pulls to the mean: x' = m + (y - m)/(1 + hc)") {
  FreeEnergy energy;
  energy.add_interaction(ornstein_uhlenbeck(2), Vector{{2, 0, 2, 0, 0}});
  const Particles from = cloud(2, 40, 1.0);
  ParticleStep step(energy);
  const auto r = step.advance(from, 0.7);
  REQUIRE(r.status == Status::converged);
  const Matrix exact = (from.points().colwise() - from.mean()) / (1 + 0.7 * 2) + from.mean().replicate(1, 40);
  CHECK(label_distance(r.measure, Particles(exact)) < 1e-9 + r.w2_bound);
}

TEST_CASE("spacing entropy: the step tends to the exact Gaussian step, at first order in 1/N, and its certificate holds") {
  const Model model(ornstein_uhlenbeck(), Vector{{1.3, 0.4}}, 2.0);
  GaussianStep exact{FreeEnergy(model)};
  const double h = 0.2;
  const Gaussian expected = exact.advance(Gaussian(Vector{{1.0}}, Matrix{{0.49}}), h).measure;
  double last = 0;
  for (const Index n : {200, 400, 800}) {
    ParticleStep step(FreeEnergy(model), {.energy = {.entropy = ParticleEntropy::spacing}});
    const auto r = step.advance(quantiles(1.0, 0.7, n), h);
    REQUIRE(r.status == Status::converged);
    CHECK(r.w2_bound < 2e-9);
    CHECK(std::abs(r.measure.mean()[0] - expected.mean()[0]) < 1e-9);  // the forces between neighbours cancel
    const double error = w2(r.measure, quantiles(expected.mean()[0], std::sqrt(expected.covariance()(0, 0)), n));
    if (last > 0) CHECK(error < 0.75 * last);  // the tails dominate: between 1/N and 1/sqrt(N), whose factor is 0.71
    last = error;
    // Perturbed candidates are worse by at least (1/h + kappa)/2 d^2 (strong convexity on the ordered cone).
    Particles other = r.measure.with_coordinates(r.measure.coordinates().array() + 1e-3);
    const double objective = step.energy_value(other).total + std::pow(label_distance(other, quantiles(1.0, 0.7, n)), 2) / (2 * h);
    CHECK(objective - r.objective >= 0.5 * (1 / h + 1.3) * 1e-6 * (1 - 1e-3));
  }
  CHECK(last < 0.01);
}

TEST_CASE("blob entropy in the plane: critical point, dissipation, exact mean") {
  const Model model(ornstein_uhlenbeck(2), ou_theta, 1.7);
  const Matrix k{{1.5, 0.4}, {0.4, 0.9}};
  const Vector mu{{0.3, -0.2}};
  const Particles from = cloud(2, 150, 1.0);
  for (const double h : {0.05, 0.5}) {
    ParticleStep step(FreeEnergy(model), {.energy = {.bandwidth = 0.4}});
    const auto r = step.advance(from, h);
    REQUIRE(r.status == Status::converged);
    CHECK(std::isnan(r.gap));
    CHECK(h * r.residual < 3e-9);
    CHECK(r.objective <= step.energy_value(from).total);  // a1 of theory.md
    // Forces of the blob cancel in pairs, so the mean takes the exact step.
    const Vector mean = (Matrix::Identity(2, 2) + h * k).inverse() * (from.mean() + h * k * mu);
    CHECK((r.measure.mean() - mean).norm() < 3e-9);
    // At most 2 tol * scale from the label distance that reproduces the Euler-Lagrange equation: x + h grad F = y.
    CHECK(((r.measure.points() + h * step.particle_energy().slope(r.measure).gradient - from.points()).colwise().norm().maxCoeff()) < 1e-7);
    // For this smooth map the labels are coupled optimally: exact transport agrees.
    CHECK(std::abs(w2(from, r.measure) - r.w2_moved) < 1e-12);
  }
}

TEST_CASE("log gas: the equilibrium of N charges is at the zeros of the Hermite polynomial over sqrt(N)") {
  // Stationarity x_i = (1/N) sum_j 1/(x_i - x_j) is Stieltjes' equation. The zeros are eigenvalues of the Jacobi matrix with off-diagonal sqrt(k/2).
  const Index n = 12;
  Matrix jacobi = Matrix::Zero(n, n);
  for (Index i = 1; i < n; ++i) jacobi(i, i - 1) = jacobi(i - 1, i) = std::sqrt(static_cast<double>(i) / 2);
  const Vector zeros = Eigen::SelfAdjointEigenSolver<Matrix>(jacobi).eigenvalues() / std::sqrt(static_cast<double>(n));
  FreeEnergy energy;
  energy.add_potential(ornstein_uhlenbeck(), Vector{{1, 0}});
  energy.add_interaction(formula("-log(x^2)/2"), Vector());
  ParticleStep step(energy);
  Particles x(Matrix(Vector::LinSpaced(n, -1, 1.2).transpose()));
  for (int i = 0; i < 3; ++i) {
    const auto r = step.advance(x, 1e4);  // contracts by 1 + h; no constant is known, so that h times the residual falls below 1e-9
    REQUIRE(r.status == Status::converged);
    x = r.measure;
  }
  CHECK((x.points().row(0).transpose() - zeros).cwiseAbs().maxCoeff() < 1e-9);
}

TEST_CASE("flows: BDF2 is of second order on labelled particles, JKO of first") {
  // Without entropy the flow is the ODE x' = -x^3, x(t) = x0/sqrt(1 + 2 t x0^2).
  FreeEnergy energy;
  energy.add_potential(double_well(), Vector{{1, 0, 0}});  // x^4/4
  const Particles start(Matrix{{0.5, 1.0, 1.5}});
  const Matrix exact = start.points().array() / (1 + 2 * start.points().array().square()).sqrt();
  for (const auto& [scheme, order] : {std::pair{Scheme::jko, 1.0}, {Scheme::bdf2, 2.0}}) {
    double error[2];
    for (const int i : {0, 1}) {
      FlowOptions options;
      options.scheme = scheme;
      options.steps = i == 0 ? 80 : 160;
      options.h = 1.0 / options.steps;
      const auto result = Flow<ParticleStep>(ParticleStep(energy, {.tolerance = 1e-12}), start, options).run();
      REQUIRE(result.status == Status::converged);
      error[i] = label_distance(result.final_state().measure, Particles(exact));
    }
    CHECK(std::abs(std::log2(error[0] / error[1]) - order) < 0.1);
  }
}

TEST_CASE("tangents agree with differences in the start and in every parameter; blob, spacing and interaction") {
  for (const auto entropy : {ParticleEntropy::blob, ParticleEntropy::spacing}) {
    FreeEnergy energy(Model(double_well(), Vector{{1.0, 0.5, 0.1}}, 1.5));
    energy.add_porous_medium(0.3, 2);
    energy.add_interaction(formula("c*exp(-x^2/2)"), Vector{{0.4}});
    const ParticleStepOptions options{.energy = {.entropy = entropy, .bandwidth = 0.5}, .tolerance = 1e-13};
    const Particles from = quantiles(0.2, 0.8, 15);
    const double h = 0.3, d = 1e-5;  // truncation 1e-10 times third derivatives of order 100, rounding of the solve 1e-12/1e-5
    const auto run = [&](const Vector& parameters, const Vector& start) {
      FreeEnergy e = energy;
      e.set_parameters(parameters);
      return ParticleStep(e, options).advance(from.with_coordinates(start), h).measure.coordinates();
    };
    ParticleStep step(energy, options);
    (void)step.advance(from, h);
    const Vector parameters = energy.parameters();
    const Matrix by_parameter = step.tangent(Matrix(), Matrix::Identity(parameters.size(), parameters.size()));
    for (Index q = 0; q < parameters.size(); ++q) {
      const Vector e = d * Vector::Unit(parameters.size(), q);
      CHECK((by_parameter.col(q) - (run(parameters + e, from.coordinates()) - run(parameters - e, from.coordinates())) / (2 * d)).cwiseAbs().maxCoeff() < 1e-6);
    }
    const Vector direction = Vector::LinSpaced(15, -1, 2);
    const Vector difference = (run(parameters, from.coordinates() + d * direction) - run(parameters, from.coordinates() - d * direction)) / (2 * d);
    CHECK((step.tangent(direction, Matrix()) - difference).cwiseAbs().maxCoeff() < 1e-6);
  }
}

TEST_CASE("a checkpoint of particles restores every bit") {
  const auto path = std::filesystem::temp_directory_path() / "jko-particle-checkpoint.json";
  const Model model(ornstein_uhlenbeck(2), ou_theta, 1.7);
  const ParticleStepOptions options{.energy = {.bandwidth = 0.4}};
  FlowOptions four{.h = 0.1, .steps = 4}, two{.h = 0.1, .steps = 2};
  const auto whole = Flow<ParticleStep>(ParticleStep(FreeEnergy(model), options), cloud(2, 30), four).run();
  Flow<ParticleStep> half(ParticleStep(FreeEnergy(model), options), cloud(2, 30), two);
  (void)half.run();
  save_checkpoint(path, half.checkpoint(), "label");
  const auto rest = Flow<ParticleStep>(ParticleStep(FreeEnergy(model), options), load_checkpoint<Particles>(path, "label"), four).run();
  std::filesystem::remove(path);
  CHECK(rest.final_state().measure.points() == whole.final_state().measure.points());
}

TEST_CASE("statuses and misuse") {
  FreeEnergy concave;
  concave.add_potential(ornstein_uhlenbeck(2), Vector{{-1, 0, -1, 0, 0}});
  ParticleStep step(concave);
  CHECK(step.advance(cloud(2, 5), 2.0).status == Status::step_not_convex);
  CHECK(step.advance(cloud(2, 5), 0.5).status == Status::converged);
  FreeEnergy falling;  // no minimiser: -x^4 beats every square
  falling.add_potential(quartic(), Vector{{0, 0, 0, -4}});
  const auto lost = ParticleStep(falling).advance(Particles(Matrix{{3.0, 4.0}}), 1.0);
  CHECK((lost.status == Status::no_minimiser || lost.status == Status::not_finite || lost.status == Status::iteration_limit));
  CHECK(lost.measure.points().allFinite());
  CHECK_THROWS_WITH_AS((void)step.advance(cloud(2, 5), -0.1), "particle_step: step size h is -0.1, but must be positive", DomainError);
  CHECK_THROWS_WITH_AS((void)step.advance(Particles(Matrix{{0, 1}, {0, 1}}, Vector{{1, 0}}), 0.1), "particle_step: a weight is 0; remove that particle", DomainError);
  CHECK_THROWS_AS((void)step.advance(cloud(3, 5), 0.1), ShapeError);
  CHECK_THROWS_AS((void)label_distance(cloud(2, 5), cloud(2, 6)), ShapeError);
}
