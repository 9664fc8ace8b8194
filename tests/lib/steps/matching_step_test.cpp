#include <jko/core/error.hpp>
#include <jko/core/random.hpp>
#include <jko/measures/convert.hpp>
#include <jko/models/families.hpp>
#include <jko/steps/matching_step.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

using namespace jko;

namespace {

Matrix points(Index d, Index n, std::uint64_t seed) {
  Matrix x(d, n);
  RandomStream random(seed, "matching step test", static_cast<std::uint64_t>(d));
  for (Index i = 0; i < x.size(); ++i) x.data()[i] = random.normal();
  return x;
}

const Vector ou_theta{{1.5, 0.4, 0.9, 0.3, -0.2}};

}  // namespace

TEST_CASE("one dimension: the new points are the step of the means of equal blocks of the sorted start") {
  FreeEnergy energy;
  energy.add_potential(ornstein_uhlenbeck(), Vector{{1.3, 0.4}});
  const double h = 0.6;
  const Matrix y = points(1, 60, 1);
  const auto r = matching_step(energy, Particles(y), Particles(points(1, 12, 2)), h);
  REQUIRE(r.status == Status::converged);
  std::vector<double> sorted(y.data(), y.data() + y.size()), result(r.measure.points().data(), r.measure.points().data() + 12);
  std::sort(sorted.begin(), sorted.end());
  std::sort(result.begin(), result.end());
  for (std::size_t j = 0; j < 12; ++j) {
    double mean = 0;
    for (std::size_t i = 0; i < 5; ++i) mean += sorted[5 * j + i] / 5;
    // The particle step stops at h eps/(1 + h kappa) <= 1e-9 in L2(w): a single point of weight 1/12 may be off by sqrt(12) of it.
    CHECK(std::abs(result[j] - (mean + h * 1.3 * 0.4) / (1 + h * 1.3)) < 4e-9);
  }
}

TEST_CASE("equal weights and number: the particle step, whatever the labels of the first positions") {
  const Model model(ornstein_uhlenbeck(2), ou_theta, 1.7);
  const MatchingStepOptions options{.particles = {.energy = {.bandwidth = 0.5}}};
  const Matrix y = points(2, 40, 3);
  const auto exact = ParticleStep(FreeEnergy(model), options.particles).advance(Particles(y), 0.05);
  const Matrix shuffled = y.rowwise().reverse();
  const auto r = matching_step(FreeEnergy(model), Particles(y), Particles(shuffled), 0.05, options);
  REQUIRE(exact.status == Status::converged);
  REQUIRE(r.status == Status::converged);
  // Both residuals satisfy h eps <= 1e-9 scale, scale below 2; J is 1/h-convex up to the blob's curvature, of order 1: twice the distance at most.
  CHECK(w2(r.measure, exact.measure) < 1e-8);
  CHECK(std::abs(r.w2_moved - exact.w2_moved) < 1e-8);
}

TEST_CASE("the plane, a third of the points and other weights: stationary, optimally coupled, a local minimum of the true J") {
  const Model model(ornstein_uhlenbeck(2), ou_theta, 1.7);
  const FreeEnergy energy(model);
  const MatchingStepOptions options{.particles = {.energy = {.bandwidth = 0.6}}};
  const double h = 0.3;
  const Particles from(points(2, 60, 4));
  Vector w = Vector::LinSpaced(20, 1, 2);
  w /= w.sum();
  const Particles begin(points(2, 20, 5), w);
  const auto r = matching_step(energy, from, begin, h, options);
  REQUIRE(r.status == Status::converged);
  const ParticleEnergy particle_energy(energy, options.particles.energy);
  const auto objective = [&](const Particles& x) { return particle_energy.value(x).total + std::pow(w2(from, x), 2) / (2 * h); };
  CHECK(r.objective == doctest::Approx(objective(r.measure)).epsilon(1e-12));
  CHECK(r.objective < objective(begin));
  CHECK(r.transport.gap() < 1e-12);
  CHECK(h * r.residual < 3e-9);
  // A small move: the optimal plan is a vertex that stays optimal, so J changes by a quadratic form of at least 1/h less the blob's curvature, and not below it by more than the
  // residual times the move, 1e-8 * 1e-3, and rounding.
  for (std::uint64_t seed = 6; seed < 10; ++seed) {
    const Particles other = r.measure.with_coordinates((r.measure.points() + 1e-3 * points(2, 20, seed)).reshaped());
    CHECK(objective(other) > r.objective - 1e-10);
  }
}

TEST_CASE("a density on a grid without entropy: optimal quantisation of the uniform law on an interval is the midpoints of equal cells") {
  // Potential k x^2/2 with k h = 1e-12 of no weight in J; the uniform law on [0, 1] by 400 cells: blocks of 100 cells have means 1/8, 3/8, 5/8, 7/8 exactly.
  const auto grid = std::make_shared<const Grid>(Grid{Vector{{0.0}}, Vector{{1.0}}, {400}});
  const auto cells = to_particles(GridDensity(grid, Vector::Ones(400)));
  FreeEnergy energy;
  energy.add_potential(ornstein_uhlenbeck(), Vector{{1e-12, 0}});
  const auto r = matching_step(energy, cells.measure, Particles(Matrix{{0.9, 0.1, 0.2, 0.3}}), 1.0);
  REQUIRE(r.status == Status::converged);
  const Matrix expected{{0.875, 0.125, 0.375, 0.625}};
  CHECK((r.measure.points() - expected).cwiseAbs().maxCoeff() < 1e-8);
  // W2^2 of the cells' centres to the four points is 1/192 less the cells' own variance, (1/400)^2/12.
  CHECK(std::abs(std::pow(r.w2_moved, 2) - (1.0 / 192 - 1.0 / (400.0 * 400 * 12))) < 1e-10);
}

TEST_CASE("statuses and misuse") {
  FreeEnergy energy(Model(ornstein_uhlenbeck(2), ou_theta, 1.7));
  const Particles from(points(2, 10, 1)), begin(points(2, 5, 2));
  CHECK_THROWS_AS((void)matching_step(energy, from, begin, 0.0), DomainError);
  CHECK_THROWS_AS((void)matching_step(energy, from, Particles(points(1, 5, 1)), 0.1), ShapeError);
  CHECK_THROWS_WITH_AS((void)matching_step(energy, from, Particles(Matrix{{0, 1}, {0, 1}}, Vector{{1, 0}}), 0.1),
                       "matching_step: a weight of the new particles is 0; remove that particle", DomainError);
  CHECK_THROWS_AS((void)matching_step(energy, from, begin, 0.1, {.max_matchings = 0}), DomainError);
  const auto one = matching_step(energy, Particles(points(2, 60, 4)), Particles(points(2, 20, 5)), 0.3, {.max_matchings = 1});
  CHECK(one.status == Status::iteration_limit);
}
